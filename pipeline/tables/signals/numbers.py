"""Means over seeds and generators with 95 % intervals over photos and seeds, and the difference that signals make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.tables.signals.scores import MEASURES, Scores

F64 = NDArray[np.float64]
ACTIVE, PASSIVE, DIFFERENCE = "with signals", "passive", "difference"


@dataclass(frozen=True)
class Number:
    """One line of the tidy table."""

    who: str
    group: str
    channel: str
    method: str
    measure: str
    mean: float
    low: float
    high: float


def numbers_of(
    active: Sequence[Scores],
    passive: Sequence[Scores],
    whose: Sequence[tuple[str, str, tuple[str, ...]]],
    channels: Sequence[str],
    *,
    photos: int,
    times: int,
) -> list[Number]:
    """Every measure of every line; ``whose`` are (name, group, generators), whose mean is taken.

    Each drawing takes photos and seeds anew, the same photos for both methods.
    """
    found = []
    for channel in channels:
        for measure in MEASURES:
            tables = {
                method: {name: _table(seeds, measure, name, channel, photos=photos, times=times) for name in _names(whose)}
                for method, seeds in ((ACTIVE, active), (PASSIVE, passive))
                if seeds
            }
            for who, group, names in whose:
                draws = {method: _over_seeds(np.mean([table[name] for name in names], axis=0)) for method, table in tables.items()}
                if PASSIVE in draws:
                    draws[DIFFERENCE] = draws[ACTIVE] - draws[PASSIVE]
                for method, values in draws.items():
                    low, high = np.quantile(values[1:], [0.025, 0.975])
                    found.append(Number(who, group, channel, method, measure, float(values[0]), float(low), float(high)))
    return found


def _names(whose: Sequence[tuple[str, str, tuple[str, ...]]]) -> list[str]:
    return list(dict.fromkeys(name for _, _, names in whose for name in names))


def _table(seeds: Sequence[Scores], measure: str, name: str, channel: str, *, photos: int, times: int) -> F64:
    """The measure of every seed, of all photos first, then of each drawing of them: (1 + times, seeds)."""
    rng = np.random.default_rng(0)
    drawn = [np.arange(photos), *(rng.integers(0, photos, photos) for _ in range(times))]
    return np.array([[each.measure(MEASURES[measure], name, channel, index) for each in seeds] for index in drawn])


def _over_seeds(table_TS: F64) -> F64:
    """The mean over all seeds first, then over those of each drawing: (1 + times,)."""
    rng, (draws, seeds) = np.random.default_rng(1), table_TS.shape
    which = [np.arange(seeds), *(rng.integers(0, seeds, seeds) for _ in range(draws - 1))]
    return np.array([row[index].mean() for row, index in zip(table_TS, which, strict=True)])
