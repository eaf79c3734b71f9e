"""The numbers of a detection, from sums of its rows that merge; the same for any order of the rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.detection.row import DECISIONS, STATUSES
from pipeline.report.outcome import Reason, few_reasons, numbers, tally_reasons, tell_reasons
from pipeline.report.plots import BINS
from pipeline.signals.bundle import Thresholds

SHOWN = 20
"""Pictures in a list of the report."""
LIKENESS_BIN = 0.1
"""Width of the bins in which likenesses are counted; the threshold is the border of one."""
UNFIT = 0.5
"""Below this fit a signal counts as that of other tints."""
NOT_KNOWN = "no signals in the bundle"


@dataclass(frozen=True)
class Case:
    """How many pictures have the same decision, and their share."""

    decision: str
    count: int
    share: float


@dataclass(frozen=True)
class Summary:
    """The numbers of a detection. ``counts`` are of all pictures, shares (0..1) of the judged ones.

    ``suspicious`` are the manipulated rows of the highest probability. ``unfit`` counts the manipulated ones whose signal does not
    fit their tints (`UNFIT`); None when no secret was given. ``odds`` are counts of probabilities, (2, BINS) from 0 to 1, first
    those up to the threshold; ``likenesses`` are middles and counts of bins.
    """

    counts: Mapping[str, int]
    decisions: Mapping[str, int]
    cases: tuple[Case, ...]
    carrying: int
    unfit: int | None
    suspicious: tuple[Mapping[str, Any], ...]
    reasons: tuple[Reason, ...]
    limits: Thresholds
    odds: NDArray[np.int64]
    likenesses: tuple[Sequence[float], Sequence[int]]

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


@dataclass(frozen=True)
class Sums:
    """What some rows add to the numbers. Lists of rows are as long as the report shows them."""

    counts: Counter[str]
    decisions: Counter[str]
    carrying: int
    with_fit: int
    unfit: int
    suspicious: list[dict[str, Any]]
    reasons: list[list[Any]]
    odds: NDArray[np.int64]
    likenesses: Counter[int]

    def __add__(self, other: Sums) -> Sums:
        """The sums of both."""
        return Sums(
            self.counts + other.counts,
            self.decisions + other.decisions,
            self.carrying + other.carrying,
            self.with_fit + other.with_fit,
            self.unfit + other.unfit,
            _most_suspicious(self.suspicious + other.suspicious),
            few_reasons([*self.reasons, *other.reasons]),
            self.odds + other.odds,
            self.likenesses + other.likenesses,
        )


def sums_of(rows: pa.Table, limits: Thresholds) -> Sums:
    """The sums of a DETECTION table; ``limits`` are the thresholds that its decisions come from."""
    judged = rows.filter(pc.equal(rows["status"], "judged"))
    manipulated = judged.filter(pc.equal(judged["decision"], "manipulated"))
    order = [("manipulated", "descending"), ("key", "ascending")]
    probabilities = numbers(judged["manipulated"])
    is_above = probabilities > limits.manipulated
    bins = np.ceil((numbers(judged["likeness"]) - (limits.carries or 0.0)) / LIKENESS_BIN).astype(int) - 1
    return Sums(
        counts=Counter(rows["status"].to_pylist()),
        decisions=Counter(judged["decision"].to_pylist()),
        carrying=pc.sum(judged["carries"]).as_py() or 0,
        with_fit=judged.num_rows - judged["fit"].null_count,
        unfit=int((numbers(manipulated["fit"]) < UNFIT).sum()),
        suspicious=manipulated.sort_by(order).slice(0, SHOWN).to_pylist(),
        reasons=tally_reasons(rows.filter(pc.not_equal(rows["status"], "judged")), STATUSES[::-1]),
        odds=np.stack([np.histogram(probabilities[pick], BINS, (0, 1))[0] for pick in (~is_above, is_above)]),
        likenesses=Counter(bins.tolist()),
    )


def summarise(sums: Sums, limits: Thresholds) -> Summary:
    """The summary of the sums of all rows."""
    judged = sums.counts["judged"]
    bins = sorted(sums.likenesses.items())
    middles = [(limits.carries or 0.0) + (at + 0.5) * LIKENESS_BIN for at, _ in bins]
    return Summary(
        counts={status: sums.counts[status] for status in STATUSES},
        decisions={decision: sums.decisions[decision] for decision in DECISIONS},
        cases=tuple(Case(name, sums.decisions[name], sums.decisions[name] / max(judged, 1)) for name in DECISIONS),
        carrying=sums.carrying,
        unfit=sums.unfit if sums.with_fit else None,
        suspicious=tuple(sums.suspicious),
        reasons=tell_reasons(sums.reasons, STATUSES[::-1]),
        limits=limits,
        odds=sums.odds,
        likenesses=(middles, [count for _, count in bins]),
    )


def _most_suspicious(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (-row["manipulated"], row["key"]))[:SHOWN]
