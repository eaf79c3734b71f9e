from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pipeline.disruption.ascent import Objective
from pipeline.disruption.objectives import DISTANCES, away_from, in_turn, mean_over, through, towards, weakest_of

X = torch.arange(24, dtype=torch.float64).view(2, 3, 2, 2) / 24


def constant(value: float) -> Objective:
    return lambda y_BCHW, t: torch.full((len(y_BCHW),), float(value))


def test_away_from_is_the_mean_square_of_each_image_alone() -> None:
    r = torch.zeros_like(X)
    expected = [sum(v**2 for v in image.flatten().tolist()) / 12 for image in X]
    assert away_from(lambda y: y, r)(X, 0).tolist() == pytest.approx(expected)
    assert away_from(lambda y: y, r[1:])(X[1:], 0).tolist() == pytest.approx(expected[1:])


def test_towards_is_minus_away() -> None:
    r = torch.ones_like(X)
    assert torch.equal(towards(torch.sin, r)(X, 0), -away_from(torch.sin, r)(X, 0))


def test_outputs_of_any_shape_are_compared() -> None:
    assert away_from(lambda y: y.flatten(1), torch.zeros(2, 12))(X, 0).shape == (2,)


def test_mean_over_averages() -> None:
    assert mean_over([constant(1), constant(2), constant(6)])(X, 0).tolist() == [3, 3]


def test_in_turn_takes_one_objective_a_step_and_begins_again() -> None:
    turns = in_turn([constant(0), constant(1), constant(2)])
    assert [turns(X, t)[0].item() for t in range(7)] == [0, 1, 2, 0, 1, 2, 0]


def test_schedules_inside_each_other_visit_every_pair() -> None:
    nested = in_turn([in_turn([constant(10 * c + b) for b in range(4)]) for c in range(2)])
    values = [nested(X, t)[0].item() for t in range(8)]
    assert sorted(values) == [0, 1, 2, 3, 10, 11, 12, 13]
    assert values[:4] == [0, 10, 1, 11]  # the outer schedule turns fastest


def test_through_shows_the_objective_a_transformed_image_and_the_step() -> None:
    seen: list[int] = []

    def objective(y_BCHW: Tensor, t: int) -> Tensor:
        seen.append(t)
        return y_BCHW.flatten(1).sum(1)

    assert torch.equal(through(lambda y: 2 * y, objective)(X, 5), 2 * X.flatten(1).sum(1))
    assert seen == [5]


@pytest.mark.parametrize("combine", [mean_over, in_turn, weakest_of])
def test_nothing_to_combine_is_an_error(combine: Callable[[list[Objective]], Objective]) -> None:
    with pytest.raises(ValueError, match="at least one objective"):
        combine([])


@pytest.mark.parametrize("name", DISTANCES)
def test_every_distance_has_the_gradient_of_its_differences(name: str) -> None:
    random = torch.Generator().manual_seed(0)
    output, reference = (torch.rand(1, 2, 11, 12, generator=random, dtype=torch.float64) for _ in range(2))
    assert torch.autograd.gradcheck(lambda y: DISTANCES[name](y, reference), output.requires_grad_(True))


@pytest.mark.parametrize("name", DISTANCES)
def test_every_distance_of_equal_outputs_is_zero_and_of_half_precision_as_good_as_of_float32(name: str) -> None:
    random = torch.Generator().manual_seed(0)
    output, reference = (torch.rand(1, 3, 16, 16, generator=random) for _ in range(2))
    assert DISTANCES[name](output, output).item() < 1e-12
    with torch.autocast("cpu", torch.bfloat16):
        half = DISTANCES[name](output.bfloat16(), reference.bfloat16())
    expected = DISTANCES[name](output.bfloat16().float(), reference.bfloat16().float())
    assert half.item() == pytest.approx(expected.item(), rel=0.01 if name == "l2" else 1e-6)


def test_the_weakest_counts_most_and_equal_ones_are_worth_their_value() -> None:
    assert weakest_of([constant(0.3)] * 4)(X, 0).tolist() == pytest.approx([0.3, 0.3])
    value = weakest_of([constant(0.01), constant(1), constant(2)])(X, 0)[0].item()
    assert 0.01 < value < 0.01 + 0.2 * (3.01 / 3) * 1.1  # T log 3 above the least at most
    assert weakest_of([constant(-1), constant(-3)])(X, 0)[0].item() < -2  # towards: the furthest from its target


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e3])
def test_the_gradient_goes_to_the_weakest_whatever_the_scale(scale: float) -> None:
    values = torch.tensor([0.1, 1.0, 2.0], dtype=torch.float64, requires_grad=True)

    def worth(value: Tensor) -> Objective:
        return lambda y_BCHW, t: (scale * value).expand(len(y_BCHW))

    (g,) = torch.autograd.grad(weakest_of([worth(value) for value in values])(X[:1], 0).sum(), values)
    assert (g / scale).sum().item() == pytest.approx(1)
    assert g[0] / scale > 0.98
