"""The losses of a training step against closed forms and plain NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pipeline.training.losses import classification, hinge_d, hinge_g, r1_penalty


def test_the_hinge_is_zero_beyond_the_margin_and_linear_inside() -> None:
    assert hinge_d(torch.tensor([1.0, 3.0]), torch.tensor([-1.0, -2.0])).item() == 0.0
    assert hinge_d(torch.tensor([0.0]), torch.tensor([0.5])).item() == pytest.approx(1.0 + 1.5)
    assert hinge_g(torch.tensor([2.0, -4.0])).item() == pytest.approx(1.0)


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


def test_the_r1_penalty_of_a_linear_discriminator_is_its_squared_weight() -> None:
    weight = torch.arange(12, dtype=torch.float64).reshape(3, 2, 2) / 10
    x = torch.randn(5, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    scores = (x * weight).flatten(1).sum(1, keepdim=True)
    assert r1_penalty(scores, x).item() == pytest.approx(weight.square().sum().item())


def test_the_r1_penalty_averages_patches_before_the_gradient() -> None:
    x = torch.randn(2, 1, 1, 4, dtype=torch.float64, requires_grad=True)
    scores = 2 * x
    assert r1_penalty(scores, x).item() == pytest.approx(4 * (2 / 4) ** 2)
    assert not math.isnan(r1_penalty(2 * x, x).item())
