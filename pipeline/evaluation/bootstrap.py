"""95 % intervals by drawing the photos anew: the photos are independent of each other, the classes of one photo are not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Interval = tuple[float, float]

NONE: Interval = (math.nan, math.nan)
LEVEL = 0.95
AT_ONCE = 1_000_000
"""Values of photos, and of draws, in memory."""


def resampled(sums: Iterable[Floats], photos: int, *, times: int, seed: int) -> Floats:
    """The sums of values of photos for each draw of ``photos`` photos: (photos, M) in any cut along the photos -> (times, M).

    Photos are taken in blocks of about AT_ONCE values, whatever the cut. How many of a draw's photos come from a block is drawn
    first (binomial, of those that are left), then which: together the same as to draw from all photos at once.
    """
    pick, share = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    again, left = np.zeros((times, 0)), np.full(times, photos)
    for block in _blocks(sums):
        here = left if len(block) == photos else share.binomial(left, len(block) / photos)
        again = again if again.size else np.zeros((times, block.shape[1]))
        for rows, weights in draws(here, len(block), pick):
            again[rows] += weights @ block
        left, photos = left - here, photos - len(block)
    return again


def draws(counts: NDArray[np.int64], photos: int, rng: np.random.Generator) -> Iterator[tuple[slice, Floats]]:
    """How often each photo is drawn, (draws, photos), for some draws at a time; row i sums to ``counts[i]``."""
    at_once = max(1, AT_ONCE // max(photos, 1))
    for start in range(0, len(counts), at_once):
        some = counts[start : start + at_once]
        chosen = rng.integers(0, photos, some.sum()) + photos * np.repeat(np.arange(len(some)), some)
        weights = np.bincount(chosen, minlength=len(some) * photos).reshape(len(some), photos)
        yield slice(start, start + len(some)), weights.astype(np.float64)


def _blocks(sums: Iterable[Floats]) -> Iterator[Floats]:
    """The same rows, cut into blocks of about AT_ONCE values."""
    held: list[Floats] = []
    for more in sums:
        rows, most = more, max(1, AT_ONCE // max(1, more.shape[1]))
        while len(rows) >= (room := most - sum(map(len, held))):
            yield np.concatenate([*held, rows[:room]])
            held, rows = [], rows[room:]
        held += [rows] if len(rows) else []
    if held:
        yield np.concatenate(held)


def interval(values: Floats) -> Interval:
    """The middle 95 % of the finite values; NaN where there are none."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return NONE
    low, high = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def exact_interval(share: float, count: int) -> Interval:
    """The exact 95 % interval of a share of ``count`` photos, by Clopper and Pearson; of several seeds, that of as many photos."""
    from scipy.stats import binomtest  # half a second, which only tables spend

    spread = binomtest(round(share * count), count).proportion_ci(LEVEL, method="exact")
    return float(spread.low), float(spread.high)


def ratio(a: Floats, b: Floats) -> Floats:
    """a / b, NaN where b is 0."""
    result = np.full(len(a), np.nan)
    np.divide(a, b, out=result, where=b != 0)
    return result
