"""What a disruption makes large: distances of outputs from references, and how they are combined."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pipeline.disruption.ascent import Objective
from pipeline.disruption.streams import Stream
from pipeline.images import LOST, THRESHOLD
from pipeline.images.blur import Transform
from pipeline.images.effect import l2, l2_edges, l2_levelled, l2_local, structure_lost
from pipeline.images.resize import resize

Output = Callable[[Tensor], Tensor]
"""images (B, C, H, W) -> outputs (B, ...): a generator with its class filled in, or an inner activation."""


Reference = Callable[[Tensor, Tensor, Sequence[Stream]], Tensor]
"""(view of the untouched photo, the generator's output on it, one random stream per image) -> reference of the output's shape."""


Distance = Callable[[Tensor, Tensor], Tensor]
"""(outputs, reference of the same shape) -> one distance per image (B,)."""


def _in_float32(distance: Distance) -> Distance:
    """The distance in float32 or better, also under autocast, in whose bfloat16 a mean loses what it is to tell apart."""

    def exact(output_B: Tensor, reference_B: Tensor) -> Tensor:
        dtype = torch.promote_types(output_B.dtype, torch.float32)
        with torch.autocast(output_B.device.type, enabled=False):
            return distance(output_B.to(dtype), reference_B.to(dtype))

    return exact


TINY = 1e-6
"""Added to what is divided by: outputs that are equal differ by nothing."""


def _visible(output_B: Tensor, reference_B: Tensor) -> Tensor:
    """-log(0.05 / L2 + 0.3 / lost), the logarithm of half the harmonic mean of both over their thresholds.

    So what is furthest from its threshold is climbed most.
    """
    return -(THRESHOLD / (l2(output_B - reference_B) + TINY) + LOST / (structure_lost(output_B, reference_B) + TINY)).log()


DISTANCES: dict[str, Distance] = {
    "visible": _in_float32(_visible),
    "l2": lambda output_B, reference_B: l2(output_B - reference_B),
    "local": _in_float32(l2_local),
    "levelled": _in_float32(l2_levelled),
    "edge": _in_float32(l2_edges),
}
"""What is made large, by name. ``l2`` is that of [R20] equation 2, which a change of brightness can satisfy; ``local``,
``levelled`` and ``edge`` ask for broken structure (`pipeline.images.effect`), ``visible`` for both."""


def away_from(output: Output, reference_B: Tensor, distance: Distance = DISTANCES["l2"]) -> Objective:
    """The distance per image between ``output`` and a reference of the output's shape. Source: [R20] equation 2."""
    return lambda y_BCHW, t: distance(output(y_BCHW), reference_B)


def towards(output: Output, reference_B: Tensor, distance: Distance = DISTANCES["l2"]) -> Objective:
    """The negative distance: the targeted disruption of [R20] equation 3."""
    return lambda y_BCHW, t: -distance(output(y_BCHW), reference_B)


def mean_over(objectives: Sequence[Objective]) -> Objective:
    """All objectives at once, averaged: joint class transfer, ensembles of generators, expectation over transforms."""
    if not objectives:
        raise ValueError("mean_over needs at least one objective")

    def value(y_BCHW: Tensor, t: int) -> Tensor:
        return torch.stack([objective(y_BCHW, t) for objective in objectives]).mean(0)

    return value


SOFTNESS = 0.2
"""Of `weakest_of`, as a share of the mean size of the values: those that exceed the least by more count little."""


def weakest_of(objectives: Sequence[Objective]) -> Objective:
    """All objectives at once, the least counting most: their soft minimum -T log mean exp(-v / T), T a share of the mean of |v|.

    The mean follows the network or class that is easy to break; this one the network or class that is hardest to break.
    """
    if not objectives:
        raise ValueError("weakest_of needs at least one objective")

    def value(y_BCHW: Tensor, t: int) -> Tensor:
        value_KB = torch.stack([objective(y_BCHW, t) for objective in objectives])
        scale_B = SOFTNESS * value_KB.detach().abs().mean(0).clamp_min(torch.finfo(value_KB.dtype).tiny)
        return scale_B * (math.log(len(objectives)) - (-value_KB / scale_B).logsumexp(0))

    return value


def in_turn(objectives: Sequence[Objective]) -> Objective:
    """Objective ``t mod K`` in step t: iterative class transfer, spread-spectrum blur. Source: [R20] sections 3.3 and 3.5.

    The inner step number is ``t // K``, so that schedules inside each other visit every pair.
    """
    if not objectives:
        raise ValueError("in_turn needs at least one objective")
    K = len(objectives)
    return lambda y_BCHW, t: objectives[t % K](y_BCHW, t // K)


def through(transform: Transform, objective: Objective) -> Objective:
    """The objective of transformed images, e.g. blurred ones or a resized view."""
    return lambda y_BCHW, t: objective(transform(y_BCHW), t)


def _noise(x_BCHW: Tensor, output_B: Tensor, streams: Sequence[Stream]) -> Tensor:
    return torch.stack([stream.uniform(output_B.shape[1:]) for stream in streams]).to(output_B)


def _input(x_BCHW: Tensor, output_B: Tensor, streams: Sequence[Stream]) -> Tensor:
    if x_BCHW.shape != output_B.shape:
        shapes = f"{tuple(output_B.shape)} from {tuple(x_BCHW.shape)}"
        raise ValueError(f"reference 'input' needs an output shaped like the input, got {shapes}")
    return x_BCHW


REFERENCES: dict[str, Reference] = {
    "output": lambda x_BCHW, output_B, streams: output_B,
    "input": _input,
    "black": lambda x_BCHW, output_B, streams: torch.full_like(output_B, -1),
    "white": lambda x_BCHW, output_B, streams: torch.ones_like(output_B),
    "noise": _noise,
}
"""The references of [R20] section 3.1; a recipe may also name an image file (`image_reference`)."""


def image_reference(image_CHW: Tensor) -> Reference:
    """Any image (3, h, w) in [-1, 1] as a reference, resized to the output."""

    def reference(x_BCHW: Tensor, output_B: Tensor, streams: Sequence[Stream]) -> Tensor:
        return resize(image_CHW[None].to(output_B), (output_B.shape[2], output_B.shape[3])).expand_as(output_B)

    return reference
