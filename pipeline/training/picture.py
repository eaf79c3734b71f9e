"""Sample grids: what a generator in training does to images it has not seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from pipeline.images.levels import unit_to_pixels
from pipeline.training.system import Batch, System


def each_translation(system: System, G: nn.ModuleDict, batch: Batch) -> list[Tensor]:
    """Inputs that are pictures, and their translations as drawn for the first step: columns (B, 3, H, W)."""
    drawn = system.draw(batch, 0, torch.Generator().manual_seed(0))
    inputs = system.inputs(drawn)
    shown = [column for name, fake in system.translate(G, inputs, drawn).items() for column in (inputs[name], fake)]
    return [column for column in shown if column.shape[1] == 3]


def each_class(system: System, G: nn.ModuleDict, batch: Batch) -> list[Tensor]:
    """The photos, and the photos with each attribute set and cleared in turn."""
    B, K = batch["labels"].shape
    columns = [batch["image"]]
    for k in range(K):
        for value in (1.0, -1.0):
            c_BK = torch.zeros(B, K)
            c_BK[:, k] = value
            columns += system.translate(G, {"fake": batch["image"]}, {**batch, "c": c_BK}).values()
    return columns


@torch.no_grad()
def grid(columns: Sequence[Tensor]) -> Image.Image:
    """Columns of images (B, 3, H, W) in [-1, 1] as one picture, a row for each of the B."""
    B, _, H, W = columns[0].shape
    rows = torch.stack([column.float().cpu() for column in columns], 1).permute(0, 3, 1, 4, 2)
    return Image.fromarray(unit_to_pixels(rows.reshape(B * H, len(columns) * W, 3)).numpy().astype(np.uint8))
