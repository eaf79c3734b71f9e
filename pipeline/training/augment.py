"""Augmentations for small sets of faces: of the data, and differentiable ones for what the discriminator sees."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.levels import pixels_to_unit


def resized(u8_BCHW: Tensor, size: int) -> Tensor:
    """8-bit squares as floats in [-1, 1] at ``size``, bilinear with antialiasing."""
    return F.interpolate(pixels_to_unit(u8_BCHW.float()), size=(size, size), mode="bilinear", align_corners=False, antialias=True)


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
        image = x_BCHW[i : i + 1, :, top : top + window, left : left + window]
        image = F.interpolate(image, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
        if torch.rand((), generator=rng) < 0.5:
            image = image.flip(3)
        gain, shift = (0.16 * torch.rand(2, generator=rng) - 0.08).tolist()
        out.append((image * (1 + gain) + shift).clamp(-1, 1))
    return torch.cat(out)


def for_discriminator(x_BCHW: Tensor, rng: torch.Generator) -> Tensor:
    """The images moved by up to 1/8 of the side, with one grey square cut out and a small change of light; differentiable.

    Applied alike to real and generated images, so that a discriminator of few images learns faces and not files.
    Source: the idea of Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training", 2020.
    """
    B, _, H, W = x_BCHW.shape
    device = x_BCHW.device
    light = (torch.rand(B, 1, 1, 1, generator=rng) - 0.5).to(device) * 0.3
    contrast = 1 + (torch.rand(B, 1, 1, 1, generator=rng) - 0.5).to(device) * 0.3
    x_BCHW = x_BCHW * contrast + light
    pad = max(H // 8, 1)
    padded = F.pad(x_BCHW, (pad, pad, pad, pad), mode="reflect")
    tops = torch.randint(0, 2 * pad + 1, (B,), generator=rng).tolist()
    lefts = torch.randint(0, 2 * pad + 1, (B,), generator=rng).tolist()
    moved = [padded[i, :, t : t + H, s : s + W] for i, (t, s) in enumerate(zip(tops, lefts, strict=True))]
    keep_B1HW = torch.ones(B, 1, H, W, device=device)
    hole = max(H // 3, 1)
    for i in range(B):
        if torch.rand((), generator=rng) < 0.5:
            t, s = (int(torch.randint(0, n - hole + 1, (), generator=rng)) for n in (H, W))
            keep_B1HW[i, :, t : t + hole, s : s + hole] = 0
    return torch.stack(moved) * keep_B1HW
