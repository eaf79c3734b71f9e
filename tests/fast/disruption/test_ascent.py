from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.disruption.ascent import L2, Linf, Objective, ascend, gradient
from pipeline.disruption.objectives import away_from
from tests.fast.tiny import build

F64 = NDArray[np.float64]


def random(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1) * scale


def linear(w_BCHW: Tensor) -> Objective:
    return lambda y_BCHW, t: (w_BCHW * y_BCHW).flatten(1).sum(1)


def nearness(a_BCHW: Tensor) -> Objective:
    return lambda y_BCHW, t: -(y_BCHW - a_BCHW).square().flatten(1).sum(1)


def test_a_linear_objective_is_climbed_to_the_corner_of_the_ball() -> None:
    x, w = random(2, 3, 4, 5, scale=0.9), random(2, 3, 4, 5, seed=1)
    y = ascend(linear(w), x, Linf(0.05), start_BCHW=x, steps=6, step_size=0.01)
    torch.testing.assert_close(y, x + 0.05 * w.sign(), rtol=0, atol=1e-15)


def test_the_corner_is_cut_by_the_pixel_range() -> None:
    x, w = torch.full((1, 1, 2, 2), 0.98, dtype=torch.float64), torch.ones(1, 1, 2, 2, dtype=torch.float64)
    assert ascend(linear(w), x, Linf(0.05), start_BCHW=x, steps=10, step_size=0.01).eq(1).all()


def test_one_step_in_the_l2_ball_is_a_step_along_the_gradient() -> None:
    x, w = random(2, 1, 3, 3, scale=0.5), random(2, 1, 3, 3, seed=1)
    y = ascend(linear(w), x, L2(1.0), start_BCHW=x, steps=1, step_size=0.25)
    lengths = w.flatten(1).norm(dim=1)[:, None, None, None]
    torch.testing.assert_close(y, x + 0.25 * w / lengths, rtol=0, atol=1e-15)


def test_sign_steps_on_a_quadratic_follow_the_exact_trajectory_of_each_pixel() -> None:
    x, a = random(1, 1, 6, 6, scale=0.5), random(1, 1, 6, 6, seed=1, scale=0.9)
    expected = []
    for start, goal in zip(x.flatten().tolist(), a.flatten().tolist(), strict=True):
        at = start
        for _ in range(7):
            at += 0.03 if goal > at else -0.03
            at = min(max(at, start - 0.1), start + 0.1)
        expected.append(at)
    y = ascend(nearness(a), x, Linf(0.1), start_BCHW=x, steps=7, step_size=0.03)
    torch.testing.assert_close(y.flatten(), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-14)


@pytest.mark.parametrize(("steps", "distance"), [(3, 0.3), (9, 0.5)])
def test_l2_steps_on_a_quadratic_walk_straight_towards_its_top_up_to_the_radius(steps: int, distance: float) -> None:
    x, a = random(1, 1, 4, 4, scale=0.3), random(1, 1, 4, 4, seed=1)
    towards = (a - x) / (a - x).norm()
    y = ascend(nearness(a), x, L2(0.5), start_BCHW=x, steps=steps, step_size=0.1)
    torch.testing.assert_close(y, x + distance * towards, rtol=0, atol=1e-12)


def numpy_ifgsm(A: F64, r: F64, x: F64, start: F64, *, epsilon: float, a: float, steps: int) -> F64:
    """I-FGSM / PGD on mean (tanh(A y) - r)^2, its gradient by hand."""
    y = start.copy()
    for _ in range(steps):
        h = np.tanh(A @ y)
        g = A.T @ (2 * (h - r) * (1 - h**2)) / len(r)
        y = np.clip(np.clip(y + a * np.sign(g), x - epsilon, x + epsilon), -1, 1)
    return y


@pytest.mark.parametrize("start_at", ["jitter", "uniform"])
def test_a_numpy_implementation_takes_the_same_path(start_at: str) -> None:
    A, x = random(30, 12, seed=1), random(12, seed=2, scale=0.97)
    start = x + random(12, seed=3, scale=1e-3 if start_at == "jitter" else 0.05)
    r = (A @ x).tanh()
    y = ascend(
        away_from(lambda y: (y.flatten(1) @ A.T).tanh(), r[None]),
        x.view(1, 3, 2, 2),
        Linf(0.05),
        start_BCHW=start.view(1, 3, 2, 2),
        steps=10,
        step_size=0.01,
    )
    expected = numpy_ifgsm(A.numpy(), r.numpy(), x.numpy(), start.numpy(), epsilon=0.05, a=0.01, steps=10)
    np.testing.assert_allclose(y.flatten().numpy(), expected, rtol=0, atol=1e-14)


