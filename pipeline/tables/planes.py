"""pix2pixHD as [R20] attacks it: on its planes of labels and edges, since it translates label maps and there is no photo.

The perturbation is rounded to whole 8-bit levels (1 / 127.5), written, read back and added to the planes: what is measured has
passed through a file here too.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.disruption.disrupt import Target, disrupt
from pipeline.disruption.streams import streams_for
from pipeline.generators.checkpoint import read_metadata, read_state_dict
from pipeline.generators.generator import fingerprint_of
from pipeline.generators.pix2pixhd import Pix2PixHDGenerator, Pix2PixHDLocalEnhancer, pix2pixhd_from_state
from pipeline.images.effect import l1, l2
from pipeline.images.levels import level_to_unit, unit_to_level
from pipeline.protection.options import ProtectConfig
from pipeline.tables.cells import Photos, Run
from pipeline.tables.config import TableError
from pipeline.tables.numbers import Sample
from pipeline.training.label_pairs import load_label_pairs

Pix2PixHD = Pix2PixHDGenerator | Pix2PixHDLocalEnhancer
CLASS = "street scene"
HEIGHT = 256


@cache
def load(weights: Path) -> tuple[Pix2PixHD, int]:
    """The net and the height of its pictures, which the file names or is 256."""
    net = pix2pixhd_from_state(read_state_dict(weights), source=str(weights))
    net.requires_grad_(False)
    return net.eval(), int(read_metadata(weights).get("size", HEIGHT))


def fingerprint(weights: Path) -> str:
    """What tells these weights from others."""
    return fingerprint_of(load(weights)[0])


def protect_planes(config: ProtectConfig, photos: Photos, out: Path) -> None:
    """Write the perturbation of each scene in levels, as int8 (36, H, W); those that are there are kept."""
    net, _ = load(config.weights[0])
    device = _device(config.compute.on_gpu)
    out.mkdir(parents=True, exist_ok=True)
    for key, scene_1PHW in _scenes(config.weights[0], photos):
        if (out / f"{key}.npy").exists():
            continue
        x_1PHW = scene_1PHW.to(device)
        y_1PHW = disrupt(
            x_1PHW,
            [Target(lambda x: x, {CLASS: net.to(device)})],
            config.resolved_recipe(),
            epsilon=level_to_unit(float(config.epsilon)),
            streams=streams_for([key], config.seed),
        )
        levels = unit_to_level(y_1PHW - x_1PHW)[0].round().clip(-config.epsilon, config.epsilon)
        with (out / f".{key}.tmp").open("wb") as file:
            np.save(file, levels.cpu().numpy().astype(np.int8))
        (out / f".{key}.tmp").replace(out / f"{key}.npy")


def measure_planes(run: Run, protected: Path, photos: Photos, *, gpu: bool) -> tuple[list[Sample], int]:
    """The samples of a run from the written perturbations, and how many scenes have none."""
    if run.target.weights is None or run.measure != "output":
        raise TableError(f"{run.target.label}: only its output after an attack can be measured")
    net, device = load(run.target.weights)[0].to(_device(gpu)), _device(gpu)
    samples: list[Sample] = []
    missing = 0
    for key, x_1PHW in _scenes(run.target.weights, photos):
        levels = torch.from_numpy(np.load(protected / f"{key}.npy")).float()
        with torch.no_grad():
            y_1PHW = (x_1PHW + level_to_unit(levels)).clamp(-1, 1)
            d = (net(y_1PHW.to(device)) - net(x_1PHW.to(device))).double()
        if bool(d.isfinite().all()):
            samples.append(Sample(key, CLASS, float(l1(d)), float(l2(d))))
        else:
            missing += 1
    return samples, missing


def _scenes(weights: Path, photos: Photos) -> Iterator[tuple[str, Tensor]]:
    """(name, planes (1, P, H, W) of 0 and 1) of the held-out label maps."""
    net, height = load(weights)
    labels = int(next(net.parameters()).shape[1]) - 1
    scenes = load_label_pairs(photos.place, size=height, count=1, seed=0, multiple=32, labels=labels).held
    for i in range(min(photos.limit, len(scenes.labels_NHW))):
        yield f"{i:05d}", scenes.batch(torch.tensor([i]), torch.tensor([False]), labels)["planes"]


def _device(gpu: bool) -> torch.device:
    return torch.device("cuda" if gpu else "cpu")
