"""Augmentations for small sets of faces: of the data, and differentiable ones for what the discriminator sees."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.images.levels import pixels_to_unit


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
