"""The numbers of a detection, from its rows; the same for any order of the rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.detection.decide import Thresholds
from pipeline.detection.row import DECISIONS, STATUSES, in_order
from pipeline.report.outcome import Reason, numbers, reasons_of

SHOWN = 20
"""Pictures in a list of the report."""
NOT_KNOWN = "no signals in the bundle"
CARRIES = {True: "carries a signal", False: "no signal", None: NOT_KNOWN}


@dataclass(frozen=True)
class Case:
    """How many pictures have the same decision and carry a signal, carry none, or were asked of a bundle without signals."""

    decision: str
    signal: str
    count: int
    share: float


@dataclass(frozen=True)
class Summary:
    """The numbers of a detection. ``counts`` are of all pictures, shares (0..1) of the judged ones.

    ``suspicious`` are the rows that are most likely manipulated, ``strangers`` the first of those that carry another signal than
    their name stands for, of which there are ``stranger_count``; ``matching`` is None when no secret was given.
    """

    counts: Mapping[str, int]
    decisions: Mapping[str, int]
    cases: tuple[Case, ...]
    carrying: int
    matching: int | None
    stranger_count: int
    strangers: tuple[Mapping[str, Any], ...]
    suspicious: tuple[Mapping[str, Any], ...]
    reasons: tuple[Reason, ...]
    limits: Thresholds
    probabilities: NDArray[np.float64]
    likenesses: NDArray[np.float64]

    @property
    def total(self) -> int:
        """All pictures."""
        return sum(self.counts.values())

    @property
    def judged(self) -> int:
        """Those that the detector has judged."""
        return self.counts["judged"]

    def share(self, count: int) -> float:
        """A count of judged pictures as their share; 0 when there are none."""
        return count / self.judged if self.judged else 0.0


def summarise(rows: pa.Table, limits: Thresholds) -> Summary:
    """The summary of a DETECTION table; ``limits`` are the thresholds that its decisions come from."""
    rows = in_order([rows])
    judged = rows.filter(pc.equal(rows["status"], "judged"))
    counts = _counts(rows["status"])
    decisions = _counts(judged["decision"])
    strangers = judged.filter(pc.equal(judged["matches"], pa.scalar(False)))
    matching = _counts(judged["matches"])[True] if judged["expected"].null_count < judged.num_rows else None
    return Summary(
        counts={status: counts[status] for status in STATUSES},
        decisions={decision: decisions[decision] for decision in DECISIONS},
        cases=_cases(judged),
        carrying=_counts(judged["carries"])[True],
        matching=matching,
        stranger_count=strangers.num_rows,
        strangers=tuple(strangers.slice(0, SHOWN).to_pylist()),
        suspicious=tuple(judged.sort_by([("manipulated", "descending"), ("key", "ascending")]).slice(0, SHOWN).to_pylist()),
        reasons=reasons_of(rows.filter(pc.not_equal(rows["status"], "judged")), STATUSES[::-1]),
        limits=limits,
        probabilities=numbers(judged["manipulated"]),
        likenesses=numbers(judged["likeness"]),
    )


def _counts(column: pa.ChunkedArray) -> Counter[Any]:
    return Counter(column.to_pylist())


def _cases(judged: pa.Table) -> tuple[Case, ...]:
    """Every decision with and without a signal, also those that no picture is in."""
    counts = Counter(zip(judged["decision"].to_pylist(), judged["carries"].to_pylist(), strict=True))
    possible = [True, False] if judged["carries"].null_count == 0 else [None]
    cases = [(decision, carries, counts[decision, carries]) for decision in DECISIONS for carries in possible]
    return tuple(Case(decision, CARRIES[carries], n, n / max(judged.num_rows, 1)) for decision, carries, n in cases)