def test_a_plain_loop_on_a_generator_takes_the_same_path() -> None:
    generator = build()
    generator.net.double()
    x = random(2, 3, 16, 16)
    with torch.no_grad():
        r = generator(x, "Smile")
    start = x + random(2, 3, 16, 16, seed=1, scale=0.04)
    y = ascend(away_from(generator.output("Smile"), r), x, Linf(0.05), start_BCHW=start, steps=5, step_size=0.01)
    z = start.clone()
    for _ in range(5):
        z.requires_grad_(True)
        torch.nn.functional.mse_loss(generator(z, "Smile"), r).backward()
        assert z.grad is not None
        z = torch.clamp(x + torch.clamp(z.detach() + 0.01 * z.grad.sign() - x, -0.05, 0.05), -1, 1)
    torch.testing.assert_close(y, z, rtol=0, atol=1e-9)


@pytest.mark.parametrize("share", [0.0, 0.7, 1.0])
def test_momentum_follows_the_sum_of_the_gradients_of_turns_whatever_their_sizes(share: float) -> None:
    x, turns = random(2, 1, 3, 3, scale=0.3), [random(2, 1, 3, 3, seed=seed, scale=10.0**seed) for seed in (1, 2, 3)]
    y = ascend(
        lambda y, t: linear(turns[t % 3])(y, t), x, L2(100.0), start_BCHW=x, steps=5, step_size=0.05, momentum=share
    )  # fmt: skip
    at, so_far = x.numpy().copy(), np.zeros_like(x.numpy())
    for t in range(5):
        g = turns[t % 3].numpy()
        so_far = share * so_far + g / np.abs(g).mean(axis=(1, 2, 3), keepdims=True)
        at += 0.05 * so_far / np.sqrt(np.square(so_far).sum(axis=(1, 2, 3), keepdims=True))
    np.testing.assert_allclose(y.numpy(), at, rtol=0, atol=1e-12)


def test_the_objective_is_told_the_number_of_each_step() -> None:
    seen: list[int] = []

    def objective(y_BCHW: Tensor, t: int) -> Tensor:
        seen.append(t)
        return y_BCHW.flatten(1).sum(1)

    x = random(1, 1, 2, 2)
    ascend(objective, x, Linf(0.1), start_BCHW=x, steps=4, step_size=0.01)
    assert seen == [0, 1, 2, 3]


def test_without_steps_the_start_comes_back_as_it_is() -> None:
    x = random(1, 1, 2, 2)
    start = x + 5
    assert torch.equal(ascend(linear(x), x, Linf(0.1), start_BCHW=start, steps=0, step_size=0.01), start)


def test_where_the_gradient_is_zero_an_image_does_not_move() -> None:
    x = random(1, 3, 4, 4)
    for ball in (Linf(0.1), L2(0.1)):
        assert torch.equal(ascend(away_from(torch.tanh, x.tanh()), x, ball, start_BCHW=x, steps=5, step_size=0.01), x)


def test_a_step_size_for_each_image_is_a_step_size_for_each_image() -> None:
    x, w = random(2, 1, 3, 3, scale=0.5), random(2, 1, 3, 3, seed=1)
    sizes = torch.tensor([0.01, 0.03], dtype=torch.float64)[:, None, None, None]
    y = ascend(linear(w), x, Linf(0.1), start_BCHW=x, steps=1, step_size=sizes)
    torch.testing.assert_close((y - x).abs().amax((1, 2, 3)), sizes.flatten(), rtol=0, atol=1e-15)


def test_an_image_in_a_batch_has_the_gradient_it_has_alone() -> None:
    generator = build()
    generator.net.double()
    x, r = random(3, 3, 16, 16), random(3, 3, 16, 16, seed=1)
    x.requires_grad_(True)
    together = gradient(away_from(generator.output("Glasses"), r)(x, 0), x)
    for i in range(3):
        one = x[i : i + 1].detach().requires_grad_(True)
        alone = gradient(away_from(generator.output("Glasses"), r[i : i + 1])(one, 0), one)
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-9, atol=1e-12)


def test_what_is_handed_in_is_left_alone_and_the_result_carries_no_graph() -> None:
    x, start = random(1, 1, 3, 3), random(1, 1, 3, 3, seed=1)
    before = x.clone(), start.clone()
    with torch.no_grad():
        y = ascend(linear(start), x, Linf(0.1), start_BCHW=start, steps=3, step_size=0.01)
    assert torch.equal(x, before[0])
    assert torch.equal(start, before[1])
    assert not y.requires_grad
    assert not start.requires_grad
