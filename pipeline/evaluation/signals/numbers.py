"""Means over seeds and generators with 95 % intervals over photos and seeds, and the difference that signals make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.signals.scores import MEASURES, Scores

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
    for who, group, names in whose:
        for channel in channels:
            for measure in MEASURES:
                draws = {
                    ACTIVE: _draws(active, measure, names, channel, photos=photos, times=times),
                    PASSIVE: _draws(passive, measure, names, channel, photos=photos, times=times),
                }
                if passive:
                    draws[DIFFERENCE] = draws[ACTIVE] - draws[PASSIVE]
                for method, values in draws.items():
                    if len(values):
                        low, high = np.quantile(values[1:], [0.025, 0.975])
                        found.append(Number(who, group, channel, method, measure, float(values[0]), float(low), float(high)))
    return found


def _draws(
    seeds: Sequence[Scores], measure: str, names: Sequence[str], channel: str, *, photos: int, times: int
) -> NDArray[np.float64]:
    """The mean over seeds and generators of all photos first, then of each drawing."""
    if not seeds:
        return np.empty(0)
    rng = np.random.default_rng(0)
    drawn = [np.arange(photos), *(rng.integers(0, photos, photos) for _ in range(times))]
    table_ts = np.array(
        [[np.mean([s.measure(MEASURES[measure], name, channel, index) for name in names]) for s in seeds] for index in drawn]
    )
    which = [np.arange(len(seeds)), *(rng.integers(0, len(seeds), len(seeds)) for _ in range(times))]
    return np.array([row[index].mean() for row, index in zip(table_ts, which, strict=True)])
