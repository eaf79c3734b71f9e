"""What all sources of batches share: their order, and augmentations, of which those for D are differentiable.

The batch of a step depends on the seed and the step alone, so a resumed training sees the same order."""

from __future__ import annotations

import hashlib
import zlib
from functools import lru_cache
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.images.levels import pixels_to_unit
from pipeline.training.systems.system import Batch


class Source(Protocol):
    """Where a training's images come from."""

    def batch(self, step: int) -> Batch:
        """The whole batch of a step, on the CPU: images float32 in [-1, 1]; the same for the same step, whoever asks and when."""

    def held_out(self) -> Batch:
        """A few images that are never trained on, for sample grids; the tensors of ``batch``."""


def stream_of(seed: int, step: int) -> torch.Generator:
    """The random numbers of one step's batch."""
    digest = hashlib.sha256(f"{seed} {step}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def shuffled(seed: int, step: int, *, batch: int, count: int, about: str) -> Tensor:
    """The images (batch,) of a step: cut out of an endless row of permutations, so that each epoch takes every image once.

    ``about`` names the set, so that two sets of a training are in different orders.
    """
    first = step * batch
    epochs = range(first // count, (first + batch - 1) // count + 1)
    own_seed = seed * 2**32 + zlib.crc32(about.encode())
    row = torch.cat([_permutation(own_seed, epoch, count) for epoch in epochs])
    start = first - epochs[0] * count
    return row[start : start + batch]


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, count: int) -> Tensor:
    """The order of one epoch, which a process of a large set needs in each of its steps."""
    return torch.randperm(count, generator=stream_of(seed, epoch))


def resized(u8_BCHW: Tensor, size: int) -> Tensor:
    """8-bit squares as floats in [-1, 1] at ``size``, bilinear with antialiasing."""
    return _scaled(pixels_to_unit(u8_BCHW.float()), size)


def mirror(x_BCHW: Tensor, mirrored_B: Tensor) -> Tensor:
    """The images, those that are to be ``mirrored`` with left and right exchanged."""
    return torch.where(mirrored_B.view(-1, 1, 1, 1), x_BCHW.flip(3), x_BCHW)


def crop_flip_resize(u8_BCHW: Tensor, size: int, rng: torch.Generator) -> Tensor:
    """A batch of 8-bit squares as floats in [-1, 1] at ``size``: mirrored at random, cropped to 88-100 % of the side.

    One crop window is drawn per image; brightness and contrast move by up to 8 %.
    """
    B, _, side, _ = u8_BCHW.shape
    x_BCHW = pixels_to_unit(u8_BCHW.float())
    out = []
    for i in range(B):
        window = int(side * (0.88 + 0.12 * torch.rand((), generator=rng).item()))
        top, left = (int(torch.randint(0, side - window + 1, (), generator=rng)) for _ in range(2))
        image = _scaled(x_BCHW[i : i + 1, :, top : top + window, left : left + window], size)
        if torch.rand((), generator=rng) < 0.5:
            image = image.flip(3)
        gain, shift = (0.16 * torch.rand(2, generator=rng) - 0.08).tolist()
        out.append((image * (1 + gain) + shift).clamp(-1, 1))
    return torch.cat(out)


def draw_views(count: int, size: int, rng: torch.Generator) -> Tensor:
    """How ``for_discriminator`` changes each of ``count`` images of side ``size``, at random: (count, 7).

    Columns: brightness, contrast, top and left of the window, whether a square is cut out, its top and left.
    """
    pad, hole = _pad_and_hole(size)
    light_B2 = (torch.rand(count, 2, generator=rng) - 0.5) * 0.3
    window_B2 = torch.randint(0, 2 * pad + 1, (count, 2), generator=rng)
    cut_B1 = torch.rand(count, 1, generator=rng) < 0.5
    hole_B2 = torch.randint(0, size - hole + 1, (count, 2), generator=rng)
    return torch.cat([light_B2, window_B2, cut_B1, hole_B2], dim=1)


def for_discriminator(x_BCHW: Tensor, views_B7: Tensor) -> Tensor:
    """The images moved by up to 1/8 of the side, some with a grey square cut out, and a small change of light; differentiable.

    Real and generated images are changed alike, so that a discriminator of few images learns faces and not files.
    Source: the idea of Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training", 2020.
    """
    B, _, H, W = x_BCHW.shape
    pad, hole = _pad_and_hole(H)
    light, contrast = (views_B7[:, i].to(x_BCHW)[:, None, None, None] for i in range(2))
    padded = F.pad(x_BCHW * (1 + contrast) + light, (pad, pad, pad, pad), mode="reflect")
    keep_B1HW = torch.ones(B, 1, H, W, device=x_BCHW.device, dtype=x_BCHW.dtype)
    moved = []
    for i, (top, left, cut, hole_top, hole_left) in enumerate(views_B7[:, 2:].int().tolist()):
        moved.append(padded[i, :, top : top + H, left : left + W])
        if cut:
            keep_B1HW[i, :, hole_top : hole_top + hole, hole_left : hole_left + hole] = 0
    return torch.stack(moved) * keep_B1HW


def _scaled(x_BCHW: Tensor, size: int) -> Tensor:
    return F.interpolate(x_BCHW, size=(size, size), mode="bilinear", align_corners=False, antialias=True)


def _pad_and_hole(size: int) -> tuple[int, int]:
    return max(size // 8, 1), max(size // 3, 1)
