from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.disruption.ascent import BALLS, L2, STARTS, Ball, L2InLinf, Linf
from pipeline.disruption.streams import streams_for

MAKERS: dict[str, Callable[[float], Ball]] = {
    "Linf": Linf,
    "L2": L2,
    "L2InLinf": lambda radius: L2InLinf(L2(3 * radius), Linf(radius)),
}
SMALL = 1e-12
balls = st.sampled_from(sorted(MAKERS))
seeds = st.integers(0, 2**31)
radii = st.floats(1e-3, 3.0)
quick = settings(deadline=None, max_examples=60)


def image(seed: int, scale: float = 1.0) -> Tensor:
    return (torch.rand(2, 3, 3, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1) * scale


def lengths(eta: Tensor) -> Tensor:
    norms: Tensor = eta.flatten(1).norm(dim=1)
    return norms


@given(balls, seeds, radii)
@quick
def test_a_projection_is_inside_all_bounds_and_projecting_again_changes_nothing(name: str, seed: int, radius: float) -> None:
    ball, x, y = MAKERS[name](radius), image(seed), image(seed + 1, 4)
    z = ball.project(y, x)
    assert z.abs().max() <= 1
    if name != "L2":
        assert (z - x).abs().max() <= radius + SMALL
    if name != "Linf":
        assert lengths(z - x).max() <= radius * (1 if name == "L2" else 3) + SMALL
    torch.testing.assert_close(ball.project(z, x), z, rtol=0, atol=SMALL)


@given(balls, seeds, radii)
@quick
def test_a_projection_brings_no_two_points_farther_apart(name: str, seed: int, radius: float) -> None:
    ball, x, a, b = MAKERS[name](radius), image(seed), image(seed + 1, 3), image(seed + 2, 3)
    assert (lengths(ball.project(a, x) - ball.project(b, x)) <= lengths(a - b) + SMALL).all()


@given(balls, seeds, radii)
@quick
def test_a_point_inside_stays_where_it_is(name: str, seed: int, radius: float) -> None:
    x, inside = image(seed, 0.9), image(seed + 1)
    y = (x + 0.1 * min(radius, 1) * inside / lengths(inside).max()).clamp(-1, 1)
    torch.testing.assert_close(MAKERS[name](radius).project(y, x), y, rtol=0, atol=SMALL)


@pytest.mark.parametrize(("ball", "order"), [(Linf(0.1), 1), (L2(0.1), 2), (L2InLinf(L2(0.1), Linf(0.1)), 2)])
def test_the_steepest_step_gains_the_dual_norm_of_the_gradient(ball: Ball, order: int) -> None:
    g = image(0)
    gain = (g * ball.steepest(g)).flatten(1).sum(1)
    torch.testing.assert_close(gain, torch.linalg.vector_norm(g.flatten(1), ord=order, dim=1))


@pytest.mark.parametrize("name", MAKERS)
def test_a_zero_gradient_takes_no_step(name: str) -> None:
    zero = torch.zeros(2, 3, 3, 4)
    assert torch.equal(MAKERS[name](0.1).steepest(zero), zero)


@given(st.sampled_from(sorted(BALLS)), st.integers(0, 1000), st.integers(1, 64))
@quick
def test_a_random_start_is_inside_the_ball_and_not_at_its_centre(name: str, seed: int, levels: int) -> None:
    epsilon, x = levels / 127.5, image(seed)
    values = x[0].numel()
    start = STARTS["uniform"](x, BALLS[name](epsilon, values), streams_for(["a", "b"], seed))
    assert start.abs().max() <= 1
    assert (start - x).abs().max() <= epsilon + SMALL
    assert (start != x).flatten(1).any(1).all()
    if name == "l2":
        assert (lengths(start - x) <= 0.5 * epsilon * values**0.5 + SMALL).all()


def test_draws_in_the_linf_ball_fill_it_evenly() -> None:
    x = torch.zeros(1, 3, 40, 40, dtype=torch.float64)
    eta = Linf(0.2).draw(x, streams_for(["a"], 0))
    assert eta.abs().max() > 0.199
    assert abs(eta.mean()) < 0.01
    assert eta.square().mean() == pytest.approx(0.2**2 / 3, rel=0.05)


def test_the_l2_ball_of_the_table_holds_the_root_mean_square_at_half_of_epsilon_for_each_image() -> None:
    x = torch.zeros(2, 3, 4, 4, dtype=torch.float64)
    values = torch.tensor([48, 12])[:, None, None, None]
    far = torch.full_like(x, 0.11)
    far[1, :, 2:] = far[1, :, :, 2:] = 0  # the second image is 2 x 2, the rest is padding
    rms = (BALLS["l2"](0.2, values).project(far, x) - x).square().flatten(1).sum(1).div(values.flatten()).sqrt()
    torch.testing.assert_close(rms, torch.full((2,), 0.1, dtype=torch.float64))


@pytest.mark.parametrize("name", sorted(BALLS))
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 1, 1, 1), (2, 1, 3, 4)])
def test_a_radius_for_each_pixel_that_is_everywhere_the_same_is_one_radius(name: str, shape: tuple[int, ...]) -> None:
    x, y, radius = image(1), image(2, 3), 0.3
    many, one = BALLS[name](torch.full(shape, radius, dtype=torch.float64), 36), BALLS[name](radius, 36)
    torch.testing.assert_close(many.project(y, x), one.project(y, x), rtol=0, atol=SMALL)
    streams = [streams_for(["a", "b"], 0) for _ in range(2)]
    torch.testing.assert_close(many.draw(x, streams[0]), one.draw(x, streams[1]), rtol=0, atol=SMALL)


@given(st.sampled_from(sorted(BALLS)), seeds)
@quick
def test_each_pixel_stays_within_its_own_radius(name: str, seed: int) -> None:
    radius = image(seed + 7)[:, :1].abs()
    x, y = image(seed), image(seed + 1, 4)
    z = BALLS[name](radius, 36).project(y, x)
    assert ((z - x).abs() <= radius + SMALL).all()
    if name == "linf":
        torch.testing.assert_close(z, torch.stack([x + radius, y]).amin(0).maximum(x - radius).clamp(-1, 1), rtol=0, atol=SMALL)
