"""The detector: a trunk with two heads. One tells whether the photo is untouched, one recovers the signal that it carries."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.images.resize import resize

TEMPLATES = 32
"""Learned patterns that the recovered signal is compared with; they tell the first head where in the photo a signal is."""


class Detection(NamedTuple):
    """The detector's output for a batch: ``logit_B`` (above 0: untouched) and the recovered signals (B, 3, S, S)."""

    logit_B: Tensor
    recovered_B3SS: Tensor


class Detector(nn.Module):
    """Images (B, 3, H, W) in [-1, 1] of any size -> a logit and the recovered signal of each.

    Every image is brought to the side ``size``, a multiple of 4, at which signals are defined. ``width`` is that of the first
    layer in channels. Trunk: half of the side, a quarter of it, and back, with group norm; nothing depends on the other images of
    a batch.
    """

    def __init__(self, *, size: int, width: int = 32) -> None:
        super().__init__()
        self.size = size
        self.near = nn.Sequential(nn.Conv2d(3, width, 4, stride=2, padding=1), _Block(width))
        self.far = nn.Sequential(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1), _Block(2 * width))
        self.back = nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(2 * width, width, 1))
        self.mend = _Block(width)
        self.recover = nn.Sequential(nn.Conv2d(width, 3 * 4, 3, padding=1), nn.PixelShuffle(2))
        self.templates = nn.Linear(3 * size * size, TEMPLATES, bias=False)
        self.judge = nn.Sequential(nn.Linear(3 * width + TEMPLATES, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, x_BCHW: Tensor) -> Detection:
        """The logit and the recovered signal of each image."""
        near = self.near(detector_input(x_BCHW, self.size))
        far = self.far(near)
        trunk = self.mend(near + self.back(far))
        recovered = self.recover(trunk)
        direction = F.normalize(recovered.flatten(1), dim=1)
        facts = torch.cat([far.mean((2, 3)), trunk.mean((2, 3)), self.size * self.templates(direction)], dim=1)
        return Detection(self.judge(facts).squeeze(1), recovered)


def detector_input(x_BCHW: Tensor, size: int) -> Tensor:
    """Images (B, 3 or 1, H, W) as the detector takes them: (B, 3, size, size), grey ones in three equal planes."""
    return resize(x_BCHW.expand(-1, 3, -1, -1), (size, size))


class _Block(nn.Module):
    """Two convolutions around a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(8, width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(8, width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1),
        )  # fmt: skip

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Same shape."""
        y_BCHW: Tensor = x_BCHW + self.body(x_BCHW)
        return y_BCHW
