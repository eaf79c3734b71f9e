"""APGD's steps against its algorithm written out, closed forms of when step sizes are halved, and images that go by themselves."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.disruption import disrupt as whole
from pipeline.disruption.apgd import Apgd, checkpoints
from pipeline.disruption.ascent import L2, Ball, L2InLinf, Leaving, Linf, Objective, ascend
from pipeline.disruption.disrupt import Target, disrupt
from pipeline.disruption.recipes import Recipe
from pipeline.disruption.streams import streams_for
from pipeline.disruption.view import BatchView, View
from pipeline.images.boxes import region_box
from tests.fast.tiny import build

F64 = NDArray[np.float64]
APGD = Recipe(start="uniform", steps=12, step_size=None, step_rule="apgd", classes="joint")


def random(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1) * scale


def bowl(top_BCHW: Tensor, *, seed: int = 3) -> Objective:
    """A concave quadratic whose values at different pixels depend on each other."""
    n = top_BCHW[0].numel()
    half = random(n, n, seed=seed)
    H = half @ half.T / n + 0.05 * torch.eye(n, dtype=torch.float64)

    def value(y_BCHW: Tensor, t: int) -> Tensor:
        d_BN = (y_BCHW - top_BCHW).flatten(1)
        return -((d_BN @ H) * d_BN).sum(1)

    return value


def waves(w_BCHW: Tensor) -> Objective:
    """Many tops and hollows, so that the last point is seldom the best."""
    return lambda y_BCHW, t: (30 * y_BCHW + w_BCHW).sin().flatten(1).sum(1) + (7 * y_BCHW).cos().flatten(1).sum(1)


def test_checkpoints_are_those_of_the_paper() -> None:
    assert checkpoints(100) == (22, 41, 57, 70, 80, 87, 93, 99)
    assert checkpoints(20) == (5, 9, 12, 14, 16, 18, 19, 20)  # the ceilings of 4.4, 8.2, 11.4, 14, 16, 17.4, 18.6, 19.8
    assert checkpoints(1) == (1,)


def algorithm_1(f: Any, g: Any, x: F64, start: F64, *, epsilon: float, steps: int) -> tuple[F64, list[float]]:
    """Algorithm 1 of the paper for one image, written out; the best point and the step size of each step."""

    def project(z: F64) -> F64:
        return np.clip(np.clip(z, x - epsilon, x + epsilon), -1, 1)

    p = [0.0, 0.22]
    while p[-1] < 1:
        p.append(p[-1] + max(p[-1] - p[-2] - 0.03, 0.06))
    W = [int(np.ceil(round(one * steps, 9))) for one in p]
    eta, sizes = 2 * epsilon, []
    xs, values = [start], [f(start)]
    best, f_best, f_best_then, halved_then, rises, j = start, values[0], values[0], False, 0, 1
    for k in range(steps):
        sizes.append(eta)
        z = project(xs[-1] + eta * np.sign(g(xs[-1])))
        after = z if k == 0 else project(xs[-1] + 0.75 * (z - xs[-1]) + 0.25 * (xs[-1] - xs[-2]))
        before = values[-1]
        xs.append(after)
        values.append(f(after))
        rises += values[-1] > before
        if values[-1] > f_best:
            best, f_best = after, values[-1]
        if k + 1 == W[j]:
            halve = rises < 0.75 * (W[j] - W[j - 1]) or (not halved_then and f_best == f_best_then)
            if halve:
                eta /= 2
                xs[-1], values[-1] = best, f_best
            f_best_then, halved_then, rises, j = f_best, halve, 0, j + 1
    return best, sizes


@pytest.mark.parametrize("steps", [1, 7, 20, 60])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_algorithm_written_out_takes_the_same_path(steps: int, seed: int) -> None:
    x, w = random(1, 1, 3, 3, seed=seed, scale=0.97), random(1, 1, 3, 3, seed=seed + 9)
    start, a = x + random(1, 1, 3, 3, seed=seed + 5, scale=0.1), w.numpy()
    best, sizes = algorithm_1(
        lambda y: float(np.sin(30 * y + a).sum() + np.cos(7 * y).sum()),
        lambda y: 30 * np.cos(30 * y + a) - 7 * np.sin(7 * y),
        x.numpy(), start.numpy(), epsilon=0.1, steps=steps,
    )  # fmt: skip
    y = ascend(waves(w), x, Linf(0.1), start_BCHW=start, steps=steps, step_size=0.2, step_rule="apgd")
    np.testing.assert_allclose(y.numpy(), best, rtol=0, atol=1e-12)
    assert steps < 20 or len(set(sizes)) > 2


def test_the_top_of_a_concave_quadratic_is_reached_and_no_plain_ascent_gets_higher() -> None:
    x, top = random(3, 1, 4, 4, scale=0.5), random(3, 1, 4, 4, seed=1)
    for objective in (bowl(top), lambda y, t: -(y - top).square().flatten(1).sum(1)):
        y = ascend(objective, x, Linf(0.1), start_BCHW=x, steps=100, step_size=0.2, step_rule="apgd")
        value = objective(y, 0)
        for size in (0.001, 0.003, 0.01, 0.03, 0.1, 0.2):
            seen: list[Tensor] = []

            def watched(y_BCHW: Tensor, t: int, objective: Objective = objective, seen: list[Tensor] = seen) -> Tensor:
                seen.append(objective(y_BCHW, t))
                return seen[-1]

            last = ascend(watched, x, Linf(0.1), start_BCHW=x, steps=100, step_size=size)
            plain = torch.stack([*seen, objective(last, 0)]).detach().amax(0)
            assert (value >= plain - 1e-3 * (plain - objective(x, 0))).all(), size
    separable = top.clamp(x - 0.1, x + 0.1)
    torch.testing.assert_close(y, separable, rtol=0, atol=0.2 / 2**5)


def test_the_best_of_all_points_comes_back_the_start_and_the_last_among_them() -> None:
    x, w = random(4, 1, 3, 3, scale=0.8), random(4, 1, 3, 3, seed=1)
    seen: list[Tensor] = []

    def watched(y_BCHW: Tensor, t: int) -> Tensor:
        seen.append(waves(w)(y_BCHW, t).detach())
        return waves(w)(y_BCHW, t)

    for steps in (1, 2, 5, 30):
        seen.clear()
        y = ascend(watched, x, Linf(0.1), start_BCHW=x, steps=steps, step_size=0.2, step_rule="apgd")
        assert len(seen) == steps + 1
        assert torch.equal(waves(w)(y, 0), torch.stack(seen).amax(0))
    top: Objective = lambda y_BCHW, t: -(y_BCHW - x).square().flatten(1).sum(1)  # noqa: E731
    assert torch.equal(ascend(top, x, Linf(0.1), start_BCHW=x, steps=9, step_size=0.2, step_rule="apgd"), x)


@pytest.mark.parametrize("ball", [Linf(0.1), L2(0.3), L2InLinf(L2(0.3), Linf(0.1))])
def test_no_point_that_is_shown_leaves_the_ball(ball: Ball) -> None:
    x, w = random(2, 1, 4, 4), random(2, 1, 4, 4, seed=1)

    def watched(y_BCHW: Tensor, t: int) -> Tensor:
        torch.testing.assert_close(ball.project(y_BCHW, x), y_BCHW, rtol=0, atol=1e-12)
        return waves(w)(y_BCHW, t)

    ascend(watched, x, ball, start_BCHW=x, steps=25, step_size=0.2, step_rule="apgd")


def test_an_objective_that_always_rises_is_climbed_by_whole_steps() -> None:
    x, w = random(2, 1, 3, 3, scale=0.2), random(2, 1, 3, 3, seed=1)
    y = ascend(
        lambda y, t: (w * y).flatten(1).sum(1), x, Linf(1), start_BCHW=x, steps=50, step_size=0.01, step_rule="apgd"
    )  # fmt: skip
    torch.testing.assert_close(y, x + 0.5 * w.sign(), rtol=0, atol=1e-12)  # 3/4 of a step and 1/4 of the last one are one step


def shares(values: list[list[float]], steps: int) -> list[list[float]]:
    """The share of the first step size that each image takes in each step, where its values are these."""
    rule, none = Apgd(steps), torch.zeros(len(values), 1, 1, 1)
    of_N = [torch.tensor(now) for now in zip(*values, strict=True)]
    return torch.stack([rule.look(none, of_N[t], none, t)[2].flatten() for t in range(steps)]).T.tolist()


def test_each_image_halves_its_step_size_at_checkpoints_and_only_where_it_gets_on_badly() -> None:
    always = [float(t) for t in range(100)]
    never = [-float(t) for t in range(100)]
    below = [1000.0, *always[1:]]  # rises, but never again above the first value
    seldom = [t + 3.0 * (t % 3 == 0) for t in always]  # two of three steps rise
    got = shares([always, never, below, seldom], 100)
    at = (22, 41, 57, 70, 80, 87, 93, 99)
    assert got[0] == [1.0] * 100
    assert got[1] == [0.5 ** sum(t >= one for one in at) for t in range(100)]
    # a size that was halved at the last checkpoint has time until the next but one
    assert got[2] == [0.5 ** sum(t >= one for one in at[::2]) for t in range(100)]
    assert got[3] == got[1]


def test_three_of_four_steps_that_rise_are_enough() -> None:
    N = 100
    for falls, share in ((5, 1.0), (6, 0.5)):  # of 22 steps: 16.5 have to rise
        values = [float(t) if t > falls else -float(t) for t in range(N)]
        assert shares([values], N)[0][22] == share, falls


def test_images_in_a_batch_take_the_steps_that_they_take_alone() -> None:
    x, w = random(5, 1, 3, 3, scale=0.8), random(5, 1, 3, 3, seed=1)
    together = ascend(waves(w), x, Linf(0.1), start_BCHW=x, steps=40, step_size=0.2, step_rule="apgd")
    for i in range(5):
        one = x[i : i + 1]
        alone = ascend(waves(w[i : i + 1]), one, Linf(0.1), start_BCHW=one, steps=40, step_size=0.2, step_rule="apgd")
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("ball", ["linf", "l2"])
@pytest.mark.parametrize("classes", ["joint", "weakest"])
def test_a_batch_of_ragged_photos_gives_what_each_gives_alone(ball: str, classes: Any) -> None:
    generator = build()
    generator.net.double()
    sizes, keys = ((20, 16), (16, 24), (23, 24)), "abc"
    photos = [random(1, 3, h, w, seed=i, scale=0.9) for i, (h, w) in enumerate(sizes)]
    recipe = dataclasses.replace(APGD, ball=ball, classes=classes)

    def protect(which: list[int]) -> list[Tensor]:
        some = tuple(sizes[i] for i in which)
        H, W = (max(side) for side in zip(*some, strict=True))
        x = torch.cat([torch.nn.functional.pad(photos[i], (0, W - w, 0, H - h)) for i, (h, w) in zip(which, some, strict=True)])
        view = BatchView(tuple(View(region_box("square", w, h, None), 1, 16) for h, w in some), some)
        y = disrupt(
            x,
            [Target(view, {name: generator.output(name) for name in generator.classes})],
            recipe,
            epsilon=6 / 127.5,
            streams=streams_for([keys[i] for i in which], 0, stored_sizes=some),
            values=torch.tensor([3 * h * w for h, w in some])[:, None, None, None],
        )
        return [y[k, :, :h, :w] for k, (h, w) in enumerate(some)]

    alone = [protect([i])[0] for i in range(3)]
    for which in ([0, 1, 2], [2, 0]):
        for i, y in zip(which, protect(which), strict=True):
            torch.testing.assert_close(y, alone[i], rtol=0, atol=1e-9)


@pytest.mark.parametrize("ball", ["linf", "l2"])
def test_the_first_step_is_twice_the_radius(ball: str, monkeypatch: pytest.MonkeyPatch) -> None:
    handed: dict[str, Any] = {}

    def watched(objective: Objective, x_BCHW: Tensor, ball: Linf | L2InLinf, **rest: Any) -> Tensor:
        handed.update(rest, radius=ball.radius if isinstance(ball, Linf) else ball.l2.radius)
        return x_BCHW

    monkeypatch.setattr(whole, "ascend", watched)
    x = random(2, 3, 8, 8)
    target = Target(lambda y: y, {"one": lambda y: y})
    disrupt(x, [target], dataclasses.replace(APGD, ball=ball), epsilon=0.05, streams=streams_for("ab", 0))
    assert handed["step_rule"] == "apgd"
    assert handed["step_size"] == pytest.approx(2 * handed["radius"])


def test_what_makes_the_objective_another_in_each_step_is_an_error() -> None:
    x, target = random(1, 3, 8, 8), Target(lambda y: y, {"one": lambda y: y})
    wrong: dict[str, Any] = {
        "classes": "iterative", "momentum": 0.5, "last_step": 0.1, "step_size": 1.0, "until": 2.0, "diversity": 0.5,
        "blur": "spread-spectrum", "robust_mode": "turn",
    }  # fmt: skip
    for name, value in wrong.items():
        recipe = dataclasses.replace(APGD, robust_to=("blur",) if name == "robust_mode" else (), **{name: value})
        with pytest.raises(ValueError, match=name):
            disrupt(x, [target], recipe, epsilon=0.05, streams=streams_for("a", 0))
    with pytest.raises(ValueError, match="views"):
        disrupt(x, [dataclasses.replace(target, views=[lambda y: y])], APGD, epsilon=0.05, streams=streams_for("a", 0))
    leaving = Leaving(lambda rows_N, y_NCHW, value_N, t: rows_N > 0, lambda rows_N: (waves(x), Linf(1), 0.1))
    for part in ({"momentum": 0.5}, {"last_step": 0.5}, {"leaving": leaving}):
        with pytest.raises(ValueError, match="apgd"):
            ascend(waves(x), x, Linf(1), start_BCHW=x, steps=3, step_size=0.1, step_rule="apgd", **part)
