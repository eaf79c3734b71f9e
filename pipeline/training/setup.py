"""From the options of a training to its parts: system, sizes, settings, source and state."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from pipeline.jobs.options import NOTHING, SHIPPED, ConfigError, absolute_weights, one_of
from pipeline.signals.manipulation import load_source, source_names
from pipeline.training.adversarial import Adversarial, blur_before
from pipeline.training.batches import FacesSource, Source
from pipeline.training.config import SAMPLES, TrainConfig, signature
from pipeline.training.faces import Faces, load_faces
from pipeline.training.label_pairs import load_label_pairs
from pipeline.training.loop import compile_nets
from pipeline.training.sample_data import write_sample_data
from pipeline.training.signals import SignalSystem
from pipeline.training.squares import load_squares
from pipeline.training.state import TrainState
from pipeline.training.step import StepSettings
from pipeline.training.system import Batch, Sizes, System
from pipeline.training.systems import SYSTEMS, SystemRow
from pipeline.training.unpaired import load_unpaired

T = TypeVar("T")
STATE_FILE, LOG_FILE, RUN_FILE = "state.pt", "log.jsonl", ".disrupt/train.json"
"""What a training keeps in its folder, beside sample pictures and weights."""
NO_WEIGHTS = {"published_d_steps", "count", "budget", "grey"}
"""Numbers of a system that are no weights of its loss."""


@dataclass(frozen=True)
class Job:
    """A checked training, as plain values that travel to any process."""

    config: TrainConfig
    system: System
    sizes: Sizes
    settings: StepSettings
    batch: int
    signature: str

    @property
    def row(self) -> SystemRow:
        """The system's row in the table."""
        return SYSTEMS[self.config.system]

    @property
    def out(self) -> Path:
        """The folder of the training, by a name that holds in any process."""
        return self.config.output.absolute()

    @property
    def state_file(self) -> Path:
        """The checkpoint to go on from."""
        return self.out / STATE_FILE


def plan(config: TrainConfig) -> Job:
    """The training that the options describe; raises ConfigError or TrainError for what cannot be, with what was expected."""
    config.check()
    one_of("--system", config.system, SYSTEMS)
    row = SYSTEMS[config.system]
    regime = next(iter(row.regimes)) if config.regime is None else config.regime
    one_of("--regime", regime, row.regimes)
    system = _weighted(row.regimes[regime], config)
    if isinstance(system, SignalSystem):
        system = _with_signals(system, config)
    sizes = Sizes(_or(config.size, row.size), _or(config.conv_dim, row.conv_dim), _or(config.d_conv_dim, row.d_conv_dim))
    batch = _or(config.batch, row.batch)
    shares = max(config.workers, 1) * config.accumulate
    if batch % shares:
        nearest = max(round(batch / shares), 1) * shares
        raise ConfigError(
            f"--batch {batch} cannot be shared evenly by {max(config.workers, 1)} workers in {config.accumulate} parts each; "
            f"take {nearest}"
        )
    settings = StepSettings(
        lr=_or(config.lr, row.lr),
        steps=_or(config.steps, row.steps),
        d_steps=_or(config.d_steps, 1 if regime == "few-images" else system.published_d_steps),
        precision="bf16" if config.precision == "bf16" else "fp32",
        accumulate=config.accumulate,
        adversarial=Adversarial(
            mode=config.adversarial,
            epsilon=config.epsilon,
            steps=config.attack_steps,
            step_size=config.attack_step_size,
            reference=config.attack_reference,
            start=config.attack_start,
            consistency=config.consistency,
        ),
    )
    return Job(config, system, sizes, settings, batch, signature(config))


def open_source(job: Job) -> Source:
    """The pictures of the training. Raises the project's own errors for a folder or a label that is not as it has to be."""
    source = SOURCES[job.row.data](_folder(job), job)
    return _Double(source) if job.config.precision == "fp64" else source


def _folder(job: Job) -> Path:
    """Where the pictures are; the samples are written there first."""
    if job.config.data == SAMPLES:
        return write_sample_data(job.out / SAMPLES / job.config.system, job.config.system)
    return Path(job.config.data)


