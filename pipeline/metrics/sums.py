"""Sums that merge: each shard counts for itself, and the merged result does not depend on the order or on the sharding."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce


@dataclass(frozen=True)
class RunningMean:
    """Count, exact total, extremes of some numbers.

    The total is an exact fraction, so merging is associative and commutative to the last bit. Values that are infinite or NaN
    (the PSNR of two equal images) are counted in ``not_finite`` and touch nothing else.
    """

    count: int = 0
    total: Fraction = Fraction(0)
    minimum: float = math.inf
    maximum: float = -math.inf
    not_finite: int = 0

    @classmethod
    def of(cls, values: Iterable[float]) -> RunningMean:
        """The sums of ``values``."""
        seen = list(values)
        finite = [float(value) for value in seen if math.isfinite(value)]
        return cls(
            count=len(finite),
            total=sum(map(Fraction, finite), Fraction(0)),
            minimum=min(finite, default=math.inf),
            maximum=max(finite, default=-math.inf),
            not_finite=len(seen) - len(finite),
        )

    def merge(self, other: RunningMean) -> RunningMean:
        """The sums of both lots of numbers."""
        return RunningMean(
            count=self.count + other.count,
            total=self.total + other.total,
            minimum=min(self.minimum, other.minimum),
            maximum=max(self.maximum, other.maximum),
            not_finite=self.not_finite + other.not_finite,
        )

    @property
    def mean(self) -> float:
        """The mean of the finite values, rounded once; NaN when there are none."""
        return float(self.total / self.count) if self.count else math.nan


def merged(parts: Iterable[RunningMean]) -> RunningMean:
    """All ``parts`` as one; the empty sums when there are none."""
    return reduce(RunningMean.merge, parts, RunningMean())
