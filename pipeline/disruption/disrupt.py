"""From a recipe to perturbed photos: the objective is built here and handed to the ascent loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from pipeline.disruption.ascent import BALLS, STARTS, Leaving, Objective, Rest, ascend, mean_radius
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
from pipeline.disruption.transfer import Placing, draw_placings, place, smooth_gradient
from pipeline.disruption.until import Weakest, stay_until, worth_a_look
from pipeline.disruption.view import BatchView
from pipeline.images.blur import BLURS, Transform
from pipeline.images.levels import level_to_unit

EXACT_EVERY = 4
"""Where other views are climbed too, one of so many steps shows the exact one: its gradient is the same each time and theirs
are not, so that a larger share leaves little to them."""
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

    ``view`` takes any batch, or is the `BatchView` of this one. ``clean`` holds the outputs on the untouched photos, by class,
    where they are known. Where there are ``views``, steps climb what one of them shows, in turn, and each class the exact
    ``view`` in every fourth of its steps.
    """

    view: Transform
    outputs: Mapping[str, Output]
    clean: Mapping[str, Tensor] | None = None
    views: Sequence[Transform] = ()

    def of_rows(self, rows_N: Tensor) -> Target:
        """The same for some photos of the batch."""
        clean = None if self.clean is None else {name: output_B[rows_N] for name, output_B in self.clean.items()}
        return Target(_of_rows(self.view, rows_N), self.outputs, clean, tuple(_of_rows(view, rows_N) for view in self.views))


def disrupt(
    x_BCHW: Tensor,
    targets: Sequence[Target],
    recipe: Recipe,
    *,
    epsilon: float | Tensor,
    streams: Sequence[Stream],
    reference: Reference | None = None,
    values: int | Tensor | None = None,
    weakest: Weakest | None = None,
    start_BCHW: Tensor | None = None,
) -> Tensor:
    """Photos (B, C, H, W) in [-1, 1] with a perturbation of at most ``epsilon`` (same units) that breaks every target.

    ``epsilon`` is one number, one per photo (B, 1, 1, 1) or one per pixel (B, 1, H, W). One random stream per photo.
    ``reference`` replaces the recipe's named one; ``values`` is the number of values per photo where padding makes the tensor
    larger, (B, 1, 1, 1). ``weakest`` measures photos on their way for ``recipe.until``, which is not used without it.
    ``start_BCHW`` replaces the recipe's named start and is brought into the ball. Raises ValueError without a target or class, and
    where ``until`` does not fit the objective or the recipe its step rule.
    """
    if recipe.until is not None and not recipe.climbs_what_counts:
        raise ValueError("until compares the objective with what counts, and this recipe climbs something else")
    if recipe.step_rule == "apgd" and (against := [*recipe.against_apgd, *["views" for target in targets if target.views]]):
        raise ValueError(f"the step rule apgd does not go with these parts: {', '.join(against)}")
    placings = draw_placings(streams, recipe.diversity, recipe.steps) if recipe.diversity else []
    named = reference or REFERENCES[recipe.reference]
    together = weakest_of if recipe.classes == "weakest" else mean_over

    def of_photos(
        x_BCHW: Tensor, targets: Sequence[Target], streams: Sequence[Stream], epsilon: float | Tensor, values: int | Tensor
    ) -> Rest:
        parts = [target_objective(t, x_BCHW, recipe, reference=named, streams=streams, placings=placings) for t in targets]
        step_size: float | Tensor = mean_radius(epsilon) if recipe.ball == "l2" else epsilon
        if recipe.step_size is not None:
            step_size = level_to_unit(recipe.step_size)
        elif recipe.step_rule == "apgd" and recipe.ball == "linf":  # twice the radius, which in l2 is half of epsilon
            step_size = 2 * step_size
        return together(parts), BALLS[recipe.ball](epsilon, values), step_size * values**0.5 if recipe.ball == "l2" else step_size

    def of_rows(rows_N: Tensor) -> Rest:
        rows, some = rows_N.tolist(), [target.of_rows(rows_N) for target in targets]
        own = epsilon[rows_N] if isinstance(epsilon, Tensor) else epsilon
        count = number[rows_N] if isinstance(number, Tensor) else number
        return of_photos(x_BCHW[rows_N], some, [streams[i] for i in rows], own, count)

    number = x_BCHW[0].numel() if values is None else values
    objective, ball, step_size = of_photos(x_BCHW, targets, streams, epsilon, number)
    leaving = None
    if weakest is not None and recipe.until is not None:
        least = worth_a_look(recipe.objective, recipe.until)
        leaving = Leaving(stay_until(least, weakest, len(x_BCHW)), of_rows)
    return ascend(
        objective,
        x_BCHW,
        ball,
        start_BCHW=STARTS[recipe.start](x_BCHW, ball, streams) if start_BCHW is None else ball.project(start_BCHW, x_BCHW),
        steps=recipe.steps,
        step_size=step_size,
        last_step=recipe.last_step,
        momentum=recipe.momentum,
        step_rule=recipe.step_rule,
        leaving=leaving,
    )