def open_state(job: Job, *, device: torch.device | str = "cpu", checkpoint: Path | None = None) -> TrainState:
    """The state to train on from: that of the checkpoint, else new nets or those of ``--init-from``."""
    dtype = torch.float64 if job.config.precision == "fp64" else torch.float32
    state = TrainState.fresh(job.system, job.sizes, seed=job.config.seed, lr=job.settings.lr, device=device, dtype=dtype)
    if checkpoint is not None:
        state.restore(checkpoint)
    elif job.config.init_from is not None:
        state.start_from(job.config.init_from)
    for nets in (state.nets.G, state.G_ema):
        blur_before(nets, job.config.blur)
    if job.config.compile:
        compile_nets(state)
    return state


def threads(config: TrainConfig) -> int:
    """CPU threads of each process: those asked for, else the cores of this machine shared by the workers."""
    return config.threads or max(1, (os.cpu_count() or 1) // max(config.workers, 1))


def _faces(folder: Path, job: Job) -> Source:
    train, val = (
        load_faces(folder, attributes=job.row.columns, split=split, licences=job.config.licence or None)
        for split in ("train", "val")
    )
    return FacesSource(train, val, size=job.sizes.image, count=job.batch, seed=job.config.seed)


def _unpaired(folder: Path, job: Job) -> Source:
    return load_unpaired(folder, size=job.sizes.image, count=job.batch, seed=job.config.seed)


def _label_maps(folder: Path, job: Job) -> Source:
    return load_label_pairs(folder, size=job.sizes.image, count=job.batch, seed=job.config.seed)


def _photos(folder: Path, job: Job) -> Source:
    train, val = (_squares(folder, job, split) for split in ("train", "val"))
    return FacesSource(train, val, size=job.sizes.image, count=job.batch, seed=job.config.seed)


def held_out_squares(job: Job) -> Faces:
    """The photos of split val of a training of signals, at twice the side that it trains with."""
    return _squares(_folder(job), job, "val")


def _squares(folder: Path, job: Job, split: str) -> Faces:
    return load_squares(folder, split=split, licences=job.config.licence or None, size=2 * job.sizes.image)


SOURCES: dict[str, Callable[[Path, Job], Source]] = {
    "faces": _faces,
    "unpaired": _unpaired,
    "label_maps": _label_maps,
    "photos": _photos,
}
"""What opens each kind of data."""


@dataclass(frozen=True)
class _Double:
    """A source with its pictures in float64."""

    source: Source

    @property
    def skipped(self) -> int:
        return self.source.skipped

    def batch(self, step: int) -> Batch:
        return _doubled(self.source.batch(step))

    def held_out(self) -> Batch:
        return _doubled(self.source.held_out())


def _doubled(batch: Batch) -> Batch:
    return {name: tensor.double() if tensor.dim() == 4 else tensor for name, tensor in batch.items()}


def _weighted(system: System, config: TrainConfig) -> System:
    """The system with the weights of ``--loss`` and the file of ``--vgg``."""
    fields = {field.name: getattr(system, field.name) for field in dataclasses.fields(system)}  # type: ignore[arg-type]
    known = {name: value for name, value in fields.items() if type(value) in (int, float) and name not in NO_WEIGHTS}
    given: dict[str, Any] = {}
    for name, weight in config.loss_weights().items():
        one_of("--loss", name, known)
        given[name] = int(weight) if isinstance(known[name], int) else weight
    if config.vgg is not None:
        given["vgg"] = config.vgg.absolute()
    changed: System = dataclasses.replace(system, **given)  # type: ignore[type-var]
    return changed


def _with_signals(system: SignalSystem, config: TrainConfig) -> SignalSystem:
    """The system with the options that are its own; raises the zoo's errors, which name a generator that does not load."""
    sources = source_names(config.generator, absolute_weights(config.weights), shipped=SHIPPED)
    for source in sources:
        load_source(source, "cpu", torch.float32)
    return dataclasses.replace(
        system,
        count=config.signals,
        budget=config.budget,
        sources=sources,
        through_generators=config.generator_gradients,
        region=config.spectrum,
        journeys=() if NOTHING in config.survive else config.survive,
        grey=config.grey,
    )


def _or(given: T | None, otherwise: T) -> T:
    return otherwise if given is None else given
