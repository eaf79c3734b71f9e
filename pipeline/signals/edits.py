"""Manipulations made up for training: random edits of a whole photo or of a part of it, from faint to full strength.

A detector that learns from a few networks alone learns what those networks leave. These edits are many and random, so that what
they share is that the photo, and the signal in it, was changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.images.levels import level_to_unit
from pipeline.images.resize import resize

FAINTEST, STRONGEST = 6.0, 48.0
"""Root mean square of a scaled edit in levels: what an eye just sees, and a picture that is another one."""
SMALLEST, LARGEST = 0.03, 0.4
"""Share of the photo that a local edit covers."""


@dataclass(frozen=True)
class Draws:
    """The random numbers of one photo."""

    rng: torch.Generator

    def uniform(self, low: float, high: float) -> float:
        """A number between ``low`` and ``high``."""
        return low + (high - low) * float(torch.rand((), generator=self.rng))

    def log_uniform(self, low: float, high: float) -> float:
        """A number between ``low`` and ``high``, uniform by its logarithm."""
        return math.exp(self.uniform(math.log(low), math.log(high)))

    def pick(self, count: int) -> int:
        """One of 0 to ``count`` - 1."""
        return int(torch.randint(0, count, (), generator=self.rng))

    def normal(self, *shape: int) -> Tensor:
        """Normal numbers of any shape."""
        return torch.randn(shape, generator=self.rng)


Edit = Callable[[Tensor, Tensor, Draws], Tensor]
"""(photo (1, 3, H, W) in [-1, 1], another photo of the same shape, draws) -> the edited photo, same shape."""


def edit_whole(x_13HW: Tensor, other_13HW: Tensor, draws: Draws) -> Tensor:
    """The photo after one of `GLOBAL`, its difference scaled to a drawn strength; same shape."""
    edit = GLOBAL[draws.pick(len(GLOBAL))]
    return _of_strength(x_13HW, edit(x_13HW, other_13HW, draws), torch.ones_like(x_13HW[:, :1]), draws)


def edit_part(x_13HW: Tensor, other_13HW: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """The photo with one feathered part edited, and where: (1, 3, H, W) and the weight (1, 1, H, W) of the edit from 0 to 1."""
    mask_11HW = blob(x_13HW.shape[2:], draws)
    if draws.pick(2):
        edited = LOCAL[draws.pick(len(LOCAL))](x_13HW, other_13HW, draws)
        return x_13HW + mask_11HW * (edited - x_13HW), mask_11HW
    edited = GLOBAL[draws.pick(len(GLOBAL))](x_13HW, other_13HW, draws)
    edited = _of_strength(x_13HW, x_13HW + mask_11HW * (edited - x_13HW), mask_11HW, draws)
    return edited, mask_11HW


def blob(size_HW: tuple[int, ...], draws: Draws, *, area: float | None = None) -> Tensor:
    """A feathered part (1, 1, H, W) from 0 to 1: a rotated ellipse with a wavy edge, of ``area`` or `SMALLEST` to `LARGEST`."""
    H, W = size_HW
    drawn, stretch = draws.log_uniform(SMALLEST, LARGEST), draws.log_uniform(0.5, 2)
    area = drawn if area is None else area
    a = math.sqrt(area * 4 / math.pi * stretch)  # of a square with sides of 2
    b = area * 4 / math.pi / a
    x0, y0, angle = (draws.uniform(-0.75, 0.75), draws.uniform(-0.75, 0.75), draws.uniform(0, math.pi))
    y, x = torch.meshgrid(torch.linspace(-1, 1, H) - y0, torch.linspace(-1, 1, W) - x0, indexing="ij")
    u, v = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    waves, phase = 2 + draws.pick(4), draws.uniform(0, 2 * math.pi)
    wavy = 1 + draws.uniform(0, 0.25) * torch.cos(waves * torch.atan2(v, u) + phase)
    radius = ((u / a).square() + (v / b).square()).sqrt() / wavy
    feather = draws.uniform(0.05, 0.35)
    return ((1 + feather / 2 - radius) / feather).clamp(0, 1)[None, None]


def _of_strength(x_13HW: Tensor, edited_13HW: Tensor, mask_11HW: Tensor, draws: Draws) -> Tensor:
    """The edit with its root mean square inside the mask brought to a drawn strength between `FAINTEST` and `STRONGEST`."""
    change = edited_13HW - x_13HW
    rms = (change.square().mean(1, keepdim=True) * mask_11HW).sum() / mask_11HW.sum().clamp_min(1)
    strength = level_to_unit(draws.log_uniform(FAINTEST, STRONGEST))
    return (x_13HW + change * (strength / rms.sqrt().clamp_min(1e-4)).clamp(max=20)).clamp(-1, 1)


def _random_net(x: Tensor, other: Tensor, draws: Draws) -> Tensor:
    """The photo plus what a small network of random weights makes of it; half of the networks work at half the size."""
    width, kernel, down = (4, 8, 16)[draws.pick(3)], (3, 5, 7)[draws.pick(3)], draws.pick(2)
    h = x
    for i in range(1 + draws.pick(3)):
        stride = 2 if down and i == 0 else 1
        weight = draws.normal(width, h.shape[1], kernel, kernel) / (h.shape[1] * kernel**2) ** 0.5
        h = F.conv2d(F.pad(h, (kernel // 2,) * 4, mode="reflect"), weight, stride=stride)
        h = F.leaky_relu(F.instance_norm(h), 0.2) if draws.pick(2) else torch.tanh(F.instance_norm(h) + draws.uniform(-1, 1))
    if down:
        if draws.pick(2):
            h = F.conv_transpose2d(h, draws.normal(width, width, 4, 4) / (4 * width) ** 0.5, stride=2, padding=1)
        else:
            h = F.interpolate(h, x.shape[2:], mode=("nearest", "bilinear")[draws.pick(2)])
    out = F.conv2d(F.pad(h, (1, 1, 1, 1), mode="reflect"), draws.normal(3, h.shape[1], 3, 3))
    return x + F.instance_norm(out)


def _residual_net(x: Tensor, other: Tensor, draws: Draws) -> Tensor:
    """The photo through a random linear filter near the identity, which mixes neighbours and colours."""
    kernel = (3, 5)[draws.pick(2)]
    weight = draws.normal(3, 3, kernel, kernel) * torch.rand(3, 3, 1, 1, generator=draws.rng).square()
    return x + F.conv2d(F.pad(x, (kernel // 2,) * 4, mode="reflect"), weight)


def _tone(x: Tensor, other: Tensor, draws: Draws) -> Tensor:
    """Another curve for each colour, and colours mixed."""
    matrix = torch.eye(3) + 0.25 * draws.normal(3, 3)
    gamma = torch.tensor([draws.log_uniform(0.5, 2) for _ in range(3)])[:, None, None]
    return torch.einsum("dc,bchw->bdhw", matrix, ((x + 1) / 2).clamp(0, 1) ** gamma * 2 - 1)


def _contrast(x: Tensor, other: Tensor, draws: Draws) -> Tensor:
    """Local contrast raised or lowered."""
    soft = _blur(x, draws.uniform(0.8, 4))
    return x + (draws.uniform(0.5, 2) if draws.pick(2) else -0.8) * (x - soft)


def _abstract(x: Tensor, other: Tensor, draws: Draws) -> Tensor:
    """Flat areas and hard edges, as a cartoon has them: medians, then fewer tones."""
    for _ in range(1 + draws.pick(2)):
        x = F.unfold(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3).reshape(1, 3, 9, *x.shape[2:]).median(2).values
    tones = draws.uniform(4, 12)
    return x if draws.pick(2) else (x * tones).round() / tones


def _enlarge(x: Tensor, other: Tensor, draws: Draws) -> Tensor:
    """Made small and enlarged again, and sharpened, as upscalers do."""
    H, W = x.shape[2:]
    share = draws.uniform(0.2, 0.42)
    large = resize(resize(x, (round(share * H), round(share * W))), (H, W), mode="bicubic")
    return large + draws.uniform(0, 2) * (large - _blur(large, 1.5))


def _patches(x: Tensor, other: Tensor, draws: Draws) -> Tensor:
    """Patches through a random code that keeps a part of each, as a network with a narrow middle does."""
    side = (4, 8)[draws.pick(2)]
    values = F.unfold(x, side, stride=side)
    mean = values.mean(1, keepdim=True)
    basis, _ = torch.linalg.qr(draws.normal(values.shape[1], max(2, round(draws.uniform(0.05, 0.4) * values.shape[1]))))
    kept = basis @ (basis.T @ (values - mean)) * draws.uniform(0.5, 1.5)
    return F.fold(mean + kept, x.shape[2:], side, stride=side)


def warp(x: Tensor, other: Tensor, draws: Draws) -> Tensor:
    """Moved by up to a few hundredths of the side, smoothly."""
    field = F.interpolate(draws.normal(1, 2, 4, 4), x.shape[2:], mode="bicubic") * draws.log_uniform(0.015, 0.08)
    grid = F.affine_grid(torch.eye(2, 3)[None], list(x.shape), align_corners=False) + field.permute(0, 2, 3, 1)
    return F.grid_sample(x, grid, mode="bicubic", padding_mode="reflection", align_corners=False).clamp(-1, 1)


def swap(x: Tensor, other: Tensor, draws: Draws) -> Tensor:
    """The other photo there, in this one's mean and spread of colours or in its own."""
    if draws.pick(3) == 0:
        return other
    mean, std = other.mean((2, 3), keepdim=True), other.std((2, 3), keepdim=True)
    return (other - mean) / std.clamp_min(0.05) * x.std((2, 3), keepdim=True) + x.mean((2, 3), keepdim=True)


