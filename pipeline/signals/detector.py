"""The detector: it recovers the signal that a photo carries, and judges where photo and signal do not belong together any more."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.images.resize import resize

FLAT = 1e-6
"""Below this root mean square a recovered signal counts as none."""


class Recovery(NamedTuple):
    """What the detector recovers from a batch: the signals (B, 3, S, S), and its features (B, width, S / 2, S / 2)."""

    signals_B3SS: Tensor
    features_BCHW: Tensor


class Detection(NamedTuple):
    """The judgement of a batch: ``logit_B`` (above 0: untouched) and ``changed_B1HW`` (above 0: changed there), side S / 2."""

    logit_B: Tensor
    changed_B1HW: Tensor


class Detector(nn.Module):
    """Images (B, 3, H, W) in [-1, 1] of any size; every one is brought to the side ``size``, a multiple of 8.

    First the signal is recovered from the image alone. Whoever calls looks for a signal of the set in it, in its place, and hands
    that back (zeros for none); then the image is judged beside it. ``width`` is that of the first layer in channels. Group norm:
    nothing depends on the other images of a batch.
    """

    def __init__(self, *, size: int, width: int = 32) -> None:
        super().__init__()
        self.size = size
        self.near = nn.Sequential(nn.Conv2d(3, width, 4, stride=2, padding=1), _Block(width))
        self.far = nn.Sequential(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1), _Block(2 * width))
        self.back = nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(2 * width, width, 1))
        self.mend = _Block(width)
        self.signal = nn.Sequential(nn.Conv2d(width, 3 * 4, 3, padding=1), nn.PixelShuffle(2))
        self.beside = nn.Sequential(nn.Conv2d(12, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2))
        self.joined = nn.Sequential(nn.Conv2d(2 * width, width, 1), _Block(width), _Block(width))
        self.coarse = nn.Sequential(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1), _Block(2 * width))
        self.coarsest = nn.Sequential(nn.Conv2d(2 * width, 2 * width, 4, stride=2, padding=1), _Block(2 * width))
        self.widen = nn.Upsample(scale_factor=2, mode="bilinear")
        self.from_coarse = nn.Conv2d(2 * width, width, 1)
        self.mend_map = _Block(width)
        self.changed = nn.Conv2d(width, 1, 3, padding=1)
        self.judge = nn.Sequential(nn.Linear(7 * width + 4, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))

    def recover(self, x_BCHW: Tensor) -> Recovery:
        """The signal that each image seems to carry."""
        near = self.near(detector_input(x_BCHW, self.size))
        features = self.mend(near + self.back(self.far(near)))
        return Recovery(self.signal(features).to(x_BCHW.dtype), features)

    def forward(self, x_BCHW: Tensor, recovery: Recovery, placed_B3SS: Tensor) -> Detection:
        """Whether and where each image was changed, beside the signal ``placed`` as it lies in the untouched image."""
        x = detector_input(x_BCHW, self.size)
        recovered, placed = _unit(recovery.signals_B3SS), _unit(placed_B3SS)
        likeness = recovered * placed
        trunk = self.joined(torch.cat([self.beside(torch.cat([x, recovered, placed, likeness], 1)), recovery.features_BCHW], 1))
        coarse = self.coarse(trunk)
        coarse = coarse + self.widen(self.coarsest(coarse))
        wide = self.mend_map(trunk + self.widen(self.from_coarse(coarse)))
        changed = self.changed(wide)
        strength = recovery.signals_B3SS.square().mean((1, 2, 3)).clamp_min(FLAT**2).log()
        facts = torch.cat(
            [
                trunk.mean((2, 3)), wide.mean((2, 3)), wide.amax((2, 3)), coarse.mean((2, 3)), coarse.amax((2, 3)),
                likeness.mean((1, 2, 3))[:, None], strength[:, None], changed.mean((2, 3)), changed.amax((2, 3)),
            ],
            dim=1,
        )  # fmt: skip
        return Detection(self.judge(facts).squeeze(1).to(x.dtype), changed.to(x.dtype))


def detector_input(x_BCHW: Tensor, size: int) -> Tensor:
    """Images (B, 3 or 1, H, W) as the detector takes them: (B, 3, size, size), grey ones in three equal planes."""
    return resize(x_BCHW.expand(-1, 3, -1, -1), (size, size))


def place(signals_B3SS: Tensor, placement_B23: Tensor) -> Tensor:
    """Signals as they lie in pictures: ``placement`` leads from places in each picture to places in its photo, from -1 to 1."""
    grid = F.affine_grid(placement_B23, list(signals_B3SS.shape), align_corners=False)
    return F.grid_sample(signals_B3SS, grid, mode="bicubic", padding_mode="border", align_corners=False)


def _unit(signals_B3SS: Tensor) -> Tensor:
    """Signals with a mean square of 1; zeros stay zeros."""
    return signals_B3SS / signals_B3SS.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(FLAT)


class _Block(nn.Module):
    """Norm, rectifier and convolution, twice, added to what came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(8, channels), nn.LeakyReLU(0.2), nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(8, channels), nn.LeakyReLU(0.2), nn.Conv2d(channels, channels, 3, padding=1),
        )  # fmt: skip

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """The sum, of the shape of ``x``."""
        y_BCHW: Tensor = x_BCHW + self.layers(x_BCHW)
        return y_BCHW
