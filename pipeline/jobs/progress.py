"""Progress of a long run: photos done, photos per second, time left, failures so far; one line, and points in the record."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from rich.console import Console

from pipeline.jobs.tracking import Tracking


class Counted(Protocol):
    """What progress needs to know of a photo that is done."""

    @property
    def status(self) -> str:
        """What became of it; "failed" is counted apart."""
        ...

    @property
    def l2(self) -> float | None:
        """Its mean L2, where measured."""
        ...


class Progress:
    """Counts finished photos and says how far the run is, at most once in a second on a terminal and once in 15 elsewhere."""

    def __init__(self, console: Console, *, total: int, tracking: Tracking) -> None:
        self._console = console
        self._total = total
        self._tracking = tracking
        self._counts: Counter[str] = Counter()
        self._l2: list[float] = []
        self._began = self._said = time.monotonic()
        self._pause = 1.0 if console.is_terminal else 15.0
        self._recorded = 0.0

    def add(self, rows: Sequence[Counted]) -> None:
        """Count the rows of one shard."""
        self._counts.update(row.status for row in rows)
        self._l2 += [row.l2 for row in rows if row.l2 is not None]
        now = time.monotonic()
        if now - self._said >= self._pause:
            self._said = now
            self._console.print(self.line(now), end="\r" if self._console.is_terminal else "\n", highlight=False)
        if now - self._recorded >= 5.0:
            self._recorded = now
            self._record(now)

    def line(self, now: float) -> str:
        """The state as one line."""
        done = self._counts.total()
        rate = done / max(now - self._began, 1e-9)
        left = (self._total - done) / rate if rate else 0.0
        failed = self._counts["failed"]
        return f"{done}/{self._total} photos, {rate:.2f} photos/s, {clock(left)} left, {failed} failed   "

    def close(self) -> None:
        """Record the last point and end the line."""
        if self._counts:
            self._record(time.monotonic())
            self._console.print(self.line(time.monotonic()), highlight=False)

    def _record(self, now: float) -> None:
        done = self._counts.total()
        values = {"photos_done": float(done), "photos_per_second": done / max(now - self._began, 1e-9)}
        values |= {f"so_far_{status}": float(count) for status, count in self._counts.items()}
        if self._l2:
            values["so_far_l2"] = sum(self._l2) / len(self._l2)
        self._tracking.metrics(values, step=done)


def clock(seconds: float) -> str:
    """A span of time as hours, minutes and seconds: 0:02:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
