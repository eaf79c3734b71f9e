"""Progress of a long run: photos done, photos per second, time left, failures so far; one line, and points in the record."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console

from pipeline.jobs.tracking import Tracking
from pipeline.ledger.schema import ManifestRow


@dataclass(frozen=True)
class Outcome:
    """What became of a photo ("failed" is counted apart), and its mean L2 where measured."""

    status: str
    l2: float | None = None


class Progress:
    """Counts finished photos and says how far the run is, at most once in a second on a terminal and once in 15 elsewhere.

    Without a ``total`` nobody knows how many there are.
    """

    def __init__(self, console: Console, *, total: int | None, tracking: Tracking) -> None:
        self._console = console
        self._total = total
        self._tracking = tracking
        self._counts: Counter[str] = Counter()
        self._l2 = 0.0
        self._began = self._said = time.monotonic()
        self._pause = 1.0 if console.is_terminal else 15.0
        self._recorded = 0.0

    def add(self, rows: Sequence[Outcome | ManifestRow]) -> None:
        """Count rows, one for each photo."""
        self.count(Counter(row.status for row in rows), sum(row.l2 or 0.0 for row in rows))

    def count(self, counts: Mapping[str, int], l2: float) -> None:
        """Count photos by status; ``l2`` is the sum of their mean L2."""
        self._counts.update(counts)
        self._l2 += l2
        now = time.monotonic()
        if now - self._said >= self._pause:
            self._said = now
            self._console.print(self.line(now), end="\r" if self._console.is_terminal else "\n", highlight=False)
        if now - self._recorded >= 5.0:
            self._recorded = now
            self._record(now)

    def line(self, now: float) -> str:
        """The state as one line."""
        done = self._done()
        rate = done / max(now - self._began, 1e-9)
        if self._total is None:
            return f"{done} photos, {rate:.2f} photos/s, {self._counts['failed']} failed   "
        left = (self._total - done) / rate if rate else 0.0
        failed = self._counts["failed"]
        return f"{done}/{self._total} photos, {rate:.2f} photos/s, {clock(left)} left, {failed} failed   "

    def close(self) -> None:
        """Record the last point and end the line."""
        if self._counts:
            self._record(time.monotonic())
            self._console.print(self.line(time.monotonic()), highlight=False)

    def _done(self) -> int:
        """Photos that are done; what processes took along when they died was counted and is counted again."""
        counted = self._counts.total()
        return counted if self._total is None else min(counted, self._total)

    def _record(self, now: float) -> None:
        done = self._done()
        values = {"photos_done": float(done), "photos_per_second": done / max(now - self._began, 1e-9)}
        values |= {f"so_far_{status}": float(count) for status, count in self._counts.items()}
        if measured := self._counts.total() - self._counts["failed"] - self._counts["skipped"]:
            values["so_far_l2"] = self._l2 / measured
        self._tracking.metrics(values, step=done)


def clock(seconds: float) -> str:
    """A span of time as hours, minutes and seconds: 0:02:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
