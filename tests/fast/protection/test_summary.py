"""The numbers of a run, counted by hand from small manifests."""

from __future__ import annotations

import dataclasses
import io
import json
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
from pipeline.protection.sums import merged, sums_of
from pipeline.report.outcome import OTHER_REASONS, Reason, outcome_table


def measured(key: str, l2: Sequence[float], *, psnr: float = 36.0, classes: Sequence[str] | None = None) -> ManifestRow:
    """A protected photo with these L2 values, one a class; L1 is half of each. It took three steps, and two more for each L2."""
    return ManifestRow(
        key=key,
        status="protected",
        output=key,
        sha256_in="1" * 64,
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
        class_levelled=[value / 4 for value in l2],
        class_local=[value / 8 for value in l2],
        class_lost=[2 * value for value in l2],
        class_ssim=[0.5 for _ in l2],
        class_edit=[0.02 for _ in l2],
        steps=3 + 2 * len(l2),
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
    assert [(c.levelled, c.local, c.ssim) for c in summary.classes] == [
        pytest.approx((0.0375, 0.01875, 0.5)),
        (0.0025, 0.00125, 0.5),
    ]
    assert [c.disrupted_levelled for c in summary.classes] == [0.5, 0]
    assert [(c.lost, c.visible) for c in summary.classes] == [pytest.approx((0.3, 0.5)), (0.02, 0)]
    assert summary.everything.over_edit == pytest.approx(0.31 / 3 / 0.02)


def test_an_unchanged_file_is_counted_apart_and_leaves_the_mean_psnr_alone() -> None:
    rows = [measured("a", [1.0], psnr=30.0), measured("b", [1.0], psnr=40.0), measured("c", [0.0], psnr=math.inf)]
    summary = summarise(sums_of(rows_to_table(rows, shard="s")), wall_seconds=1.5)
    assert (summary.psnr_mean, summary.psnr_min, summary.unchanged) == (35.0, 30.0, 1)
    assert (summary.seconds, summary.seconds_mean, summary.images_per_second) == (6.0, 2.0, 2.0)
    assert (summary.bytes_in, summary.bytes_out, summary.epsilon, summary.linf_levels) == (300, 750, 6, 5)


def test_bytes_are_those_of_what_was_read_and_written_and_growth_compares_files_with_their_photos() -> None:
    damaged = ManifestRow(key="b", status="failed", stage="decode", reason="cut", bytes_in=700, sha256_in="1" * 64)
    unread = ManifestRow.skipped("c", stage="read", reason="too large", bytes_in=10**12)
    summary = summarise(sums_of(rows_to_table([measured("a", [1.0]), damaged, unread], shard="s")))
    assert (summary.bytes_in, summary.bytes_out, summary.growth) == (800, 250, 2.5)
    assert "files: 800 B in, 250 B out, 2.5 times as large" in printed([measured("a", [1.0]), damaged, unread])


def test_steps_are_averaged_over_photos_that_took_some() -> None:
    rows = [measured("a", [1.0]), measured("b", [1.0, 1.0, 1.0]), dataclasses.replace(measured("c", [1.0]), steps=None)]
    summary = summarise(merged([sums_of(rows_to_table([row], shard="s")) for row in rows]))
    assert (summary.steps_mean, summary.steps_most) == (7.0, 9)
    assert "steps of the ascent: 7.0 on average, 9 at most" in printed(rows)
    assert "steps" not in printed(rows[2:])


@pytest.mark.parametrize(("webp", "told"), [(150, "--format webp is 25 % smaller, lossless too (tried on 2 files)"), (200, None)])
def test_webp_is_named_where_it_was_smaller(webp: int, told: str | None) -> None:
    sums = sums_of(rows_to_table([measured("a", [1.0])], shard="s")) | {"as_webp": [2, 200, webp]}
    file = io.StringIO()
    Console(file=file, width=140).print(terminal_table(summarise(sums)))
    assert ("webp" in file.getvalue()) == bool(told)
    assert (told or "") in file.getvalue()


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


LINES = st.lists(
    st.tuples(st.sampled_from(["protected", "failed", "skipped"]), st.floats(0, 4), st.floats(20, 60), st.sampled_from("xyz")),
    max_size=20,
)


@settings(deadline=None)
@given(lines=LINES, cut=st.integers(0, 20))
def test_the_sums_of_parts_merge_to_those_of_all_rows_in_any_order(lines: list[tuple[str, float, float, str]], cut: int) -> None:
    rows = []
    for number, (status, l2, psnr, word) in enumerate(lines):
        if status == "protected":
            rows.append(measured(f"{number:02}", [l2, l2 / 3], psnr=psnr, classes=["a", word]))
        else:
            make = ManifestRow.failed if status == "failed" else ManifestRow.skipped
            rows.append(make(f"{number:02}", stage="read", reason=f"because of {word}"))
    tables = [rows_to_table(some, shard="s") if some else MANIFEST.empty_table() for some in (rows, rows[:cut], rows[cut:])]
    whole, first, second = map(sums_of, tables)
    for sums in (merged([first, second]), merged([second, first])):
        assert json.loads(json.dumps(sums)) == sums, "sums are plain JSON"
        one, other = summarise(sums), summarise(whole)
        for field in dataclasses.fields(one):
            a, b = getattr(one, field.name), getattr(other, field.name)
            if field.name in {"classes", "everything"}:
                close = [(x, y) for x, y in zip(_numbers(a), _numbers(b), strict=True)]
                assert all(x == pytest.approx(y, nan_ok=True) for x, y in close)
            elif isinstance(a, float):
                assert a == pytest.approx(b, nan_ok=True)
            else:
                assert a == b
        assert sums["bins"] == whole["bins"]
        assert sums["samples"] == whole["samples"]


def _numbers(effects: object) -> list[float]:
    some = effects if isinstance(effects, tuple) else (effects,)
    return [value for one in sorted(some, key=lambda one: one.name) for value in (one.samples, one.l1, one.l2, one.disrupted)]


def test_a_million_different_reasons_stay_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.report.outcome.MOST_REASONS", 10)
    parts = [[ManifestRow.failed(f"{part}/{k}", stage="read", reason=f"{part} {k}") for k in range(30)] for part in range(4)]
    sums = merged(sums_of(rows_to_table(rows, shard="s")) for rows in parts)
    assert len(sums["reasons"]) <= 10
    assert sum(count for *_, count, _ in sums["reasons"]) == 120
    assert any(text == OTHER_REASONS for _, _, text, _, _ in sums["reasons"])


def test_a_sample_holds_the_weakest_and_the_strongest_of_many() -> None:
    rows = [measured(f"{k:03}", [k / 100]) for k in range(200)]
    sums = merged(sums_of(rows_to_table(rows[start::4], shard="s")) for start in range(4))
    keys = [row["key"] for row in sums["samples"]]
    assert (keys[0], keys[-1]) == ("000", "199")
    assert len(keys) <= 64
    assert sums["samples"] == sums_of(rows_to_table(rows, shard="s"))["samples"]