def _move(x: Tensor, other: Tensor, draws: Draws) -> Tensor:
    """Another place of the same photo copied there: nothing in it was made by a network, but its signal is out of place."""
    H, W = x.shape[2:]
    return x.roll((round(draws.uniform(0.1, 0.9) * H), round(draws.uniform(0.1, 0.9) * W)), (2, 3))


def fill(x: Tensor, other: Tensor, draws: Draws) -> Tensor:
    """Painted over by its surroundings, with a little grain."""
    return _blur(x, draws.uniform(3, 8)) + level_to_unit(draws.uniform(0, 6)) * draws.normal(*x.shape)


def recolour(x: Tensor, other: Tensor, draws: Draws) -> Tensor:
    """Another hue at the same brightness, as hair or lips are coloured."""
    luma = x.mean(1, keepdim=True)
    colour = 0.6 * draws.normal(1, 3, 1, 1)
    return luma + draws.uniform(0.2, 1) * (x - luma) + (colour - colour.mean(1, keepdim=True)) * ((luma + 1) / 2).clamp(0.1, 1)


def _blur(x: Tensor, sigma: float) -> Tensor:
    reach = min(math.ceil(3 * sigma), min(x.shape[2:]) - 1)
    at = torch.arange(-reach, reach + 1, dtype=x.dtype)
    kernel = torch.exp(-at.square() / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
    x = F.conv2d(F.pad(x, (reach, reach, 0, 0), mode="reflect"), kernel, groups=3)
    return F.conv2d(F.pad(x, (0, 0, reach, reach), mode="reflect"), kernel.transpose(2, 3), groups=3)


GLOBAL: tuple[Edit, ...] = (_random_net, _random_net, _residual_net, _tone, _contrast, _abstract, _enlarge, _patches, warp)
"""Edits of a whole photo."""
LOCAL: tuple[Edit, ...] = (warp, swap, swap, _move, fill, recolour)
"""Edits that make sense in a part of a photo alone, at full strength."""
