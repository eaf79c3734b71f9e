"""The step rule of Auto-PGD: no step size to choose, and the best point that was seen comes back.

Source: Croce and Hein, ICML 2020, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
attacks", section 3 and algorithm 1. Each image goes by its own values alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

ALPHA = 0.75
"""The share of a step that is its own; the rest repeats the last one."""
RHO = 0.75
"""A step size stays where at least this share of the steps since the last checkpoint rose."""


def checkpoints(steps: int) -> tuple[int, ...]:
    """The numbers of steps after which step sizes are looked at: ceil(p_j N) with p = 0.22, 0.41, 0.57, 0.70, 0.80, 0.87, ..."""
    percent, gap, counts = 22, 22, []
    while percent <= 100:
        counts.append(-(-percent * steps // 100))
        gap = max(gap - 3, 6)
        percent += gap
    return tuple(dict.fromkeys(counts))


class Apgd:
    """What the rule knows of the images (N, C, H, W) of one ascent of so many steps."""

    def __init__(self, steps: int) -> None:
        self._checkpoints = checkpoints(steps)
        self._last_checkpoint = 0

    def look(self, y_NCHW: Tensor, value_N: Tensor, g_NCHW: Tensor, t: int) -> tuple[Tensor, Tensor, Tensor]:
        """Where the next step starts after ``t`` steps: images, their gradients, and the share of the first step size (N, 1, 1, 1).

        ``value_N`` and ``g_NCHW`` are those of ``y_NCHW``. At a checkpoint an image goes back to its best point with half the step
        size where fewer than three of four steps rose, or where neither its step size nor its best value changed since the last.
        """
        if t == 0:
            self._before_NCHW = self._best_NCHW = y_NCHW
            self._best_g_NCHW, self._best_N, self._value_N, self._best_then_N = g_NCHW, value_N, value_N, value_N
            self._share_N, self._rises_N = y_NCHW.new_ones(len(y_NCHW)), torch.zeros_like(value_N)
            self._halved_N = torch.zeros_like(value_N, dtype=torch.bool)
            return y_NCHW, g_NCHW, _each(self._share_N)
        self._rises_N = self._rises_N + (value_N > self._value_N)
        is_better_N = value_N > self._best_N
        self._best_NCHW = torch.where(_each(is_better_N), y_NCHW, self._best_NCHW)
        self._best_g_NCHW = torch.where(_each(is_better_N), g_NCHW, self._best_g_NCHW)
        self._best_N = torch.where(is_better_N, value_N, self._best_N)
        if t in self._checkpoints:
            rarely_N = self._rises_N < RHO * (t - self._last_checkpoint)
            halve_N = rarely_N | (~self._halved_N & (self._best_N == self._best_then_N))
            self._share_N = torch.where(halve_N, self._share_N / 2, self._share_N)
            y_NCHW = torch.where(_each(halve_N), self._best_NCHW, y_NCHW)
            g_NCHW = torch.where(_each(halve_N), self._best_g_NCHW, g_NCHW)
            value_N = torch.where(halve_N, self._best_N, value_N)
            self._rises_N, self._last_checkpoint = torch.zeros_like(value_N), t
            self._halved_N, self._best_then_N = halve_N, self._best_N
        self._value_N = value_N
        return y_NCHW, g_NCHW, _each(self._share_N)

    def lean(self, y_NCHW: Tensor, z_NCHW: Tensor, t: int) -> Tensor:
        """The point after ``y``, not projected yet: most of the way to ``z``, where its gradient led, and some of the last step."""
        before_NCHW, self._before_NCHW = self._before_NCHW, y_NCHW
        return z_NCHW if t == 0 else y_NCHW + ALPHA * (z_NCHW - y_NCHW) + (1 - ALPHA) * (y_NCHW - before_NCHW)

    def best(self, y_NCHW: Tensor, value_N: Tensor) -> Tensor:
        """The best points seen, these last ones among them."""
        return torch.where(_each(value_N > self._best_N), y_NCHW, self._best_NCHW)


def _each(of_N: Tensor) -> Tensor:
    return of_N[:, None, None, None]
