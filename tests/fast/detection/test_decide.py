"""From what the detector says to a decision: thresholds, and the table of rows."""

from __future__ import annotations

import io
import math
import random

import numpy as np
import pyarrow as pa
from PIL import Image

from pipeline.detection.decide import decide
from pipeline.detection.row import DETECTION, DetectionRow, as_table, in_order
from pipeline.detection.summary import Summary, summarise, sums_of
from pipeline.signals.bundle import Thresholds
from pipeline.signals.judgement import Judgement

LIMITS = Thresholds(0.75, 0.5)


def judgement(manipulated: float = 0.1, likeness: float = 0.9, fit: float = math.nan, marked: float = 0.25) -> Judgement:
    changed_BHW = np.zeros((1, 8, 8), np.float32)
    changed_BHW[0, : round(8 * marked)] = 0.8
    return Judgement(np.array([manipulated]), np.array([likeness], np.float32), np.array([fit], np.float32), changed_BHW, (False,))


def judged(key: str, manipulated: float = 0.1, likeness: float = 0.9, fit: float = math.nan) -> DetectionRow:
    row = DetectionRow(key=key, status="judged", width=20, height=30)
    return decide(row, judgement(manipulated, likeness, fit), 0, LIMITS)


def test_only_what_is_above_a_threshold_counts() -> None:
    assert [judged("a", p).decision for p in (0.74, 0.75, 0.76)] == ["untouched", "untouched", "manipulated"]
    assert [judged("a", likeness=like).carries for like in (0.49, 0.5, 0.51)] == [False, False, True]


def test_a_picture_without_a_signal_is_never_called_manipulated() -> None:
    row = judged("a", 0.99, 0.3)
    assert (row.decision, row.manipulated, row.map, row.carries) == ("no signal", None, None, False)


def test_the_map_of_a_manipulated_picture_says_where_and_how_much() -> None:
    row = judged("a", 0.9)
    assert row.changed == 0.25
    assert row.map is not None
    with Image.open(io.BytesIO(row.map)) as picture:
        levels = np.asarray(picture)
    assert levels.tolist() == [[204] * 8] * 2 + [[0] * 8] * 6
    assert (judged("b", 0.1).map, judged("b", 0.1).changed) == (None, None)


def test_a_bundle_without_signals_says_nothing_of_signals() -> None:
    row = decide(DetectionRow(key="a", status="judged"), judgement(0.9, -1.0), 0, Thresholds(0.75, None))
    assert (row.decision, row.likeness, row.carries, row.fit, row.map) == ("manipulated", None, None, None, None)


def test_the_fit_is_told_of_a_signed_picture_where_the_secret_is_known() -> None:
    assert judged("a", fit=0.25).fit == 0.25
    assert judged("a", fit=math.nan).fit is None
    assert judged("a", likeness=0.1, fit=0.25).fit is None


def summary_of(*parts: pa.Table) -> Summary:
    first, *others = (sums_of(part, LIMITS) for part in parts)
    return summarise(sum(others, start=first), LIMITS)


def test_rows_in_any_order_and_in_any_parts_give_one_table_and_one_summary() -> None:
    rows = [judged(f"{i}.jpg", i / 10, 1 - i / 8, i / 10) for i in range(9)]
    rows += [DetectionRow(key="x\udc80", status="failed", stage="read", reason=f"no \udcff {i}") for i in range(2)]
    whole = as_table(rows)
    random.Random(1).shuffle(rows)
    parts = in_order([as_table(rows[:4]), as_table(rows[4:])])
    assert parts.equals(whole)
    assert parts.schema == DETECTION
    assert in_order([]).num_rows == 0
    one = summary_of(whole)
    for other in (summary_of(parts), summary_of(as_table(rows[:4]), as_table(rows[4:]))):
        assert (one.cases, one.reasons, one.suspicious) == (other.cases, other.reasons, other.suspicious)
        assert (one.counts, one.odds.tolist(), one.likenesses) == (other.counts, other.odds.tolist(), other.likenesses)
    assert (one.odds.sum(), sum(one.likenesses[1])) == (one.carrying, 9)
    assert one.odds[1].sum() == one.decisions["manipulated"]
    above = sum(count for at, count in zip(*one.likenesses, strict=True) if at > 0.5)
    assert above == one.carrying


def test_the_summary_counts_every_case_and_lists_the_most_likely_first() -> None:
    rows = [judged("a", 0.9, 0.9), judged("b", 0.8, 0.1), judged("c", 0.95, 0.8), judged("d", 0.2, 0.9)]
    summary = summary_of(as_table([*rows, DetectionRow(key="e", status="skipped", stage="look", reason="small")]))
    assert {case.decision: case.count for case in summary.cases} == {"untouched": 1, "manipulated": 2, "no signal": 1}
    assert sum(case.share for case in summary.cases) == 1
    assert [row["key"] for row in summary.suspicious] == ["c", "a"]
    assert (summary.counts, summary.carrying, summary.unfit) == ({"judged": 4, "skipped": 1, "failed": 0}, 3, None)
    fits = {"a": 0.1, "b": 0.0, "c": 0.9, "d": 0.2}
    fitted = summary_of(as_table([judged(row.key, row.manipulated or 0.8, row.likeness or 0, fit=fits[row.key]) for row in rows]))
    assert fitted.unfit == 1, "of the manipulated"
