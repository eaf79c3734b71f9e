"""From a training to shippable weights: the averaged generator in half precision, with its classes and size.

``python -m pipeline.training.export STATE OUT`` writes them from a checkpoint.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from torch import nn

from pipeline.generators.checkpoint import load_weights, read_state_dict, save_weights
from pipeline.training.errors import TrainError
from pipeline.training.state import FORMAT, read_checkpoint
from pipeline.training.systems.system import Nets, Sizes
from pipeline.training.systems.table import SYSTEMS


def export(system: str, G: nn.ModuleDict, out: Path, *, size: int, blur: float = 0.0) -> list[Path]:
    """Write each generator to ``out/generator.safetensors``, or to ``generator-NAME.safetensors`` where there are several.

    ``disrupt protect --generator ROW --weights FILE`` takes them with the row of the table of generators that the system names.
    ``blur`` is the sigma in pixels of a Gaussian that the net expects before it; it is noted in the file.
    """
    row = SYSTEMS[system]
    metadata = {"system": system, "size": str(size)}
    metadata |= {"classes": json.dumps(row.classes)} if row.classes else {}
    metadata |= {"blur": str(blur)} if blur else {}
    paths = [out / ("generator.safetensors" if len(G) == 1 else f"generator-{name}.safetensors") for name in G]
    for net, path in zip(G.values(), paths, strict=True):
        save_weights(net, path, metadata=metadata, half=True)
    return paths


def load_nets(path: Path) -> tuple[str, Sizes, Nets]:
    """The system, its sizes, the averaged generators and the discriminators of a checkpoint, frozen and on the CPU.

    Raises TrainError for a file of another kind, CheckpointError for a damaged one.
    """
    kept = read_checkpoint(path)
    if kept.get("format") != FORMAT or kept["system"] not in SYSTEMS:
        raise TrainError(f"{path} is no checkpoint of a training of {', '.join(SYSTEMS)}")
    sizes = Sizes(**kept["sizes"])
    nets = next(iter(SYSTEMS[kept["system"]].regimes.values())).build(sizes)
    for part, net in (("G_ema", nets.G), ("D", nets.D)):
        load_weights(net.requires_grad_(False), read_state_dict(path, part=part), source=f"{part} of {path}")
    return kept["system"], sizes, nets


def main() -> None:
    """Read STATE, write into OUT."""
    parser = argparse.ArgumentParser(description="Write the averaged generator of a training checkpoint as safetensors.")
    parser.add_argument("state", type=Path, help="state.pt of a training")
    parser.add_argument("out", type=Path, help="folder to write generator.safetensors into")
    parser.add_argument("--blur", type=float, default=0.0, help="sigma of the blur that it was trained with, in pixels")
    a = parser.parse_args()
    system, sizes, nets = load_nets(a.state)
    for path in export(system, nets.G, a.out, size=sizes.image, blur=a.blur):
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
