"""Pixels as tensors, and tensors at another size; differentiable."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.images.levels import pixels_to_unit
from pipeline.images.types import U8


def pixels_to_tensor(pixels_HWC: U8) -> Tensor:
    """8-bit pixels (H, W, C) as a float32 image (1, C, H, W) in [-1, 1]."""
    levels_CHW = torch.from_numpy(np.ascontiguousarray(pixels_HWC.transpose(2, 0, 1))).float()
    return pixels_to_unit(levels_CHW)[None]


def resize(x_BCHW: Tensor, size_HW: tuple[int, int], *, mode: str = "bilinear") -> Tensor:
    """Images at another size, antialiased as Pillow does it; ``mode`` is bilinear or bicubic (which may leave the range)."""
    if tuple(x_BCHW.shape[2:]) == size_HW:
        return x_BCHW
    return F.interpolate(x_BCHW, size_HW, mode=mode, align_corners=False, antialias=True)
