"""Photos that leave the ascent early: each by its own values, with the pixels that it had then, and without the others noticing."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pipeline.disruption.ascent import L2, Leaving, Linf, Objective, Rest, ascend
from pipeline.disruption.disrupt import Target, disrupt
from pipeline.disruption.objectives import TINY, mean_over, weakest_of
from pipeline.disruption.recipes import RECIPES, Recipe
from pipeline.disruption.streams import streams_for
from pipeline.disruption.until import Weakest, stay_until, worth_a_look
from pipeline.disruption.view import BatchView, View
from pipeline.generators.generator import Generator
from pipeline.images import LOST, THRESHOLD, is_broken, share_of_goal
from pipeline.images.boxes import region_box
from pipeline.images.effect import l2
from tests.fast.tiny import build, build_other

EPSILON = 6 / 127.5
SIZES = ((20, 16), (16, 24), (23, 24), (16, 16), (17, 19), (24, 18), (22, 22), (18, 24))
"""Rows and columns of eight photos."""
KEYS = tuple("abcdefgh")


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 1.8 - 0.9


def summed(w_BCHW: Tensor, sizes: list[int]) -> Objective:
    """Linear, and notes how many images it is shown."""

    def value(y_BCHW: Tensor, t: int) -> Tensor:
        sizes.append(len(y_BCHW))
        return (w_BCHW * y_BCHW).flatten(1).sum(1)

    return value


@pytest.mark.parametrize("last_step", [1.0, 0.2])
def test_an_image_leaves_with_the_pixels_of_that_step_and_the_others_go_on_without_it(last_step: float) -> None:
    x, w, leave_at = random(4, 3, 5, 4), random(4, 3, 5, 4, seed=1), torch.tensor([3, 0, 9, 3])
    sizes: list[int] = []

    def rest(rows_N: Tensor) -> Rest:
        return summed(w[rows_N], sizes), L2(0.4 + 0.1 * rows_N[:, None, None, None]), 0.05 * (1 + rows_N[:, None, None, None])

    everything = torch.arange(4)
    objective, ball, step_size = rest(everything)
    leaving = Leaving(lambda rows_N, y_NCHW, value_N, t: leave_at[rows_N] > t, rest)
    y = ascend(objective, x, ball, start_BCHW=x, steps=6, step_size=step_size, last_step=last_step, leaving=leaving)
    assert sizes == [4, 3, 3, 3, 1, 1]
    for row, steps in enumerate((3, 0, 6, 3)):
        path = [x[row : row + 1]]
        objective, ball, step_size = rest(everything[row : row + 1])

        def watch(rows_N: Tensor, y_NCHW: Tensor, value_N: Tensor, t: int, path: list[Tensor] = path) -> Tensor:
            path.append(y_NCHW)
            return torch.ones(1, dtype=torch.bool)

        path.append(
            ascend(
                objective,
                path[0],
                ball,
                start_BCHW=path[0],
                steps=6,
                step_size=step_size,
                last_step=last_step,
                leaving=Leaving(watch, rest),
            )
        )
        torch.testing.assert_close(y[row : row + 1], path[1 + steps], rtol=0, atol=1e-15)


def test_the_last_image_to_leave_costs_no_gradient() -> None:
    x, graphs = random(2, 1, 2, 2), []

    class Watched(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, y: Tensor) -> Tensor:
            return y.flatten(1).sum(1)

        @staticmethod
        def backward(ctx: object, *g: Tensor) -> Tensor:
            graphs.append(len(g[0]))
            return torch.ones(len(g[0]), 1, 2, 2, dtype=torch.float64)

    def objective(y_BCHW: Tensor, t: int) -> Tensor:
        return Watched.apply(y_BCHW)  # type: ignore[no-any-return, no-untyped-call]

    leaving = Leaving(
        lambda rows_N, y_NCHW, value_N, t: torch.full((len(rows_N),), t < 2), lambda rows_N: (objective, Linf(1), 0.1)
    )
    ascend(objective, x, Linf(1), start_BCHW=x, steps=9, step_size=0.1, leaving=leaving)
    assert graphs == [2, 2]


def test_a_photo_is_measured_when_its_value_allows_it_and_again_when_it_may_have_grown_enough() -> None:
    asked: list[tuple[int, list[int]]] = []

    def weakest(rows_N: Tensor, y_NCHW: Tensor, t: int) -> Tensor:
        asked.append((t, rows_N.tolist()))
        return torch.tensor([{0: 2.0, 1: 0.3 * t, 2: 0.01}[row] for row in rows_N.tolist()])

    stay = stay_until(0.1, weakest, 3)
    rows, left = torch.arange(3), dict[int, int]()
    for t in range(20):
        value_N = torch.tensor([0.05 if t < 2 else 0.3, 0.3, 0.3 if t > 0 else float("nan")])[rows]
        stays_N = stay(rows, torch.zeros(len(rows), 1, 1, 1), value_N, t)
        left |= dict.fromkeys(rows[~stays_N].tolist(), t)
        rows = rows[stays_N]
    assert left == {0: 2, 1: 4}
    assert asked == [(0, [1]), (1, [1, 2]), (2, [0]), (4, [1])]  # a share of 0.3 after 1 step is whole at the earliest after 3.3


@pytest.mark.parametrize(
    ("l2", "lost", "factor", "share"),
    [
        (0.25, 0.3, 5, 1),  # five times the L2 that counts, and just visibly broken
        (0.125, 0.65, 5, 1),  # half of that, but half of what may stay is lost too
        (0.125, 0.52, 5, 0.8),
        (0.2, 0.3, 5, 0.8),
        (0.1, 1.0, 5, 0.8),
        (9.0, 0.15, 5, 0.5),
        (0.05, 0.3, 1, 1),
        (0.05, 0.9, 2, 1),
        (0.04, 0.9, 2, 0.8),
    ],
)
def test_the_goal_is_broken_outputs_with_a_margin_in_one_measure_or_the_other(
    l2: float, lost: float, factor: float, share: float
) -> None:
    assert share_of_goal(l2, lost, factor=factor) == pytest.approx(share)


@given(st.floats(0, 4), st.floats(0, 1), st.floats(1, 80))
def test_no_output_that_is_broken_is_passed_over_because_of_the_objective(l2: float, lost: float, factor: float) -> None:
    for objective, value in (("l2", l2), ("visible", -math.log(THRESHOLD / (l2 + TINY) + LOST / (lost + TINY)))):
        assert value >= worth_a_look(objective, factor) or share_of_goal(l2, lost, factor=factor) < 1
    assert (share_of_goal(l2, lost) >= 1) == is_broken(l2, lost)


@given(st.lists(st.floats(-40, 4), min_size=1, max_size=6))
def test_no_objective_is_below_the_least_of_its_values(values: list[float]) -> None:
    parts: list[Objective] = [lambda y_BCHW, t, value=value: torch.full((1,), value, dtype=torch.float64) for value in values]  # type: ignore[misc]
    for combined in (mean_over, weakest_of):
        assert float(combined(parts)(torch.zeros(1), 0)) >= min(values) - 1e-9 * abs(min(values))


def double(generator: Generator) -> Generator:
    generator.net.double()
    return generator


class Bench:
    """Ragged photos disrupted until a factor on some networks, with the steps that each took."""

    def __init__(self, recipe: Recipe, generators: list[Generator], epsilon: float = EPSILON) -> None:
        self.recipe, self.generators, self.epsilon = recipe, generators, epsilon
        coarse = random(len(SIZES), 3, 4, 4, seed=5)
        self.photos = [
            torch.nn.functional.interpolate(one[None], size, mode="bilinear") for one, size in zip(coarse, SIZES, strict=True)
        ]
        self.steps: dict[int, int] = {}

    def __call__(self, which: list[int]) -> list[Tensor]:
        """The disrupted photos of these numbers, computed as one batch."""
        sizes = tuple(SIZES[i] for i in which)
        H, W = (max(side) for side in zip(*sizes, strict=True))
        x = torch.cat(
            [torch.nn.functional.pad(self.photos[i], (0, W - w, 0, H - h)) for i, (h, w) in zip(which, sizes, strict=True)]
        )
        view = BatchView(tuple(View(region_box("square", w, h, None), 1, 16) for h, w in sizes), sizes)
        with torch.no_grad():
            clean = [{name: one(view(x), name) for name in one.classes} for one in self.generators]
        targets = [Target(view, {n: g.output(n) for n in g.classes}, outs) for g, outs in zip(self.generators, clean, strict=True)]

        @torch.no_grad()
        def weakest(rows_N: Tensor, y_NCHW: Tensor, t: int) -> Tensor:
            self.steps.update((which[row], t) for row in rows_N.tolist())
            seen = view.of_rows(rows_N.tolist())(y_NCHW)
            found = [
                l2(g(seen, n) - out[rows_N]) for g, outs in zip(self.generators, clean, strict=True) for n, out in outs.items()
            ]
            return torch.stack(found).amin(0) / ((self.recipe.until or 1) * THRESHOLD)

        values = torch.tensor([3 * h * w for h, w in sizes])[:, None, None, None]
        streams = streams_for([KEYS[i] for i in which], 0, stored_sizes=sizes)
        y = disrupt(x, targets, self.recipe, epsilon=self.epsilon, streams=streams, values=values, weakest=weakest)
        return [y[k, :, :h, :w] for k, (h, w) in enumerate(sizes)]


@pytest.mark.parametrize(("recipe", "epsilon"), [
    (Recipe(start="uniform", steps=12, until=1), EPSILON),
    (Recipe(steps=12, until=1, classes="joint", last_step=0.3, momentum=0.7), EPSILON),
    (Recipe(start="uniform", steps=12, until=1, classes="weakest", ball="l2"), 1.5 * EPSILON),
])  # fmt: skip
def test_a_photo_that_leaves_early_has_the_same_pixels_in_batches_of_one_three_and_eight(recipe: Recipe, epsilon: float) -> None:
    bench = Bench(recipe, [double(build()), double(build_other())], epsilon)
    alone, steps = [bench([i])[0] for i in range(8)], dict(bench.steps)
    assert len(set(steps.values())) > 2  # photos leave at different steps
    for together in ([[0, 1, 2], [5, 3, 4], [7, 6]], [[7, 2, 5, 0, 1, 6, 3, 4]]):
        bench.steps.clear()
        for which in together:
            for i, y in zip(which, bench(which), strict=True):
                torch.testing.assert_close(y, alone[i], rtol=0, atol=1e-9)
        assert bench.steps == steps


def test_a_photo_that_leaves_early_is_the_published_one_of_so_many_steps() -> None:
    recipe = Recipe(start="uniform", steps=12, until=1)
    bench = Bench(recipe, [double(build())])
    for i in range(4):
        (y,) = bench([i])
        published = Bench(dataclasses.replace(recipe, steps=bench.steps[i], until=None), bench.generators)
        torch.testing.assert_close(y, published([i])[0], rtol=0, atol=1e-12)
        assert 0 < bench.steps[i] < 12


def test_no_photo_leaves_before_every_output_of_every_network_is_past_the_goal() -> None:
    generators, recipe = [double(build()), double(build_other())], Recipe(start="uniform", steps=12, until=1)
    bench = Bench(recipe, generators)
    left = 0
    for i in range(8):
        (y,) = bench([i])
        h, w = SIZES[i]
        view = View(region_box("square", w, h, None), 1, 16)
        with torch.no_grad():
            least = min(float(l2(g(view(y[None]), n) - g(view(bench.photos[i]), n))) for g in generators for n in g.classes)
        left += least >= THRESHOLD
    assert left == 8


@pytest.mark.parametrize("name", ["towards-input", "towards-black", "spread-spectrum", "eot-blur", "feature", "robust"])
def test_until_is_refused_where_the_objective_is_not_what_counts(name: str) -> None:
    recipe = dataclasses.replace(RECIPES[name], until=2)
    nothing: Weakest = lambda rows_N, y_NCHW, t: rows_N  # noqa: E731
    with pytest.raises(ValueError, match="climbs something else"):
        disrupt(random(1, 3, 4, 4), [], recipe, epsilon=EPSILON, streams=streams_for("a", 0), weakest=nothing)
