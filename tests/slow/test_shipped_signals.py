"""The shipped bundle on sample photos: signed files look like the photos, and the detector tells what was manipulated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.signals.key import offsets_of
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


def changed_files(signed: Path, folder: Path, change: Callable[[int, np.ndarray], np.ndarray]) -> Path:
    """The signed files after ``change``, by number, as PNG files of the same names."""
    folder.mkdir()
    for i, file in enumerate(sorted((signed / "out").glob("*.png"))):
        pixels = np.asarray(Image.open(file)).astype(int)
        Image.fromarray(change(i, pixels).clip(0, 255).astype(np.uint8)).save(folder / file.name)
    return folder


def fits(rows: list[dict[str, object]]) -> list[float]:
    return [float(str(row["fit"])) for row in rows if row["fit"] is not None]


def test_a_tint_of_a_few_levels_all_over_a_picture_is_called_out_with_the_secret(signed: Path, tmp_path: Path) -> None:
    warmer = changed_files(signed, tmp_path / "warmer", lambda i, pixels: pixels + np.array([3, 0, -6]))
    rows = detected(warmer, tmp_path / "found", signed / "key")
    assert sum(row["decision"] != "untouched" for row in rows) >= 38
    assert np.median(fits(rows)) < 0.3


def test_a_signal_copied_onto_another_photo_is_called_out(signed: Path, tmp_path: Path) -> None:
    files = sorted((signed / "out").glob("*.png"))
    photos = [np.asarray(Image.open(signed / "photos" / file.name)).astype(int) for file in files]
    carried = [np.asarray(Image.open(file)).astype(int) - photo for file, photo in zip(files, photos, strict=True)]
    other = len(files) // 2  # sample faces of one person lie beside each other
    copies = changed_files(signed, tmp_path / "copies", lambda i, _: photos[i] + carried[(i + other) % len(files)])
    rows = detected(copies, tmp_path / "found", signed / "key")
    assert sum(row["decision"] != "untouched" for row in rows) >= 36


def test_the_offsets_of_another_secret_fit_no_picture(signed: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(wrong := f"{KEY} 2")
    mine, other = (np.array(offsets_of(key.encode(), 4)) for key in (KEY, wrong))
    assert np.cos(mine - other).max() < 0.1, "not one of the secrets that are near"
    rows = detected(signed / "out", tmp_path / "found", tmp_path / "key")
    assert sum(row["decision"] != "untouched" for row in rows) >= 38


def test_what_a_generator_made_of_them_is_called_out(signed: Path, tmp_path: Path) -> None:
    (tmp_path / "fakes").mkdir()
    files = sorted((signed / "out").glob("*.png"))
    pictures = [np.asarray(Image.open(file)) for file in files]
    for file, pixels in zip(files, translator("stargan-faces-hardened", "unseen")(pictures), strict=True):
        Image.fromarray(pixels).save(tmp_path / "fakes" / file.name)
    rows = detected(tmp_path / "fakes", tmp_path / "found", signed / "key")
    assert sum(row["decision"] != "untouched" for row in rows) >= 38
