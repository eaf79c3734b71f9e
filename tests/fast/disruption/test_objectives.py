from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pipeline.disruption.ascent import Objective
from pipeline.disruption.objectives import away_from, in_turn, mean_over, through, towards

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


@pytest.mark.parametrize("combine", [mean_over, in_turn])
def test_nothing_to_combine_is_an_error(combine: Callable[[list[Objective]], Objective]) -> None:
    with pytest.raises(ValueError, match="at least one objective"):
        combine([])
