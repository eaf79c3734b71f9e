"""Photos that were protected before are told, and protected all the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.containers.listing import PhotoRef
from pipeline.photos.faces import NO_FACE
from pipeline.protection.earlier import PROTECTED_BEFORE
from pipeline.protection.row import Work
from pipeline.protection.stages.read import read_photos
from tests.fast.runs import rows, run
from tests.fast.tiny import photo_bytes, photo_folder

Said = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.protection.run.write_report", lambda *arguments, **options: "")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """What a run wrote, and beside it a photo that is new there and one that took the place of an output."""
    assert run(photo_folder(tmp_path / "photos"), tmp_path / "out", "--epsilon", "9") == 0
    (tmp_path / "out" / "new.jpg").write_bytes(photo_bytes(seed=4))
    (tmp_path / "out" / "b.png").write_bytes(photo_bytes(30, 30, seed=5, suffix=".png"))
    return tmp_path / "out"


def notes(folder: Path) -> dict[str, str | None]:
    return {key: row["note"] for key, row in rows(folder).items()}


def test_the_output_of_an_earlier_run_is_told_by_its_manifest(out: Path, tmp_path: Path, capsys: Said) -> None:
    capsys.readouterr()
    assert run(out, tmp_path / "again", "--epsilon", "9") == 0
    assert notes(tmp_path / "again") == {"a.png": PROTECTED_BEFORE, "b.png": None, "in/c.png": PROTECTED_BEFORE, "new.jpg": None}
    assert "2 x an earlier run wrote" in " ".join(capsys.readouterr().out.replace("│", " ").split())


@pytest.mark.parametrize("source", ["in", "**/c.png", "in/c.png", "list.csv"])
def test_part_of_an_earlier_output_is_told_too(out: Path, tmp_path: Path, source: str) -> None:
    (out / "manifest.parquet").unlink()  # as where a run is not over, or has a million photos: its parts are there
    (out / "list.csv").write_text("path\nin/c.png\n", encoding="utf-8")
    assert run(f"{out}/{source}", tmp_path / "again", "--epsilon", "9") == 0
    assert list(notes(tmp_path / "again").values()) == [PROTECTED_BEFORE]


def test_a_copy_with_its_manifest_is_told_and_other_manifests_say_nothing(out: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(out / "in", copy / "in")
    shutil.copy(out / "manifest.parquet", copy)
    assert run(copy, tmp_path / "again", "--epsilon", "9") == 0
    assert notes(tmp_path / "again") == {"in/c.png": PROTECTED_BEFORE}
    (copy / "manifest.parquet").write_bytes(b"somebody else's")
    assert run(copy, tmp_path / "other", "--epsilon", "9") == 0
    assert notes(tmp_path / "other") == {"in/c.png": None}


def test_the_remark_stays_beside_one_about_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.protection.stages.read.find_faces", lambda pixels_HWC: [])
    work = Work(PhotoRef("a.jpg", "", 0), "a.png", data=photo_bytes(), notes=(PROTECTED_BEFORE,))
    (read,) = read_photos([work], max_pixels=1000, faces=True)
    assert read.notes == (PROTECTED_BEFORE, NO_FACE)
