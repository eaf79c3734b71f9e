"""The losses of a training step against closed forms, plain NumPy and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.training.systems.losses import (
    classification,
    gradient_penalty,
    hinge_d,
    hinge_g,
    least_squares_d,
    least_squares_g,
    log_d,
    log_g,
    r1_penalty,
    wasserstein_d,
)


def test_the_hinge_is_zero_beyond_the_margin_and_linear_inside() -> None:
    assert hinge_d(torch.tensor([1.0, 3.0]), torch.tensor([-1.0, -2.0])).item() == 0.0
    assert hinge_d(torch.tensor([0.0]), torch.tensor([0.5])).item() == pytest.approx(1.0 + 1.5)
    assert hinge_g(torch.tensor([2.0, -4.0])).item() == pytest.approx(1.0)


def test_the_log_game_is_the_value_function_of_probabilities_and_stays_finite_where_they_are_0_or_1() -> None:
    real, fake = np.array([0.3, -2.0, 5.0]), np.array([1.5, 0.0])
    p, q = 1 / (1 + np.exp(-real)), 1 / (1 + np.exp(-fake))
    got = log_d(torch.tensor(real), torch.tensor(fake)).item()
    assert got == pytest.approx(-np.log(p).mean() - np.log(1 - q).mean(), rel=1e-12)
    assert log_g(torch.tensor(fake)).item() == pytest.approx(-np.log(q).mean(), rel=1e-12)
    assert log_d(torch.tensor([-800.0]), torch.tensor([800.0])).item() == pytest.approx(1600)


def test_the_critic_loss_is_the_gap_of_the_means() -> None:
    assert wasserstein_d(torch.tensor([1.0, 3.0]), torch.tensor([5.0, -2.0])).item() == pytest.approx(1.5 - 2.0)


def test_least_squares_pull_scores_to_one_and_zero() -> None:
    assert least_squares_d(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])).item() == pytest.approx(0.5 * (0.5 + 2.0))
    assert least_squares_g(torch.tensor([1.0, 3.0])).item() == pytest.approx(2.0)


def test_classification_sums_known_attributes_and_divides_by_the_batch() -> None:
    rng = np.random.default_rng(0)
    logits, labels, known = rng.normal(size=(4, 5)), rng.integers(0, 2, (4, 5)), rng.integers(0, 2, (4, 5))
    p = 1 / (1 + np.exp(-logits))
    expected = -(known * (labels * np.log(p) + (1 - labels) * np.log(1 - p))).sum() / 4
    got = classification(*(torch.tensor(v, dtype=torch.float64) for v in (logits, labels, known)))
    assert got.item() == pytest.approx(expected, rel=1e-12)


def test_an_unknown_label_gives_no_gradient() -> None:
    logits = torch.zeros(1, 2, requires_grad=True)
    classification(logits, torch.ones(1, 2), torch.tensor([[1.0, 0.0]])).backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [[-0.5, 0.0]]


def linear(weight: Tensor, x: Tensor) -> Tensor:
    return (x * weight).flatten(1).sum(1, keepdim=True)


def test_the_r1_penalty_of_a_linear_discriminator_is_its_squared_weight_and_its_gradient_twice_the_weight() -> None:
    weight = (torch.arange(12, dtype=torch.float64).reshape(3, 2, 2) / 10).requires_grad_(True)
    penalty = r1_penalty(lambda x: linear(weight, x), torch.randn(5, 3, 2, 2, dtype=torch.float64))
    assert penalty.item() == pytest.approx(weight.square().sum().item())
    penalty.backward()
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, 2 * weight.detach())


def test_the_r1_penalty_averages_patches_before_the_gradient() -> None:
    penalty = r1_penalty(lambda x: 2 * x, torch.randn(2, 1, 1, 4, dtype=torch.float64))
    assert penalty.item() == pytest.approx(4 * (2 / 4) ** 2)


def test_the_gradient_penalty_of_a_linear_critic_measures_its_weight_against_one_and_sums_patches() -> None:
    weight = torch.arange(12, dtype=torch.float64).reshape(3, 2, 2) / 10
    real, fake = torch.randn(2, 5, 3, 2, 2, dtype=torch.float64)
    penalty = gradient_penalty(lambda x: torch.cat([linear(weight, x)] * 3, 1), real, fake, torch.rand(5))
    assert penalty.item() == pytest.approx((3 * weight.norm().item() - 1) ** 2)


def test_the_gradient_penalty_is_taken_between_the_images() -> None:
    real, fake = torch.randn(2, 3, 1, 4, 4, dtype=torch.float64)
    share = torch.tensor([0.0, 0.25, 1.0])
    penalty = gradient_penalty(lambda x: x.pow(3), real, fake, share)
    norms = []
    for i in range(3):
        at = (share[i] * real[i] + (1 - share[i]) * fake[i]).numpy()
        h = 1e-6
        norms.append(np.linalg.norm(((at + h) ** 3 - (at - h) ** 3) / (2 * h)))
    assert penalty.item() == pytest.approx(np.mean((np.array(norms) - 1) ** 2), rel=1e-6)


def test_penalties_are_taken_in_full_precision_even_under_autocast() -> None:
    weight = torch.randn(3, 3, 1, 1)
    x = torch.randn(2, 3, 4, 4)

    def score(x_BCHW: Tensor) -> Tensor:
        return torch.nn.functional.conv2d(x_BCHW, weight).pow(3)

    expected = r1_penalty(score, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert r1_penalty(score, x).item() == expected.item()
