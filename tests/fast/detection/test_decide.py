"""From what the detector says to a decision: thresholds, names, and the table of rows."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.detection.decide import Expectation, Thresholds, decide, thresholds
from pipeline.detection.row import DETECTION, DetectionRow, as_table, in_order
from pipeline.detection.summary import Summary, summarise, sums_of
from pipeline.signals.bundle import Bundle

SECRET = b"sixteen bytes at least"
LIMITS = Thresholds(0.75, 0.5)


def bundle(untouched: list[float], plain: list[float], *, count: int = 3) -> Bundle:
    scores = {"untouched": np.sort(np.asarray(untouched, dtype=float)), "plain": np.sort(np.asarray(plain, dtype=float))}
    return Bundle(np.zeros((count, 3, 16, 16), np.float32), 3.0, "id", 8, scores, {}, Path("none"))


def judged(key: str, manipulated: float = 0.1, likeness: float = 0.9, signal: int = 1) -> DetectionRow:
    row = DetectionRow(key=key, status="judged", width=20, height=30)
    return decide(row, manipulated=manipulated, signal=signal, likeness=likeness, limits=LIMITS)


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=300), st.floats(0.0001, 0.5))
def test_at_most_the_asked_share_of_the_held_out_files_is_above_the_threshold(scores: list[float], rate: float) -> None:
    limits = thresholds(bundle(scores, scores), rate)
    assert limits.manipulated == limits.carries
    above = np.mean(np.asarray(scores) > limits.manipulated)
    assert above <= rate + 1 / len(scores)


def test_a_smaller_rate_never_lowers_a_threshold_and_the_two_kinds_of_files_are_kept_apart() -> None:
    one = bundle([0.0, 0.25, 0.5, 0.75, 1.0], [-1.0, -0.5, 0.0, 0.5, 1.0])
    assert thresholds(one, 0.5) == Thresholds(0.5, 0.0)
    assert thresholds(one, 0.25) == Thresholds(0.75, 0.5)


def test_only_what_is_above_a_threshold_counts() -> None:
    assert [judged("a", p).decision for p in (0.74, 0.75, 0.76)] == ["untouched", "untouched", "manipulated"]
    assert [judged("a", likeness=like).carries for like in (0.49, 0.5, 0.51)] == [False, False, True]


def test_a_bundle_without_signals_says_nothing_of_signals() -> None:
    limits = thresholds(bundle([0.0, 1.0], [-1.0], count=0), 0.5)
    row = decide(DetectionRow(key="a", status="judged"), manipulated=0.9, signal=0, likeness=-1.0, limits=limits)
    assert (row.decision, row.signal, row.likeness, row.carries) == ("manipulated", None, None, None)


def test_a_name_stands_for_the_keyed_hash_of_the_name_under_which_it_was_signed() -> None:
    expect = Expectation(SECRET, 3, {"b.png": "in/b.jpg"})
    for row, signed_as in ((judged("a.jpg"), "a.jpg"), (judged("b.png"), "in/b.jpg")):
        name = signed_as.removesuffix(".jpg")
        wanted = int.from_bytes(hmac.digest(SECRET, name.encode(), hashlib.sha256), "big") % 3
        for signal in range(3):
            (found,) = expect(as_table([dataclasses.replace(row, signal=signal)])).to_pylist()
            assert (found["expected"], found["matches"]) == (wanted, signal == wanted)


def test_a_picture_without_a_signal_is_compared_with_nothing_and_one_that_was_not_judged_stands_for_nothing() -> None:
    failed = DetectionRow(key="f", status="failed", stage="read", reason="gone")
    rows = as_table([judged("a", likeness=0.1), failed])
    bare, same = Expectation(SECRET, 3, {})(rows).to_pylist()
    assert bare["expected"] is not None and bare["matches"] is None
    assert same == rows.to_pylist()[1]


def test_the_secret_is_not_shown_with_what_holds_it() -> None:
    assert "sixteen" not in repr(Expectation(SECRET, 3, {}))


def summary_of(*parts: pa.Table) -> Summary:
    first, *others = (sums_of(part, LIMITS) for part in parts)
    return summarise(sum(others, start=first), LIMITS)


def test_rows_in_any_order_and_in_any_parts_give_one_table_and_one_summary() -> None:
    rows = [judged(f"{i}.jpg", i / 10, 1 - i / 8, i % 2) for i in range(9)]
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
    assert one.odds.sum() == sum(one.likenesses[1]) == 9
    assert one.odds[1].sum() == one.decisions["manipulated"]
    above = sum(count for at, count in zip(*one.likenesses, strict=True) if at > 0.5)
    assert above == one.carrying


def test_the_summary_counts_every_case_and_lists_the_most_likely_first() -> None:
    rows = [judged("a", 0.9, 0.9), judged("b", 0.8, 0.1), judged("c", 0.95, 0.1), judged("d", 0.2, 0.9)]
    summary = summary_of(as_table([*rows, DetectionRow(key="e", status="skipped", stage="look", reason="small")]))
    assert {(case.decision, case.signal): case.count for case in summary.cases} == {
        ("untouched", "carries a signal"): 1,
        ("untouched", "no signal"): 0,
        ("manipulated", "carries a signal"): 1,
        ("manipulated", "no signal"): 2,
    }
    assert sum(case.share for case in summary.cases) == 1
    assert [row["key"] for row in summary.suspicious] == ["c", "a", "b", "d"]
    assert (summary.counts, summary.carrying, summary.matching) == ({"judged": 4, "skipped": 1, "failed": 0}, 2, None)
    compared = [dataclasses.replace(row, expected=0, matches=row.key == "a" if row.carries else None) for row in rows]
    called_out = summary_of(as_table(compared))
    assert (called_out.matching, called_out.stranger_count, called_out.strangers[0]["key"]) == (1, 1, "d")
