"""The set of signals as it is learned, and how a signal is added to a photo in tensors, colour or grey."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.images.levels import level_to_unit, pixels_to_unit, unit_to_pixels
from pipeline.signals import binding
from pipeline.signals.bundle import GREEN
from pipeline.signals.detector import place

START = 1.5
"""Strength of fresh signals: the detector tells them apart after a few steps, while weak ones become all alike."""
GAIN = 5.0
"""A signal moves so many times faster than its parameters: one learning rate then fits signals and detector."""
DETAILS = (2, 4)
"""Pixels of the details of fresh signals, in equal shares."""
COLOUR = (1.0, -1.0, 1.0)
"""Fresh signals lead from green to magenta: photos have the least of their own there, so a signal of few levels is found best."""
LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in grey: ITU-R BT.601, as Pillow turns photos grey."""


class SignalSet(nn.Module):
    """n signals (0 or more) of 3 planes at a reference side, nowhere larger than a budget in levels."""

    budget: Tensor

    def __init__(self, count: int, *, size: int, budget_levels: float) -> None:
        super().__init__()
        sides = [max(size // detail, 2) for detail in DETAILS]
        coarse = [torch.randn(max(count, 1), 1, side, side) for side in sides]
        start = sum(F.interpolate(each, size=(size, size), mode="bicubic", align_corners=False) for each in coarse)
        colour = torch.tensor(COLOUR)[:, None, None]
        self.raw = nn.Parameter(START * torch.as_tensor(start)[:count] * colour / len(sides) ** 0.5 / GAIN)
        self.register_buffer("budget", torch.tensor(float(budget_levels)), persistent=False)  # an option, not learned

    def signals(self) -> Tensor:
        """The signals, (n, 3, S, S), in [-1, 1] units; without the mean of each plane, which looks like one of the photo."""
        return level_to_unit(self.budget) * torch.tanh(GAIN * (self.raw - self.raw.mean((2, 3), keepdim=True)))

    def cut(self, mixed_BCSS: Tensor) -> Tensor:
        """Mixtures as photos get them: stronger, and cut to the budget."""
        most = float(level_to_unit(self.budget))
        return (binding.DRIVE * mixed_BCSS).clamp(-most, most)


def phases_of(x_B3SS: Tensor, count: int) -> Tensor:
    """`binding.phases` of pictures in [-1, 1], for ``count`` signals: (B, n / 2, S, S) in radians; no gradient."""
    levels_B3SS = unit_to_pixels(x_B3SS.detach().float()).cpu().numpy()
    phase_BmSS = np.stack([binding.phases(levels_3SS, count // 2) for levels_3SS in levels_B3SS])
    return torch.from_numpy(phase_BmSS).to(x_B3SS.device)


def mixed_signals(signals_nCSS: Tensor, phase_BmSS: Tensor, offset_Bm: Tensor, placement_B23: Tensor | None = None) -> Tensor:
    """The mixture that each picture asks for, (B, C, S, S), not cut to a budget.

    ``phase`` is of the picture's own places. With ``placement`` the signals lie there, as `place` takes it.
    """
    B, n = len(phase_BmSS), len(signals_nCSS)
    angle_BmSS = phase_BmSS + offset_Bm.to(phase_BmSS)[:, :, None, None]
    weight_BnSS = torch.stack([angle_BmSS.cos(), angle_BmSS.sin()], 2).flatten(1, 2) / max(n // 2, 1) ** 0.5
    placed_BnCSS = signals_nCSS[None]
    if placement_B23 is not None:
        together_1DSS = signals_nCSS.flatten(0, 1)[None]  # as planes of one image: places are reckoned once
        placed_BnCSS = place(together_1DSS.expand(B, -1, -1, -1), placement_B23).unflatten(1, signals_nCSS.shape[:2])
    mixed_BCSS: Tensor = (placed_BnCSS * weight_BnSS[:, :, None].to(signals_nCSS)).sum(1)
    return mixed_BCSS


def add_signals(x_BCHW: Tensor, signals_B3HW: Tensor) -> Tensor:
    """Photos plus a signal each, in whole levels as in a file; the gradient passes the rounding. Same shapes."""
    sum_BCHW = (x_BCHW + signals_B3HW).clamp(-1, 1)
    return sum_BCHW + (pixels_to_unit(unit_to_pixels(sum_BCHW)) - sum_BCHW).detach()


def turn_grey(x_B3HW: Tensor, grey_B: Tensor) -> Tensor:
    """Photos in [-1, 1]; those marked in ``grey_B`` (bool) become grey, three equal planes in whole levels. Same shape."""
    luma_B1HW = torch.einsum("bchw,c->bhw", x_B3HW, x_B3HW.new_tensor(LUMA))[:, None]
    return torch.where(grey_B[:, None, None, None], pixels_to_unit(unit_to_pixels(luma_B1HW)), x_B3HW)


def grey_signals(signals_B3HW: Tensor) -> Tensor:
    """The signals of grey photos: the green plane of each, three times. Same shape."""
    return signals_B3HW[:, GREEN : GREEN + 1].expand_as(signals_B3HW)
