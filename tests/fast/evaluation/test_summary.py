"""From rows to numbers: independent of order and sharding, with intervals that photos, not pairs, decide."""

from __future__ import annotations

import csv
import math
import random
import weakref
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation import bootstrap
from pipeline.evaluation.bootstrap import draws, exact_interval, interval, resampled
from pipeline.evaluation.row import EvaluationRow, as_table, in_order, outcomes
from pipeline.evaluation.summary import RELATIVE, Summary, as_csv, summarise, summarise_table
from pipeline.evaluation.sums import ALL, exact, merged, sums_of


def row(key: str, l2: float, *, channel: str = "clean", class_name: str = "Smile", **changes: Any) -> EvaluationRow:
    known: dict[str, Any] = {"generator": "g", "l1": l2 / 2, "l2_mask": l2, "mask_share": 0.5, "floor_l2": 0.01}
    known |= {"levelled": l2 / 2, "local": l2 / 4, "lost": min(1.0, l2), "output_ssim": 0.5, "edit": 0.02}
    known["success_mask"] = l2 >= 0.05
    known |= {"psnr": 35.0, "ssim": 0.9, "linf_levels": 6, "epsilon": 6, "disrupted": l2 >= 0.05, "l2": l2} | changes
    return EvaluationRow(key=key, status="measured", channel=channel, class_name=class_name, **known)


def summary_of(rows: list[EvaluationRow], *, channels: tuple[str, ...] = ("clean",), bootstrap: int = 200) -> Summary:
    names = {"generators": ["g"], "channels": channels}
    return summarise_table(as_table(rows), **names, classes=["Smile", "Old"], bootstrap=bootstrap, seed=0)


def summary_of_parts(tables: Sequence[pa.Table], *, again: Iterator[pa.Table] | None = None, times: int = 5) -> Summary:
    names = {"generators": ["g"], "channels": ("clean",), "classes": ["Smile", "Old"]}
    return summarise(merged(map(sums_of, tables)), again or iter(tables), **names, bootstrap=times, seed=0)


VALUES = st.lists(st.floats(0, 4), min_size=1, max_size=30)


