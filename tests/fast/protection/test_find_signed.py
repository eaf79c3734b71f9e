"""`disrupt protect --find-signed`: a photo with a signal of the same bundle is told, with the shipped bundle on real files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.images.orientation import to_stored
from pipeline.protection.stages.find_signed import SIGNED_BEFORE
from tests.fast.photos.samples import array
from tests.fast.runs import rows
from tests.verbs import protect


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("pipeline.protection.run.write_report", lambda *arguments, **options: "")
    (file := tmp_path / "key").write_bytes(b"0123456789abcdef")
    return file


def notes(photos: Path, out: Path, key: Path, *words: str) -> dict[str, str | None]:
    quick = ["--recipe", "none", "--signals", "shipped", "--key-file", str(key), "--engine", "local", "--no-tracking"]
    assert protect([str(photos), str(out), "--examples", "0", *quick, *words]) == 0
    return {name: row["note"] for name, row in rows(out).items()}


def test_a_photo_that_carries_a_signal_already_is_told_where_that_is_asked(shared: Path, tmp_path: Path, key: Path) -> None:
    (photos := tmp_path / "photos").mkdir()
    shown = array(Image.open(shared / "data" / "faces" / "openpeople_P001_00_neutral.jpg"))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(shown).save(photos / "plain.png")
    Image.fromarray(np.ascontiguousarray(to_stored(shown, 6))).save(photos / "turned.png", exif=exif)
    assert set(notes(photos, tmp_path / "signed", key, "--find-signed").values()) == {None}
    again = tmp_path / "again"
    again.mkdir()
    for name in ("plain.png", "turned.png"):
        shutil.copy(tmp_path / "signed" / name, again)  # without its manifest
    (again / "new.png").write_bytes((photos / "plain.png").read_bytes())
    assert notes(again, tmp_path / "out", key, "--find-signed") == {"new.png": None} | dict.fromkeys(
        ("plain.png", "turned.png"), SIGNED_BEFORE
    )
    assert set(notes(again, tmp_path / "unasked", key).values()) == {None}


def test_without_signals_there_is_nothing_to_look_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert protect([str(tmp_path), str(tmp_path / "out"), "--find-signed"]) == 2
    assert "--find-signed" in capsys.readouterr().err
