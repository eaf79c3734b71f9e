from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.containers.listing import PhotoRef
from pipeline.photos.decode import decode_photo
from pipeline.protection.row import Work
from pipeline.protection.stages.read import read_photos
from tests.fast.tiny import photo_bytes


def work(path: Path, *, refused: str | None = None) -> Work:
    return Work(PhotoRef(path.name, str(path), 7, refused=refused), path.stem + ".png")


def read(*works: Work, max_pixels: int = 10**6, max_bytes: int = 10**6) -> list[Work]:
    return read_photos(works, max_pixels=max_pixels, max_bytes=max_bytes)


def test_a_photo_comes_with_its_bytes_and_pixels(tmp_path: Path) -> None:
    (path := tmp_path / "a.png").write_bytes(data := photo_bytes(suffix=".png"))
    (done,) = read(work(path))
    assert done.ended is None
    assert done.data == data
    assert done.photo is not None
    assert np.array_equal(done.photo.pixels_HWC, np.asarray(Image.open(path)))


@pytest.mark.parametrize(
    ("name", "data", "status", "reason"),
    [
        ("cut.jpg", photo_bytes()[:-200], "failed", "cut short"),
        ("zero.jpg", b"", "failed", ""),
        ("text.jpg", b"hello, this is text", "failed", "not an image"),
        ("dot.png", photo_bytes(1, 1, suffix=".png"), "skipped", "small"),
        ("big.png", photo_bytes(1200, 900, suffix=".png"), "skipped", ""),
    ],
)
def test_a_file_that_cannot_be_used_ends_with_its_reason(tmp_path: Path, name: str, data: bytes, status: str, reason: str) -> None:
    (tmp_path / name).write_bytes(data)
    (done,) = read(work(tmp_path / name))
    assert done.photo is None
    assert done.ended is not None
    assert (done.ended.status, done.ended.stage, done.ended.key) == (status, "decode", name)
    assert done.ended.reason
    assert reason in done.ended.reason
    assert done.ended.bytes_in == len(data)
    assert done.data == data  # its checksum goes into the manifest


def test_a_file_that_is_gone_fails_and_the_others_go_on(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(photo_bytes())
    gone, fine = read(work(tmp_path / "gone.jpg"), work(tmp_path / "a.jpg"))
    assert gone.ended is not None
    assert (gone.ended.status, gone.ended.stage) == ("failed", "read")
    assert "cannot be read" in (gone.ended.reason or "")
    assert fine.photo is not None


def test_a_refused_input_is_not_opened(tmp_path: Path) -> None:
    (done,) = read(work(tmp_path / "never-there.jpg", refused="a symbolic link"))
    assert done.ended is not None
    assert (done.ended.status, done.ended.stage, done.ended.reason) == ("skipped", "list", "a symbolic link")
    assert done.ended.bytes_in == 7


def test_a_limit_of_pixels_holds(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(photo_bytes(30, 30, suffix=".png"))
    (done,) = read(work(tmp_path / "a.png"), max_pixels=899)
    assert done.ended is not None
    assert done.ended.status == "skipped"
    assert decode_photo(photo_bytes(30, 30), max_pixels=900).width == 30


@pytest.mark.parametrize("known", [True, False])
def test_a_limit_of_bytes_holds_whether_the_size_is_known_or_not(tmp_path: Path, known: bool) -> None:
    (path := tmp_path / "a.png").write_bytes(data := photo_bytes(suffix=".png"))
    one = Work(PhotoRef("a.png", str(path), len(data) if known else 0), "a.png")
    (done,) = read(one, max_bytes=len(data) - 1)
    assert done.ended is not None
    assert (done.ended.status, done.ended.stage, done.data) == ("skipped", "list" if known else "read", None)
    assert "--max-megabytes" in (done.ended.reason or "")
    (done,) = read(one, max_bytes=len(data))
    assert (done.ended, done.data) == (None, data)


def test_photos_with_a_gain_map_are_skipped_on_request(tmp_path: Path) -> None:
    (path := tmp_path / "a.jpg").write_bytes(photo_bytes() + b"\xff\xd8\xff\xe1 HDRGainMap")
    (kept,) = read(work(path))
    (left,) = read_photos([work(path)], max_pixels=10**6, gain_map="skip")
    assert kept.photo is not None
    assert left.ended is not None
    assert (left.ended.status, left.ended.stage, "--gain-map" in (left.ended.reason or "")) == ("skipped", "decode", True)
