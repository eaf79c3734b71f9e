"""When a photo leaves the ascent: as soon as every output is broken, measured on the file that it would become."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.images import LOST, THRESHOLD, WELL_LOST, least_l2

Weakest = Callable[[Tensor, Tensor, int], Tensor]
"""(rows (N,) of a batch, their images (N, C, H, W) in [-1, 1], steps taken) -> the least share of the goal that an output on their
files reaches (N,), see `pipeline.images.share_of_goal`.

Where outputs fall short of the goal, one of these is enough: not all need to be looked at."""


def worth_a_look(objective: str, factor: float) -> float:
    """The value of an objective below which no output can have reached the goal.

    There an output has an L2 of ``factor`` times its threshold and a lost share of its own, or half of that L2 and is well lost.
    """
    least = least_l2(factor)
    return least if objective == "l2" else -math.log(max(1 + 1 / factor, THRESHOLD / least + LOST / WELL_LOST))


def stay_until(least: float, weakest: Weakest, count: int) -> Callable[[Tensor, Tensor, Tensor, int], Tensor]:
    """`Leaving.stay` for a batch of ``count`` photos: a photo stays until its ``weakest`` output reaches the goal.

    The objective's value is that of one output, or their mean or soft minimum, so it is never below the lowest: while it is below
    ``least`` (`worth_a_look`) the photo stays and nothing else is computed. From then on ``weakest`` decides; a photo that it keeps
    is asked for again after the steps in which it would reach the goal if it got nearer in proportion to them. Each photo goes by
    its own values alone.
    """
    asked_again_B = torch.zeros(count, dtype=torch.float64)

    def stay(rows_N: Tensor, y_NCHW: Tensor, value_N: Tensor, t: int) -> Tensor:
        stay_N = torch.ones(len(rows_N), dtype=torch.bool, device=rows_N.device)
        ask_N = (value_N >= least) & (asked_again_B[rows_N.cpu()] <= t).to(value_N.device)
        if ask_N.any():
            rows_M = rows_N[ask_N]
            share_M = weakest(rows_M, y_NCHW if ask_N.all() else y_NCHW[ask_N], t).cpu().double()
            stay_N[ask_N] = (share_M < 1).to(rows_N.device)
            asked_again_B[rows_M.cpu()] = (t / share_M.clamp_min(1e-12)).clamp_min(t + 1)
        return stay_N

    return stay
