"""95 % intervals by drawing the photos anew: the photos are independent of each other, the classes of one photo are not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Interval = tuple[float, float]

NONE: Interval = (math.nan, math.nan)
LEVEL = 0.95
_AT_ONCE = 4_000_000  # values of the table of draws in memory


def draws(photos: int, *, times: int, seed: int) -> Iterator[Floats]:
    """How often each photo is drawn, in blocks (draws, photos) that together have ``times`` rows; each row sums to ``photos``."""
    rng = np.random.default_rng(seed)
    block = max(1, _AT_ONCE // max(photos, 1))
    for start in range(0, times, block):
        count = min(block, times - start)
        chosen = rng.integers(0, photos, (count, photos)) + photos * np.arange(count)[:, None]
        yield np.bincount(chosen.ravel(), minlength=count * photos).reshape(count, photos).astype(np.float64)


def resampled(sums: Sequence[Floats], *, times: int, seed: int) -> list[Floats]:
    """The sums of each group for each draw of the photos: (photos, M) each -> (times, M) each, all with the same draws."""
    photos = len(sums[0]) if sums else 0
    if photos < 2 or times == 0:
        return [np.empty((0, group.shape[1])) for group in sums]
    blocks = [[block @ group for group in sums] for block in draws(photos, times=times, seed=seed)]
    return [np.concatenate(parts) for parts in zip(*blocks, strict=True)]


def interval(values: Floats) -> Interval:
    """The middle 95 % of the finite values; NaN where there are none."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return NONE
    low, high = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def ratio(a: Floats, b: Floats) -> Floats:
    """a / b, NaN where b is 0."""
    result = np.full(len(a), np.nan)
    np.divide(a, b, out=result, where=b != 0)
    return result
