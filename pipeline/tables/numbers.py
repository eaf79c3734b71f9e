"""Means of samples with 95 % intervals over photos, and which of two is larger."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from pipeline.evaluation.bootstrap import NONE, Floats, Interval, interval, ratio, resampled
from pipeline.images import THRESHOLD
from pipeline.tables.cells import Combine

MEASURES = ("l1", "l2", "disrupted")
RELATIVE = "relative"
ENOUGH = 6
"""Photos from which on a comparison is decided: with fewer, all may lie on one side by chance (sign test, 5 %)."""
Verdict = Literal["larger", "smaller", "undecided"]


@dataclass(frozen=True)
class Sample:
    """L1 and L2 of one photo and class, of outputs in [-1, 1]."""

    key: str
    class_name: str
    l1: float
    l2: float


@dataclass(frozen=True)
class Estimate:
    """A mean, its 95 % interval, and its value in each draw of the photos."""

    mean: float
    interval: Interval = NONE
    draws: Floats = field(default_factory=lambda: np.empty(0), repr=False, compare=False)


@dataclass(frozen=True)
class Result:
    """A row of the tidy table. ``status`` is measured, published, or why there is no number.

    ``missing`` counts photos that could not be protected or measured. ``keys`` are the photos, so that two rows of the same
    photos are compared photo by photo.
    """

    labels: Mapping[str, str]
    status: str
    estimates: Mapping[str, Estimate] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    samples: int = 0
    missing: int = 0

    def mean(self, name: str) -> float:
        """The mean of l1, l2, disrupted or relative; NaN where there is none."""
        found = self.estimates.get(name)
        return found.mean if found else math.nan


def result_of(
    labels: Mapping[str, str], runs: Sequence[Sequence[Sample]], *, combine: Combine, missing: int, times: int, seed: int
) -> Result:
    """The result of a cell's samples, one list a run."""
    samples = strongest(runs) if combine == "strongest" else [sample for run in runs for sample in run]
    if not samples:
        return Result(labels, "failed: no photo could be measured", missing=missing)
    by_photo: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_photo[sample.key].append(sample)
    keys = tuple(sorted(by_photo))
    sums = np.array([_sums(by_photo[key]) for key in keys])
    again = resampled([sums], times=times, seed=seed)[0]
    estimates = {}
    for m, name in enumerate(MEASURES):
        draws = ratio(again[:, 1 + m], again[:, 0])
        values = [_values(sample)[m] for sample in samples]
        estimates[name] = Estimate(math.fsum(values) / len(values), interval(draws), draws)
    return Result(labels, "measured", estimates, keys, len(samples), missing)


def strongest(runs: Sequence[Sequence[Sample]]) -> list[Sample]:
    """For each photo and class the sample with the highest L2: what is left of restarts that attacked that class alone."""
    best: dict[tuple[str, str], Sample] = {}
    for run in runs:
        for sample in run:
            kept = best.setdefault((sample.key, sample.class_name), sample)
            if sample.l2 > kept.l2:
                best[sample.key, sample.class_name] = sample
    return list(best.values())


def relative_to(result: Result, whole: Result) -> Estimate:
    """The share of the % dis. of ``whole`` that ``result`` has; NaN where there is nothing to have a share of."""
    a, b = result.estimates.get("disrupted"), whole.estimates.get("disrupted")
    if a is None or b is None or not b.mean:
        return Estimate(math.nan)
    draws = ratio(a.draws, b.draws) if result.keys == whole.keys else np.empty(0)
    return Estimate(a.mean / b.mean, interval(draws), draws)


def compare(a: Result, b: Result, measure: str = "l2") -> Verdict:
    """Whether ``a`` is larger than ``b``: undecided when 0 is inside the interval of the difference, or
    when there are fewer than ENOUGH photos.

    Differences are taken photo by photo when both have the same photos, else the intervals must lie apart.
    """
    left, right = a.estimates[measure], b.estimates[measure]
    if min(len(a.keys), len(b.keys)) < ENOUGH:
        return "undecided"
    if a.keys == b.keys and len(left.draws) == len(right.draws) and len(left.draws):
        low, high = interval(left.draws - right.draws)
    else:
        low, high = left.interval[0] - right.interval[1], left.interval[1] - right.interval[0]
    if low > 0:
        return "larger"
    return "smaller" if high < 0 else "undecided"


def _values(sample: Sample) -> tuple[float, float, float]:
    return sample.l1, sample.l2, float(sample.l2 >= THRESHOLD)


def _sums(samples: Sequence[Sample]) -> list[float]:
    return [float(len(samples)), *(math.fsum(_values(sample)[m] for sample in samples) for m in range(len(MEASURES)))]
