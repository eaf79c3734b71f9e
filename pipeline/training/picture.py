"""Sample grids: what a generator in training does to faces it has not seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from pipeline.generators.stargan import StarGANGenerator
from pipeline.levels import unit_to_pixels
from pipeline.training.augment import resized
from pipeline.training.faces import Faces


@torch.no_grad()
def sample_grid(G: StarGANGenerator, faces: Faces, *, size: int, attributes: Sequence[str], rows: int = 8) -> Image.Image:
    """One row a face: the photo, then the photo with each attribute set and cleared in turn."""
    pick = torch.linspace(0, len(faces.names) - 1, rows).long()
    x_BCHW = resized(faces.u8_NCHW[pick], size)
    columns = [x_BCHW]
    for k in range(len(attributes)):
        for value in (1.0, -1.0):
            c_BK = torch.zeros(rows, len(attributes))
            c_BK[:, k] = value
            columns.append(G(x_BCHW, c_BK))
    grid = torch.stack(columns, 1).permute(0, 3, 1, 4, 2).reshape(rows * size, len(columns) * size, 3)
    return Image.fromarray(unit_to_pixels(grid).numpy().astype(np.uint8))
