"""When a photo leaves the ascent: as soon as every output is broken far enough, measured on the file that it would become."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Weakest = Callable[[Tensor, Tensor, int], Tensor]
"""(rows (N,) of a batch, their images (N, C, H, W) in [-1, 1], steps taken) -> the least L2 of all outputs on their files (N,).

Where outputs fall short of the goal, the L2 of one of these does as well: not all need to be looked at."""


def stay_until(goal: float, weakest: Weakest, count: int) -> Callable[[Tensor, Tensor, Tensor, int], Tensor]:
    """`Leaving.stay` for a batch of ``count`` photos: a photo stays until its ``weakest`` L2 reaches ``goal``.

    The objective's value is one of these L2, their mean or their soft minimum, so it is never below the least: while it is below
    the goal the photo stays and nothing else is computed. From then on ``weakest`` decides; a photo that it keeps is asked for
    again after the steps in which that L2 would reach the goal if it grew in proportion to them. Each photo goes by its own
    values alone.
    """
    asked_again_B = torch.zeros(count, dtype=torch.float64)

    def stay(rows_N: Tensor, y_NCHW: Tensor, value_N: Tensor, t: int) -> Tensor:
        stay_N = torch.ones(len(rows_N), dtype=torch.bool, device=rows_N.device)
        ask_N = (value_N >= goal) & (asked_again_B[rows_N.cpu()] <= t).to(value_N.device)
        if ask_N.any():
            rows_M = rows_N[ask_N]
            least_M = weakest(rows_M, y_NCHW if ask_N.all() else y_NCHW[ask_N], t).cpu().double()
            stay_N[ask_N] = (least_M < goal).to(rows_N.device)
            asked_again_B[rows_M.cpu()] = (t * goal / least_M.clamp_min(1e-12)).clamp_min(t + 1)
        return stay_N

    return stay
