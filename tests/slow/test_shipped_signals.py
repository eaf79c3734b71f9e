"""The shipped bundle on sample photos: signed files look like the photos, and the detector tells what was manipulated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.tables.signals.scores import translator
from pipeline.training.data.sample_data import sample_faces
from tests.verbs import detect, protect

KEY = "the secret of a test, not of a photographer"


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty sample faces of people of whom some were trained on, with a signal each."""
    folder = tmp_path_factory.mktemp("signed")
    (folder / "photos").mkdir()
    for face in list(sample_faces())[::4]:
        Image.fromarray(face.pixels_HWC).save(folder / "photos" / f"{face.name}.png")
    (folder / "key").write_text(KEY)
    words = ["--recipe", "none", "--signals", "shipped", "--key-file", str(folder / "key"), "--no-tracking", "--examples", "0"]
    assert protect([str(folder / "photos"), str(folder / "out"), *words]) == 0
    return folder


def detected(pictures: Path, out: Path, key: Path) -> list[dict[str, object]]:
    words = ["--signals", "shipped", "--out", str(out), "--key-file", str(key), "--no-tracking"]
    assert detect([str(pictures), *words]) == 0
    rows: list[dict[str, object]] = pq.read_table(out / "detection.parquet").to_pylist()
    return [row for row in rows if row["status"] == "judged"]


def test_signed_files_are_within_two_levels_and_above_44_db(signed: Path) -> None:
    rows = pq.read_table(signed / "out" / "manifest.parquet").to_pylist()
    assert len(rows) == 40
    assert all(row["linf_levels"] <= 2 and row["psnr"] >= 44 for row in rows)


def test_untouched_files_are_called_untouched_and_carry_the_signal_of_their_tints(signed: Path, tmp_path: Path) -> None:
    rows = detected(signed / "out", tmp_path / "found", signed / "key")
    assert sum(row["decision"] == "untouched" for row in rows) >= 38
    assert sum(float(str(row["fit"] or 0)) > 0.8 for row in rows) >= 38


def test_what_a_generator_made_of_them_is_called_out(signed: Path, tmp_path: Path) -> None:
    (tmp_path / "fakes").mkdir()
    files = sorted((signed / "out").glob("*.png"))
    pictures = [np.asarray(Image.open(file)) for file in files]
    for file, pixels in zip(files, translator("stargan-faces-hardened", "unseen")(pictures), strict=True):
        Image.fromarray(pixels).save(tmp_path / "fakes" / file.name)
    rows = detected(tmp_path / "fakes", tmp_path / "found", signed / "key")
    assert sum(row["decision"] != "untouched" for row in rows) >= 38
