"""Everything that changes while a system trains, in one value that is saved and restored whole; and the checkpoints of a folder."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.generators.checkpoint import CheckpointError, load_weights, read_state_dict, read_torch
from pipeline.storage import open_storage, write_atomic
from pipeline.training.options import TrainError
from pipeline.training.systems.system import Nets, Sizes, System

FORMAT = 2
"""Raised when older checkpoints cannot be resumed; their networks can still be started from."""
STATE_FILE = "state.pt"
RAY_FOLDER = ".disrupt/ray"
"""Where Ray Train keeps its checkpoints, below the folder of the training."""
STARGAN_HEAD = "G.main.21."
"""What the names of the last convolution of a StarGAN begin with."""


@dataclass
class TrainState:
    """Nets, the generators' moving average, optimisers, the random stream and the step reached, for one system and size."""

    system: str
    sizes: Sizes
    nets: Nets
    G_ema: nn.ModuleDict
    opt_G: torch.optim.Adam
    opt_D: torch.optim.Adam
    rng: torch.Generator
    step: int = 0

    @classmethod
    def fresh(
        cls,
        system: System,
        sizes: Sizes,
        *,
        seed: int,
        lr: float = 2e-4,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> TrainState:
        """Nets with seeded weights, Adam(0.5, 0.999) for both. The random stream is on the CPU whatever the device.

        Torch's global random state is left as it was. Raises TrainError for a side that the nets cannot take.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            nets = system.build(sizes)
        nets = Nets(nets.G.to(device, dtype), nets.D.to(device, dtype))
        return cls(
            system=system.name,
            sizes=sizes,
            nets=nets,
            G_ema=deepcopy(nets.G).requires_grad_(False),
            opt_G=torch.optim.Adam(nets.G.parameters(), lr=lr, betas=(0.5, 0.999), fused=True),
            opt_D=torch.optim.Adam(nets.D.parameters(), lr=lr, betas=(0.5, 0.999), fused=True),
            rng=torch.Generator().manual_seed(seed),
        )

    @property
    def device(self) -> torch.device:
        """Where the nets are."""
        return next(self.nets.G.parameters()).device

    def content(self) -> dict[str, Any]:
        """All of it as plain values and tensors, loadable with ``weights_only=True``."""
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        of = {"format": FORMAT, "system": self.system, "sizes": asdict(self.sizes), "step": self.step}
        return of | parts | {"rng": self.rng.get_state()}

    def save(self, path: Path) -> None:
        """Write the state to ``path``, where an older file stays until all of the new one is there.

        Raises TrainError when it cannot be written (disk full), or when a weight is not finite.
        """
        if not all(bool(p.isfinite().all()) for net in (self.nets.G, self.nets.D, self.G_ema) for p in net.parameters()):
            raise TrainError(f"a weight is not a finite number at step {self.step}; the last checkpoint is unharmed")
        file = io.BytesIO()
        torch.save(self.content(), file)
        try:
            write_atomic(*open_storage(path), file.getbuffer())
        except OSError as error:
            reason = error.strerror or error
            raise TrainError(
                f"cannot write {path} at step {self.step}: {reason}; an earlier checkpoint there is unharmed"
            ) from error

    def restore(self, path: Path) -> None:
        """Take over the state that ``save`` wrote; raises TrainError for one of another system or shape, or a damaged file."""
        checkpoint = read_checkpoint(path)
        if checkpoint.get("format") != FORMAT:
            raise TrainError(f"{path} is no checkpoint of this version; start from its nets instead (init_from)")
        theirs, ours = f"{checkpoint['system']} at {Sizes(**checkpoint['sizes'])}", f"{self.system} at {self.sizes}"
        if theirs != ours:
            raise TrainError(f"{path} is of {theirs}, but this training is of {ours}; choose another folder")
        for name, part in self._parts().items():
            try:
                part.load_state_dict(checkpoint[name])
            except (KeyError, RuntimeError, ValueError) as error:
                why = " ".join(str(error).split())[:200]
                raise TrainError(f"{path} does not fit this {self.system}: {name} is of another shape ({why})") from error
        self.rng.set_state(checkpoint["rng"])
        self.step = int(checkpoint["step"])

    def start_from(self, path: Path) -> None:
        """Take the nets, and only these, from another training's checkpoint or the generator from a weights file.

        GANimation may also start from a StarGAN. Where the side is a multiple of theirs, the discriminator's layer that covers all
        of it comes enlarged. Raises TrainError when they do not fit.
        """
        checkpoint = read_checkpoint(path) if path.suffix != ".safetensors" else {}
        targets = {"G": self.nets.G, "G_ema": self.G_ema, "D": self.nets.D}
        parts = {name: part for name, part in targets.items() if name in checkpoint} or {"G": self.nets.G, "G_ema": self.G_ema}
        for name, nets in parts.items():
            weights = _named_as_in(nets, read_state_dict(path, part=name if name in checkpoint else None))
            if self.system == "ganimation" and (checkpoint.get("system") == "stargan" or STARGAN_HEAD + "weight" in weights):
                weights = _as_painter(weights, nets.state_dict())
            if name == "D":
                own = nets.state_dict()
                weights = {n: _enlarged(w, own[n].shape) if n in own else w for n, w in weights.items()}
            try:
                load_weights(nets, weights, source=str(path))
            except CheckpointError as error:
                raise TrainError(f"cannot start from {name} of {path}: {error}") from error

    def _parts(self) -> dict[str, Any]:
        return {"G": self.nets.G, "D": self.nets.D, "G_ema": self.G_ema, "opt_G": self.opt_G, "opt_D": self.opt_D}


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a checkpoint holds, by name; raises CheckpointError for a file that is missing, damaged or holds code."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    checkpoint = read_torch(path)
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f"{path}: not a checkpoint of a training")
    return checkpoint


def furthest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of a training with the most steps, in place or among Ray's; None when there is none.

    Ray may not know its last ones yet when a worker dies, and the very last may be cut off: damaged ones of Ray's do not count.
    """
    steps = {path: -1 for path in [folder / STATE_FILE] if path.exists()}
    for path in checkpoints(folder):
        with suppress(CheckpointError):
            steps[path] = int(read_checkpoint(path).get("step", -1))
    return max(steps, key=lambda path: steps[path], default=None)


def settle_checkpoint(folder: Path) -> Path | None:
    """The checkpoint to resume from, copied to ``state.pt`` first; None when there is none."""
    furthest, state_file = furthest_checkpoint(folder), folder / STATE_FILE
    if furthest is None or furthest == state_file:
        return furthest
    write_atomic(*open_storage(state_file), furthest.read_bytes())
    return state_file


def checkpoints(folder: Path) -> list[Path]:
    """All checkpoints of a training, whole or not: the one in place, and those that Ray keeps."""
    in_place = [folder / STATE_FILE] if (folder / STATE_FILE).exists() else []
    return [*in_place, *(folder / RAY_FOLDER).glob(f"*/checkpoint_*/{STATE_FILE}")]


@torch.no_grad()
def move_average(average: nn.Module, net: nn.Module, *, decay: float) -> None:
    """average <- decay * average + (1 - decay) * net, parameter by parameter, in place."""
    for a, p in zip(average.parameters(), net.parameters(), strict=True):
        a.lerp_(p, 1 - decay)


def _as_painter(theirs: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A StarGAN's trunk, its last convolution as image head, and what its first one makes of colours; the rest as in ``own``."""
    weights = dict(own)
    for theirs_name, weight in theirs.items():
        name = theirs_name.replace(STARGAN_HEAD, "G.im_reg.0.")
        if name not in own:
            continue
        if own[name].shape == weight.shape:
            weights[name] = weight
        elif weight.dim() == 4 and own[name].shape[0] == weight.shape[0] and own[name].shape[2:] == weight.shape[2:]:
            weights[name] = torch.cat([weight[:, :3], own[name][:, 3:]], 1)
    return weights


def _enlarged(weight: Tensor, shape: torch.Size) -> Tensor:
    """A kernel (out, in, k, k) spread over so many times its side, with the same sum; what does not fit as it is."""
    if weight.dim() != 4 or weight.shape[:2] != shape[:2] or shape[2] % weight.shape[2] or shape[3] % weight.shape[3]:
        return weight
    down, across = shape[2] // weight.shape[2], shape[3] // weight.shape[3]
    return weight.repeat_interleave(down, 2).repeat_interleave(across, 3) / (down * across)


def _named_as_in(nets: nn.ModuleDict, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The weights of a single net under the name that it has among ``nets``; those of several nets as they are."""
    prefixes = tuple(f"{name}." for name in nets)
    if len(nets) != 1 or all(key.startswith(prefixes) for key in weights):
        return weights
    return {prefixes[0] + key: tensor for key, tensor in weights.items()}
