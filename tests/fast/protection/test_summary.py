"""The numbers of a run, counted by hand from small manifests."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from pipeline.ledger.schema import MANIFEST, ManifestRow, rows_to_table
from pipeline.protection.report import terminal_table
from pipeline.protection.summary import summarise
from pipeline.protection.sums import sums_of
from pipeline.report.outcome import Reason, outcome_table


def measured(key: str, l2: Sequence[float], *, psnr: float = 36.0, classes: Sequence[str] | None = None) -> ManifestRow:
    """A protected photo with these L2 values, one a class; L1 is half of each."""
    return ManifestRow(
        key=key,
        status="protected",
        output=key,
        sha256_out="0" * 64,
        bytes_in=100,
        bytes_out=250,
        epsilon=6,
        linf_levels=5,
        psnr=psnr,
        ssim=0.9,
        classes=classes or [f"class {k}" for k in range(len(l2))],
        class_l1=[value / 2 for value in l2],
        class_l2=list(l2),
        seconds=2.0,
        generator="g",
        recipe="pgd",
        signature="abc",
    )


def printed(rows: Sequence[ManifestRow], **options: float) -> str:
    file = io.StringIO()
    Console(file=file, width=140).print(terminal_table(summarise(sums_of(rows_to_table(rows, shard="s")), **options)))
    return file.getvalue()


def test_every_input_is_counted_under_its_status() -> None:
    rows = [
        measured("a.png", [1.0]),
        ManifestRow.skipped("b.gif", stage="decode", reason="animated"),
        ManifestRow.failed("c.jpg", stage="read", reason="zero bytes"),
        ManifestRow.failed("d.jpg", stage="read", reason="zero bytes"),
    ]
    summary = summarise(sums_of(rows_to_table(rows, shard="s")))
    assert summary.total == 4
    assert summary.counts == {"protected": 1, "not_disrupted": 0, "skipped": 1, "failed": 2}
    assert [(r.status, r.stage, r.text, r.count, r.keys) for r in summary.reasons] == [
        ("failed", "read", "zero bytes", 2, ("c.jpg", "d.jpg")),
        ("skipped", "decode", "animated", 1, ("b.gif",)),
    ]


def test_effect_is_averaged_over_samples_and_by_class() -> None:
    rows = [measured("a", [0.05, 0.01], classes=["hair", "smile"]), measured("b", [0.25], classes=["hair"])]
    summary = summarise(sums_of(rows_to_table(rows, shard="s")))
    assert [(c.name, c.samples, c.disrupted) for c in summary.classes] == [("hair", 2, 1.0), ("smile", 1, 0.0)]
    assert [value for c in summary.classes for value in (c.l1, c.l2)] == pytest.approx([0.075, 0.15, 0.005, 0.01])
    assert summary.everything.samples == 3
    assert summary.everything.disrupted == pytest.approx(2 / 3)
    assert summary.everything.l2 == pytest.approx(0.31 / 3)


def test_an_unchanged_file_is_counted_apart_and_leaves_the_mean_psnr_alone() -> None:
    rows = [measured("a", [1.0], psnr=30.0), measured("b", [1.0], psnr=40.0), measured("c", [0.0], psnr=math.inf)]
    summary = summarise(sums_of(rows_to_table(rows, shard="s")), wall_seconds=1.5)
    assert (summary.psnr_mean, summary.psnr_min, summary.unchanged) == (35.0, 30.0, 1)
    assert (summary.seconds, summary.seconds_mean, summary.images_per_second) == (6.0, 2.0, 2.0)
    assert (summary.bytes_in, summary.bytes_out, summary.epsilon, summary.linf_levels) == (300, 750, 6, 5)


def test_a_manifest_without_rows_or_without_measurements_has_no_means() -> None:
    for rows in (MANIFEST.empty_table(), rows_to_table([ManifestRow.failed("a", stage="read", reason="gone")], shard="s")):
        summary = summarise(sums_of(rows))
        assert math.isnan(summary.psnr_mean) and math.isnan(summary.everything.l2)
        assert summary.classes == ()
        assert summary.linf_levels is None
        Console(file=io.StringIO()).print(terminal_table(summary))


@settings(deadline=None)
@given(st.lists(st.lists(st.floats(0, 4), min_size=1, max_size=4), min_size=1, max_size=8))
def test_the_share_of_disrupted_samples_counts_each_sample_once(effects: list[list[float]]) -> None:
    rows = [measured(str(k), l2) for k, l2 in enumerate(effects)]
    summary = summarise(sums_of(rows_to_table(rows, shard="s")))
    flat = [value for l2 in effects for value in l2]
    assert summary.everything.disrupted == pytest.approx(sum(value >= 0.05 for value in flat) / len(flat))
    assert summary.everything.l2 == pytest.approx(float(np.mean(flat)))
    assert sum(row.samples for row in summary.classes) == len(flat)


def test_a_remark_on_a_protected_photo_is_reported() -> None:
    row = measured("a", [1.0])
    noted = ManifestRow(**({name: getattr(row, name) for name in ManifestRow.__dataclass_fields__} | {"note": "comment dropped"}))
    reasons = summarise(sums_of(rows_to_table([noted, measured("b", [1.0])], shard="s"))).reasons
    assert [(reason.status, reason.text, reason.keys) for reason in reasons] == [("protected", "comment dropped", ("a",))]


def test_the_terminal_shows_counts_reasons_and_effect() -> None:
    text = printed(
        [measured("a", [0.5], classes=["smile"]), ManifestRow.failed("c.jpg", stage="read", reason="zero bytes")], wall_seconds=4.0
    )
    for expected in ("protected", "1 x zero bytes (c.jpg)", "smile", "0.500", "100.0", "36.0 dB", "0.50 inputs/s", "5 of 6 levels"):
        assert expected in text


def test_brackets_in_a_name_are_text_in_the_terminal() -> None:
    text = printed(
        [ManifestRow.failed("[red]x[/bold].jpg", stage="read", reason="[/nothing] opened"), measured("a", [1.0], classes=["[b]"])]
    )
    for expected in ("[red]x[/bold].jpg", "[/nothing] opened", "[b]"):
        assert expected in text


def test_many_different_reasons_are_shortened_in_the_terminal_only() -> None:
    rows = [ManifestRow.failed(f"{k}.jpg", stage="read", reason=f"reason {k}") for k in range(9)]
    assert "and 4 other reasons" in printed(rows)
    assert len(summarise(sums_of(rows_to_table(rows, shard="s"))).reasons) == 9


@pytest.mark.parametrize("markup", [False, True])
def test_names_and_reasons_with_brackets_are_printed_as_they_are(markup: bool) -> None:
    reason = Reason("failed", "read", "no [bold] photo", 1, ("a[/b].jpg",))
    file = io.StringIO()
    Console(file=file, width=120, markup=markup).print(outcome_table("inputs", "title", {"failed": 1, "skipped": 0}, [reason]))
    assert "1 x no [bold] photo (a[/b].jpg)" in file.getvalue()