@settings(max_examples=20)
@given(VALUES, st.randoms(use_true_random=False), st.integers(1, 5))
def test_neither_the_order_of_rows_nor_the_cut_into_parts_changes_a_digit(
    values: list[float], chance: random.Random, parts: int
) -> None:
    rows = [row(f"{i // 2}", value, class_name=("Smile", "Old")[i % 2]) for i, value in enumerate(values)]
    mixed = chance.sample(rows, len(rows))
    assert in_order([as_table(mixed[i::parts]) for i in range(parts)]).equals(as_table(rows))
    keys = sorted({one.key for one in rows})
    size = -(-len(keys) // parts)
    tables = [as_table([one for one in mixed if one.key in keys[at : at + size]]) for at in range(0, len(keys), size)]
    whole, cut = summary_of(rows, bootstrap=5), summary_of_parts(tables)
    assert as_csv(cut) == as_csv(whole)
    assert (cut.lines, cut.counts, cut.reasons, cut.psnr_mean) == (whole.lines, whole.counts, whole.reasons, whole.psnr_mean)


@given(st.lists(st.floats(-1e6, 1e6), max_size=40), st.integers(1, 7))
def test_sums_of_sums_are_not_rounded(values: list[float], parts: int) -> None:
    terms = exact(term for i in range(parts) for term in exact(values[i::parts]))
    assert sum(map(Fraction, terms)) == sum(map(Fraction, values))
    assert len(terms) <= 40, "pieces of 53 bits that do not overlap: all of float64 is 2,100 bits"
    assert math.isnan(math.fsum(exact([1.0, math.nan])))


def test_of_many_parts_few_are_in_memory() -> None:
    """Each part is let go before the one after the next comes, whatever their number."""
    alive: list[weakref.ref[pa.Table]] = []
    most = 0

    def parts() -> Iterator[pa.Table]:
        nonlocal most
        for number in range(10):
            table = as_table([row(f"{number:02}-{i}", 0.1 * i, flags=("lossy format",)) for i in range(3)])
            alive.append(weakref.ref(table))
            most = max(most, sum(one() is not None for one in alive))
            yield table
            del table

    sums = merged(map(sums_of, parts()))
    names = {"generators": ["g"], "channels": ("clean",), "classes": ["Smile"]}
    line = summarise(sums, parts(), **names, bootstrap=9, seed=0).line("g", "clean")
    assert line is not None
    assert line.photos == 30
    assert most <= 2


@settings(max_examples=20)
@given(VALUES)
def test_the_means_are_those_of_the_rows(values: list[float]) -> None:
    line = summary_of([row(f"{i}", value) for i, value in enumerate(values)], bootstrap=0).line("g", "clean")
    assert line is not None
    assert line.samples == line.photos == len(values)
    assert line.mean("l2") == pytest.approx(np.mean(values))
    assert line.mean("disrupted") == pytest.approx(np.mean(np.array(values) >= 0.05))
    assert line.mean("floor_disrupted") == 0
    assert line.mean("disrupted_levelled") == pytest.approx(np.mean(np.array(values) >= 0.1))
    assert line.mean("over_edit") == pytest.approx(np.mean(values) / 0.02)


def test_a_channel_is_also_shown_relative_to_the_clean_files() -> None:
    rows = [row(f"{i}", 0.1 if i < 8 else 0.01) for i in range(10)]
    rows += [row(f"{i}", 0.1 if i < 2 else 0.01, channel="jpeg-75") for i in range(10)]
    summary = summary_of(rows, channels=("clean", "jpeg-75"))
    clean, jpeg = summary.line("g", "clean"), summary.line("g", "jpeg-75")
    assert clean is not None
    assert jpeg is not None
    assert (clean.mean(RELATIVE), clean.interval(RELATIVE)) == (1, (1, 1))
    assert jpeg.mean(RELATIVE) == pytest.approx(0.25)
    low, high = jpeg.interval(RELATIVE)
    assert 0 <= low < 0.25 < high < 0.8


def test_the_interval_of_a_share_is_that_of_the_binomial_distribution() -> None:
    """Of n photos of which a share p counts, a draw has Binomial(n, p) that count: standard deviation sqrt(p (1 - p) / n)."""
    n, p = 400, 0.3
    line = summary_of([row(f"{i:03}", 0.1 if i < n * p else 0.0) for i in range(n)], bootstrap=4000).line("g", "clean")
    assert line is not None
    low, high = line.interval("disrupted")
    expected = 1.96 * math.sqrt(p * (1 - p) / n)
    assert p - low == pytest.approx(expected, rel=0.12)
    assert high - p == pytest.approx(expected, rel=0.12)


def test_photos_are_drawn_and_not_pairs() -> None:
    """Classes that copy each other add samples but no knowledge: the interval is that of one class."""
    one = [row(f"{i}", 0.1 * i) for i in range(12)]
    both = one + [row(f"{i}", 0.1 * i, class_name="Old") for i in range(12)]
    first, second = summary_of(one).line("g", "clean"), summary_of(both).line("g", "clean")
    assert first is not None
    assert second is not None
    assert (first.samples, second.samples, second.photos) == (12, 24, 12)
    assert second.interval("l2") == pytest.approx(first.interval("l2"))


def test_the_draws_do_not_depend_on_the_cut_nor_on_how_many_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    sums = np.arange(14.0).reshape(7, 2)
    whole = resampled([sums], 7, times=50, seed=3)
    for counts in ([7] * 50, [0, 3, 9]):
        weights = np.concatenate([each for _, each in draws(np.array(counts), 7, np.random.default_rng(3))])
        assert weights.sum(1).tolist() == counts
    assert np.array_equal(resampled([sums[:3], sums[3:]], 7, times=50, seed=3), whole)
    monkeypatch.setattr(bootstrap, "AT_ONCE", 21)
    assert np.array_equal(resampled([sums[:3], sums[3:]], 7, times=50, seed=3), whole)


def test_photos_in_several_blocks_are_drawn_as_photos_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A draw of n of n photos: each has mean 1 and variance 1 - 1/n, two have covariance -1/n, in one block or in two."""
    n, times = 6, 40_000
    monkeypatch.setattr(bootstrap, "AT_ONCE", n * 4)
    drawn = resampled([np.eye(n)], n, times=times, seed=1)
    assert (drawn.sum(1) == n).all()
    assert drawn.mean(0) == pytest.approx(np.ones(n), abs=0.03)
    assert np.cov(drawn.T) == pytest.approx(np.eye(n) - 1 / n, abs=0.03)


def test_one_photo_has_no_interval() -> None:
    line = summary_of([row("a", 0.2)]).line("g", "clean")
    assert line is not None
    assert all(math.isnan(end) for end in line.interval("l2"))
    assert all(math.isnan(end) for end in interval(np.array([np.nan])))


def test_photos_are_counted_by_the_worst_of_their_rows_and_reasons_by_photos() -> None:
    rows = [row("a", 0.1), row("b", 0.1, flags=("lossy format",)), row("b", 0.2, class_name="Old", flags=("lossy format",))]
    rows += [EvaluationRow(key="b", status="failed", stage="generator", reason="not numbers", generator="g", class_name="x")]
    rows += [EvaluationRow(key="c", status="missing", stage="pair", reason="gone")]
    summary = summary_of(rows)
    assert summary.counts == {"measured": 1, "failed": 1, "missing": 1, "skipped": 0}
    assert summary.flags == {"lossy format": 1}
    assert [(reason.status, reason.text, reason.count, reason.keys) for reason in summary.reasons] == [
        ("failed", "not numbers", 1, ("b",)),
        ("missing", "gone", 1, ("c",)),
    ]
    assert [(outcome.status, outcome.l2) for outcome in outcomes(rows)] == [
        ("measured", 0.1),
        ("failed", pytest.approx(0.15)),
        ("missing", None),
    ]


def test_nothing_measured_is_a_summary_without_lines() -> None:
    summary = summary_of([EvaluationRow(key="c", status="missing", stage="pair", reason="gone")])
    assert (summary.lines, summary.linf_levels, summary.total) == ((), None, 1)
    assert math.isnan(summary.psnr_mean)
    assert as_csv(summary).count("\n") == 1


def test_unchanged_files_do_not_make_the_mean_psnr_infinite() -> None:
    summary = summary_of([row("a", 0.1, psnr=math.inf), row("b", 0.1, psnr=30.0)])
    assert (summary.psnr_mean, summary.unchanged) == (30, 1)


def test_the_csv_has_a_line_for_each_class_and_for_all() -> None:
    lines = list(csv.DictReader(as_csv(summary_of([row("a", 0.1), row("b", 0.3), row("a", 0.2, class_name="Old")])).splitlines()))
    assert [(line["class"], line["samples"], line["l2"]) for line in lines] == [
        ("Smile", "2", "0.2"),
        ("Old", "1", "0.2"),
        (ALL, "3", "0.2"),
    ]
    assert float(lines[0]["l2_low"]) <= 0.2 <= float(lines[0]["l2_high"])


def test_a_share_has_its_exact_interval() -> None:
    assert exact_interval(0.0, 100) == pytest.approx((0.0, 1 - 0.025 ** (1 / 100)))
    assert exact_interval(1.0, 20) == pytest.approx((0.025 ** (1 / 20), 1.0))
