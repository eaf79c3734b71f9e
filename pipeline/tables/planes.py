"""pix2pixHD as [R20] attacks it: on its planes of labels and edges, since it translates label maps and there is no photo.

The perturbation is rounded to whole 8-bit levels (1 / 127.5), as a file would hold it, and added to the planes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from pipeline.disruption.disrupt import Target, disrupt
from pipeline.disruption.streams import streams_for
from pipeline.generators.checkpoint import read_metadata, read_state_dict
from pipeline.generators.generator import fingerprint_of
from pipeline.generators.pix2pixhd import Pix2PixHDGenerator, Pix2PixHDLocalEnhancer, pix2pixhd_from_state
from pipeline.images.levels import level_to_unit, unit_to_level
from pipeline.protection.options import ProtectConfig
from pipeline.training.data.label_pairs import load_label_pairs

CLASS = "street scene"
HEIGHT = 256


@cache
def load(weights: Path) -> Pix2PixHDGenerator | Pix2PixHDLocalEnhancer:
    """The net in a file of weights, frozen."""
    return pix2pixhd_from_state(read_state_dict(weights), source=str(weights)).requires_grad_(False).eval()


def fingerprint(weights: Path) -> str:
    """What tells these weights, used at this height of pictures, from others."""
    return f"{fingerprint_of(load(weights))}-{_height(weights)}"


def disrupted_planes(config: ProtectConfig) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(name, planes, disrupted planes) of each held-out scene, each (1, P, H, W) in [-1, 1], the first of 0 and 1."""
    net, epsilon = load(config.weights[0]).to(config.compute.device), float(config.epsilon)
    labels, height = int(next(net.parameters()).shape[1]) - 1, _height(config.weights[0])
    held = load_label_pairs(Path(config.input), size=height, count=1, seed=0, multiple=32, labels=labels).held
    for i in range(len(held.labels_NHW))[: config.photos.limit]:
        key, planes = f"{i:05d}", held.batch(torch.tensor([i]), torch.tensor([False]), labels)["planes"]
        x_1PHW, target, streams = (
            planes.to(config.compute.device),
            Target(lambda x: x, {CLASS: net}),
            streams_for([key], config.seed),
        )
        y_1PHW = disrupt(x_1PHW, [target], config.resolved_recipe(), epsilon=level_to_unit(epsilon), streams=streams)
        levels_1PHW = unit_to_level(y_1PHW - x_1PHW).round().clip(-epsilon, epsilon)
        yield key, x_1PHW, (x_1PHW + level_to_unit(levels_1PHW)).clamp(-1, 1)


def _height(weights: Path) -> int:
    return int(read_metadata(weights).get("size", HEIGHT))
