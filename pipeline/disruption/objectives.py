"""What a disruption makes large: distances of outputs from references, and ways to combine them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pipeline.disruption.ascent import Objective

Output = Callable[[Tensor], Tensor]
"""images (B, C, H, W) -> outputs (B, ...): a generator with its class filled in, or an inner activation."""


def away_from(output: Output, reference_B: Tensor) -> Objective:
    """The mean squared distance per image between ``output`` and a reference of the output's shape. Source: [R20] equation 2."""

    def value(y_BCHW: Tensor, t: int) -> Tensor:
        return (output(y_BCHW) - reference_B).square().flatten(1).mean(1)

    return value


def towards(output: Output, reference_B: Tensor) -> Objective:
    """The negative distance: the targeted disruption of [R20] equation 3."""
    distance = away_from(output, reference_B)
    return lambda y_BCHW, t: -distance(y_BCHW, t)


def mean_over(objectives: Sequence[Objective]) -> Objective:
    """All objectives at once, averaged: joint class transfer, ensembles of generators, expectation over transforms."""
    if not objectives:
        raise ValueError("mean_over needs at least one objective")

    def value(y_BCHW: Tensor, t: int) -> Tensor:
        return torch.stack([objective(y_BCHW, t) for objective in objectives]).mean(0)

    return value


def in_turn(objectives: Sequence[Objective]) -> Objective:
    """Objective ``t mod K`` in step t: iterative class transfer, spread-spectrum blur. Source: [R20] sections 3.3 and 3.5.

    The inner step number is ``t // K``, so that schedules inside each other visit every pair.
    """
    if not objectives:
        raise ValueError("in_turn needs at least one objective")
    K = len(objectives)
    return lambda y_BCHW, t: objectives[t % K](y_BCHW, t // K)


def through(transform: Callable[[Tensor], Tensor], objective: Objective) -> Objective:
    """The objective of transformed images, e.g. blurred ones or a resized view."""
    return lambda y_BCHW, t: objective(transform(y_BCHW), t)
