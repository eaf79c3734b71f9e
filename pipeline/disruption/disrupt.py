"""From a recipe to perturbed photos: the objective is built here and handed to the ascent loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.disruption.ascent import BALLS, STARTS, Objective, ascend
from pipeline.disruption.objectives import (
    DISTANCES,
    REFERENCES,
    Distance,
    Output,
    Reference,
    away_from,
    in_turn,
    mean_over,
    through,
    towards,
    weakest_of,
)
from pipeline.disruption.recipes import Recipe
from pipeline.disruption.robust import robust_variants
from pipeline.disruption.streams import Stream
from pipeline.images.blur import BLURS, Transform
from pipeline.images.levels import level_to_unit

EXACT_EVERY = 3
"""One of so many rounds through the classes shows the exact view where others are climbed too; with none it would break less."""
WHITE_BOX_BLUR = "gaussian-1.5"
_AIMS: dict[str, Callable[[Output, Tensor, Distance], Objective]] = {"away": away_from, "towards": towards}
_SCHEDULES: dict[str, Callable[[Sequence[Objective]], Objective]] = {
    "iterative": in_turn,
    "joint": mean_over,
    "weakest": weakest_of,
}


@dataclass(frozen=True)
class Target:
    """One generator to break: its view of the photos, and its output for each class by name.

    Where there are ``views``, steps climb what one of them shows, in turn, and in every third round of classes the exact ``view``.
    """

    view: Transform
    outputs: Mapping[str, Output]
    views: Sequence[Transform] = ()


def disrupt(
    x_BCHW: Tensor,
    targets: Sequence[Target],
    recipe: Recipe,
    *,
    epsilon: float,
    streams: Sequence[Stream],
    reference: Reference | None = None,
    values: int | Tensor | None = None,
) -> Tensor:
    """Photos (B, C, H, W) in [-1, 1] with a perturbation of at most ``epsilon`` (same units) that breaks every target.

    One random stream per photo. ``reference`` replaces the recipe's named one; ``values`` is the number of values per photo where
    padding makes the tensor larger, (B, 1, 1, 1). Raises ValueError without a target or class.
    """
    reference = reference or REFERENCES[recipe.reference]
    together = weakest_of if recipe.classes == "weakest" else mean_over
    objective = together([target_objective(t, x_BCHW, recipe, reference=reference, streams=streams) for t in targets])
    values = x_BCHW[0].numel() if values is None else values
    ball = BALLS[recipe.ball](epsilon, values)
    step_size: float | Tensor = epsilon if recipe.step_size is None else level_to_unit(recipe.step_size)
    if recipe.ball == "l2":
        step_size = step_size * values**0.5
    start_BCHW = STARTS[recipe.start](x_BCHW, ball, streams)
    return ascend(
        objective, x_BCHW, ball, start_BCHW=start_BCHW, steps=recipe.steps, step_size=step_size, last_step=recipe.last_step
    )


def target_objective(
    target: Target, x_BCHW: Tensor, recipe: Recipe, *, reference: Reference, streams: Sequence[Stream]
) -> Objective:
    """The objective of one generator on photos at file resolution: transforms, classes and blurs combined as the recipe says."""
    variants = robust_variants(recipe.robust_to, streams, x_BCHW.shape[1:])
    seen_objective = _views_objective if target.views else _view_objective
    per_variant = [
        through(variant, seen_objective(target, variant, x_BCHW, recipe, reference=reference, streams=streams))
        for variant in variants
    ]
    return in_turn(per_variant) if recipe.robust_mode == "turn" else mean_over(per_variant)


def _views_objective(
    target: Target, variant: Transform, x_BCHW: Tensor, recipe: Recipe, *, reference: Reference, streams: Sequence[Stream]
) -> Objective:
    """`_view_objective` of another view in each step; references are computed for the classes of that step alone."""
    names = list(target.outputs)
    K = len(names) if recipe.classes == "iterative" else 1

    def value(y_BCHW: Tensor, t: int) -> Tensor:
        outputs = {names[t % K]: target.outputs[names[t % K]]} if K > 1 else target.outputs
        is_exact = t // K % EXACT_EVERY == 0
        shown = Target(target.view if is_exact else target.views[t % len(target.views)], outputs)
        return _view_objective(shown, variant, x_BCHW, recipe, reference=reference, streams=streams)(y_BCHW, t // K)

    return value


def _view_objective(
    target: Target, variant: Transform, x_BCHW: Tensor, recipe: Recipe, *, reference: Reference, streams: Sequence[Stream]
) -> Objective:
    """The objective of one generator on photos after ``variant``; the reference is its output on untouched photos after it."""
    with torch.no_grad():
        view_BCHW = target.view(variant(x_BCHW))
    per_class = []
    for output in target.outputs.values():
        per_blur = []
        for blur in _blurs(recipe):
            with torch.no_grad():
                blurred_BCHW = blur(view_BCHW)
                reference_B = reference(blurred_BCHW, output(blurred_BCHW), streams)
            per_blur.append(through(blur, _AIMS[recipe.aim](output, reference_B, DISTANCES[recipe.objective])))
        per_class.append(in_turn(per_blur) if recipe.blur == "spread-spectrum" else mean_over(per_blur))
    return through(target.view, _SCHEDULES[recipe.classes](per_class))


def _blurs(recipe: Recipe) -> list[Transform]:
    match recipe.blur:
        case "none":
            return [lambda x_BCHW: x_BCHW]
        case "white-box":
            return [BLURS[WHITE_BOX_BLUR]]
        case _:
            return list(BLURS.values())
