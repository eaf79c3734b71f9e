"""Folders with files that cannot be used: each gets its row and reason, the others are not harmed, the report is written."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from pipeline.ledger.schema import STATUSES
from tests.fast.runs import files, rows, run, statuses
from tests.fast.tiny import photo_bytes, photo_folder, picture


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return photo_folder(tmp_path / "photos")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def animated() -> bytes:
    file = io.BytesIO()
    picture(seed=1).save(file, "GIF", save_all=True, append_images=[picture(seed=2)])
    return file.getvalue()


def test_good_and_bad_photos_in_one_call(photos: Path, out: Path) -> None:
    bad = {
        "truncated.jpg": (photo_bytes()[:-200], "failed"),
        "zero.jpg": (b"", "failed"),
        "text.jpg": (b"this is no image", "failed"),
        "animated.gif": (animated(), "skipped"),
        "one_pixel.png": (photo_bytes(1, 1, suffix=".png"), "skipped"),
        "thin.jpg": (photo_bytes(200, 3), "skipped"),
    }
    for name, (data, _) in bad.items():
        (photos / "in" / name).write_bytes(data)
    with (photos / "huge.jpg").open("wb") as huge:
        huge.truncate(20 * 10**9)  # a hole: it takes no room
    (photos / "link.jpg").symlink_to(photos / "a.jpg")
    (photos / "notes.txt").write_text("not a photo")
    assert run(photos, out) == 1
    good = {"a.jpg": "protected", "b.png": "protected", "in/c.jpg": "protected", "link.jpg": "skipped", "huge.jpg": "skipped"}
    assert statuses(out) == good | {f"in/{name}": status for name, (_, status) in bad.items()}
    assert set(files(out)) == {"a.png", "b.png", "in/c.png"}
    for key, row in rows(out).items():
        assert row["status"] in STATUSES
        assert (row["reason"] is None) == (row["status"] == "protected"), key
        assert (row["output"] is None) == (row["status"] != "protected"), key
    assert "more than 500 million bytes" in rows(out)["huge.jpg"]["reason"]
    assert (out / "report.html").stat().st_size > 10_000


def test_every_bad_file_of_the_shared_collection_has_its_row(shared: Path, photos: Path, out: Path) -> None:
    bad = sorted(path for path in (shared / "data" / "bad_images").iterdir() if path.is_file())
    for path in bad:
        (photos / path.name).write_bytes(path.read_bytes())
    assert run(photos, out, "--max-megapixels", "20", "--epsilon", "30") == 1
    found = statuses(out)
    assert len(found) == len(bad) + 3
    assert {key for key, status in found.items() if status == "protected"} == {
        "a.jpg", "b.png", "in/c.jpg", next(path.name for path in bad if "spaces" in path.name)
    }  # fmt: skip
    assert {key for key, status in found.items() if status == "skipped"} == {
        "animated.gif", "bomb_60000x60000.png", "one_pixel.png", "thin_2000x3.jpg"
    }  # fmt: skip


def test_a_limit_of_megabytes_is_that_of_the_call(photos: Path, out: Path) -> None:
    with (photos / "a.jpg").open("ab") as file:
        file.truncate(1_000_001)
    assert run(photos, out, "--max-megabytes", "1") == 0
    assert statuses(out) == {"a.jpg": "skipped", "b.png": "protected", "in/c.jpg": "protected"}
