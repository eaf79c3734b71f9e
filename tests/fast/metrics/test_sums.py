"""Merging the sums of shards gives the sums of everything, exactly."""

from __future__ import annotations

import math
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.metrics.sums import RunningMean, merged

numbers = st.lists(st.floats(), max_size=12)


@settings(deadline=None)
@given(a=numbers, b=numbers, c=numbers)
def test_merging_is_associative_commutative_and_equals_counting_at_once(a: list[float], b: list[float], c: list[float]) -> None:
    A, B, C = map(RunningMean.of, (a, b, c))
    assert A.merge(B).merge(C) == A.merge(B.merge(C)) == C.merge(B).merge(A) == merged([A, B, C]) == RunningMean.of([*a, *b, *c])


@settings(deadline=None)
@given(values=st.lists(st.floats(-1e6, 1e6), min_size=1))
def test_the_mean_is_the_mean_and_the_extremes_are_the_extremes(values: list[float]) -> None:
    sums = RunningMean.of(values)
    assert sums.mean == pytest.approx(fmean(values), rel=1e-12, abs=1e-12)
    assert (sums.minimum, sums.maximum, sums.count) == (min(values), max(values), len(values))


def test_small_numbers_are_not_lost_beside_a_large_one() -> None:
    assert merged([RunningMean.of([1e17]), RunningMean.of([1.0] * 7), RunningMean.of([-1e17])]).mean == 7 / 9


def test_infinite_values_and_nan_are_counted_apart() -> None:
    sums = RunningMean.of([40.0, math.inf, math.nan, 30.0])
    assert (sums.mean, sums.count, sums.not_finite) == (35.0, 2, 2)


def test_no_values_have_no_mean() -> None:
    assert math.isnan(RunningMean().mean)
    assert math.isnan(merged([]).mean)
