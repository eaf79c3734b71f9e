"""How much room the files take, and that the other format's room is that of files that a run writes in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.protection.summary import Summary, summarise
from pipeline.protection.sums import Sums
from tests.fast import tiny
from tests.fast.runs import files, run


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Summary]:
    """The summaries of the runs, in place of their pages."""
    summaries: list[Summary] = []

    def write_report(sums: Sums, *arguments: Any, **options: Any) -> str:
        summaries.append(summarise(sums))
        return ""

    monkeypatch.setattr("pipeline.protection.run.write_report", write_report)
    return summaries


def test_sizes_are_those_of_the_files_and_webp_is_tried_on_what_was_written(tmp_path: Path, seen: list[Summary]) -> None:
    photos, png, webp = (tmp_path / name for name in ("photos", "png", "webp"))
    tiny.photo_folder(photos)
    (photos / "cut.jpg").write_bytes(tiny.photo_bytes(seed=5)[:-200])
    assert run(photos, png, "--epsilon", "9") == 1
    assert run(photos, webp, "--epsilon", "9", "--format", "webp") == 1
    as_png, as_webp = seen
    assert as_png.bytes_in == as_webp.bytes_in == sum(path.stat().st_size for path in photos.rglob("*.*"))
    assert as_png.bytes_out == sum(map(len, files(png).values()))
    assert as_webp.bytes_out == sum(map(len, files(webp).values()))
    assert as_png.as_webp == (3, as_png.bytes_out, as_webp.bytes_out)
    assert as_webp.as_webp is None


def test_more_pixels_than_are_read_in_seconds_are_not_tried(
    tmp_path: Path, seen: list[Summary], monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, out = tiny.photo_folder(tmp_path / "photos"), tmp_path / "out"
    monkeypatch.setattr("pipeline.protection.sizes.MOST_PIXELS", 2 * 22 * 22)
    assert run(photos, out, "--epsilon", "9") == 0
    assert seen[0].as_webp is not None
    assert seen[0].as_webp[0] == 2