def target_objective(
    target: Target,
    x_BCHW: Tensor,
    recipe: Recipe,
    *,
    reference: Reference,
    streams: Sequence[Stream],
    placings: Sequence[Sequence[Placing | None]] = (),
) -> Objective:
    """The objective of one generator on photos at file resolution: transforms, classes and blurs combined as the recipe says.

    Where there are ``placings``, those of a step say how each photo is placed on what the generator sees in it.
    Only what gets one of the recipe's steps is made.
    """
    variants = robust_variants(recipe.robust_to, streams, x_BCHW.shape[1:])
    in_turns, total = recipe.robust_mode == "turn", max(1, recipe.steps)
    per_variant = []
    for i, variant in enumerate(variants[:total] if in_turns else variants):
        known = target if i == 0 else replace(target, clean=None)
        steps = _turns(total, len(variants), i) if in_turns else total
        of = partial(_view_objective, variant, x_BCHW, recipe, steps, reference=reference, streams=streams)
        per_variant.append(through(variant, _in_views(known, recipe, of, placings) if target.views or placings else of(known)))
    return in_turn(per_variant) if in_turns else mean_over(per_variant)


def _in_views(
    target: Target, recipe: Recipe, of: Callable[[Target], Objective], placings: Sequence[Sequence[Placing | None]]
) -> Objective:
    """The objective ``of`` another view of the target in each step; references are computed for the classes of that step alone."""
    names = list(target.outputs)
    K = len(names) if recipe.classes == "iterative" else 1

    def value(y_BCHW: Tensor, t: int) -> Tensor:
        outputs = {names[t % K]: target.outputs[names[t % K]]} if K > 1 else target.outputs
        # classes see the exact view in different rounds, never all of them in a row
        is_exact = not target.views or (t % K + t // K) % EXACT_EVERY == 0
        view = target.view if is_exact else target.views[t % len(target.views)]
        if placings and any(placed := placings[t % len(placings)]):
            is_exact, view = False, _placed(view, placed)
        return of(Target(view, outputs, target.clean if is_exact else None))(y_BCHW, t // K)

    return value


def _view_objective(
    variant: Transform,
    x_BCHW: Tensor,
    recipe: Recipe,
    steps: int,
    target: Target,
    *,
    reference: Reference,
    streams: Sequence[Stream],
) -> Objective:
    """The objective of one generator on photos after ``variant``; references come from its outputs on untouched photos after it."""
    in_turns, spread = recipe.classes == "iterative", recipe.blur == "spread-spectrum"
    with torch.no_grad():
        view_BCHW = target.view(variant(x_BCHW))
    per_class = []
    for i, (name, output) in enumerate(list(target.outputs.items())[: steps if in_turns else None]):
        class_steps = _turns(steps, len(target.outputs), i) if in_turns else steps
        per_blur = []
        for blur in _blurs(recipe)[: class_steps if spread else None]:
            with torch.no_grad():
                blurred_BCHW = blur(view_BCHW)
                output_B = target.clean[name] if target.clean and recipe.blur == "none" else output(blurred_BCHW)
                reference_B = reference(blurred_BCHW, output_B, streams)
            per_blur.append(through(blur, _AIMS[recipe.aim](output, reference_B, DISTANCES[recipe.objective])))
        per_class.append(in_turn(per_blur) if spread else mean_over(per_blur))
    together = _SCHEDULES[recipe.classes](per_class)
    if recipe.smooth_gradient:
        together = through(partial(smooth_gradient, sigma=recipe.smooth_gradient), together)
    return through(target.view, together)


def _placed(view: Transform, placings: Sequence[Placing | None]) -> Transform:
    return lambda y_BCHW: place(view(y_BCHW), placings)


def _of_rows(view: Transform, rows_N: Tensor) -> Transform:
    return view.of_rows(rows_N.tolist()) if isinstance(view, BatchView) else view


def _turns(steps: int, count: int, at: int) -> int:
    """How many of ``steps`` steps taken in turn by ``count`` fall to number ``at``."""
    return -(-(steps - at) // count)


def _blurs(recipe: Recipe) -> list[Transform]:
    match recipe.blur:
        case "none":
            return [lambda x_BCHW: x_BCHW]
        case "white-box":
            return [BLURS[WHITE_BOX_BLUR]]
        case _:
            return list(BLURS.values())
