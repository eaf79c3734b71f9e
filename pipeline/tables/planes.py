"""pix2pixHD as [R20] attacks it: on its planes of labels and edges, since it translates label maps and there is no photo.

The perturbation is rounded to whole 8-bit levels (1 / 127.5), written, read back and added to the planes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.disruption.disrupt import Target, disrupt
from pipeline.disruption.streams import streams_for
from pipeline.evaluation.row import EvaluationRow
from pipeline.evaluation.summary import CLEAN
from pipeline.generators.checkpoint import read_metadata, read_state_dict
from pipeline.generators.generator import fingerprint_of
from pipeline.generators.pix2pixhd import Pix2PixHDGenerator, Pix2PixHDLocalEnhancer, pix2pixhd_from_state
from pipeline.images import THRESHOLD
from pipeline.images.effect import l1, l2
from pipeline.images.levels import level_to_unit, unit_to_level
from pipeline.protection.options import ProtectConfig
from pipeline.tables.cells import Run
from pipeline.tables.options import TableError
from pipeline.training.data.label_pairs import load_label_pairs

CLASS = "street scene"
HEIGHT = 256


@cache
def load(weights: Path) -> Pix2PixHDGenerator | Pix2PixHDLocalEnhancer:
    """The net in a file of weights, frozen."""
    return pix2pixhd_from_state(read_state_dict(weights), source=str(weights)).requires_grad_(False).eval()


def fingerprint(weights: Path) -> str:
    """What tells these weights from others."""
    return fingerprint_of(load(weights))


def protect(config: ProtectConfig) -> None:
    """Write the perturbation of each scene in levels, as int8 (36, H, W); files that are there stay."""
    net, device, out = load(config.weights[0]), _device(config.compute.on_gpu), Path(config.output)
    target = Target(lambda x: x, {CLASS: net.to(device)})
    out.mkdir(parents=True, exist_ok=True)
    epsilon = level_to_unit(float(config.epsilon))
    for key, planes_1PHW in _scenes(config.weights[0], Path(config.input), config.photos.limit):
        path, unfinished = out / f"{key}.npy", out / f".{key}.tmp"
        if path.exists():
            continue
        x_1PHW = planes_1PHW.to(device)
        y_1PHW = disrupt(x_1PHW, [target], config.resolved_recipe(), epsilon=epsilon, streams=streams_for([key], config.seed))
        levels_PHW = unit_to_level(y_1PHW - x_1PHW)[0].round().clip(-config.epsilon, config.epsilon)
        with unfinished.open("wb") as file:
            np.save(file, levels_PHW.cpu().numpy().astype(np.int8))
        unfinished.replace(path)


def measure(run: Run, protected: Path, *, gpu: bool) -> Iterator[EvaluationRow]:
    """The rows of a run from the written perturbations."""
    if run.net.weights is None or run.measure != "output":
        raise TableError(f"{run.net.label}: only its output after an attack can be measured")
    net, device, photos = load(run.net.weights).to(_device(gpu)), _device(gpu), run.photos
    for key, x_1PHW in _scenes(run.net.weights, photos.path, photos.limit):
        with torch.no_grad():
            y_1PHW = (x_1PHW + level_to_unit(torch.from_numpy(np.load(protected / f"{key}.npy")).float())).clamp(-1, 1)
            d = net(y_1PHW.to(device)) - net(x_1PHW.to(device))
        row = EvaluationRow(key=key, status="measured", generator=run.net.label, class_name=CLASS, channel=CLEAN)
        yield with_difference(row, d)


def with_difference(row: EvaluationRow, d: Tensor) -> EvaluationRow:
    """The row with L1 and L2 of a difference (1, ...) of outputs, or failed where it is not finite."""
    if not d.isfinite().all():
        return dataclasses.replace(row, status="failed", stage="generator", reason="values that are not numbers")
    l2_1 = float(l2(d.double()))
    row = dataclasses.replace(row, l1=float(l1(d.double())), l2=l2_1, disrupted=l2_1 >= THRESHOLD)
    return dataclasses.replace(row, l2_mask=math.nan, mask_share=math.nan, success_mask=False, floor_l2=math.nan)  # not measured


def _scenes(weights: Path, folder: Path, limit: int | None) -> Iterator[tuple[str, Tensor]]:
    """(name, planes (1, P, H, W) of 0 and 1) of the held-out label maps, of the height that the weights name."""
    labels, height = int(next(load(weights).parameters()).shape[1]) - 1, int(read_metadata(weights).get("size", HEIGHT))
    scenes = load_label_pairs(folder, size=height, count=1, seed=0, multiple=32, labels=labels).held
    for i in range(len(scenes.labels_NHW))[:limit]:
        yield f"{i:05d}", scenes.batch(torch.tensor([i]), torch.tensor([False]), labels)["planes"]


def _device(gpu: bool) -> torch.device:
    return torch.device("cuda" if gpu else "cpu")
