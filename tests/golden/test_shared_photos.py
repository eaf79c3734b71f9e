"""Every file of the shared picture folders: its status, its reason, and its metadata before and after by Pillow alone."""

from __future__ import annotations

import csv
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.containers.find import find_photos
from pipeline.photos.ball import linf_levels, project_levels
from pipeline.photos.decode import decode_photo
from pipeline.photos.encode import encode_photo, output_notes, read_back
from pipeline.photos.photo import PhotoBrokenError, PhotoRefusedError

BAD = {
    "animated.gif": (PhotoRefusedError, "animated (4 frames)"),
    "bomb_60000x60000.png": (PhotoRefusedError, "too large: 60000 x 60000 pixels"),
    "broken_crc_header.png": (PhotoBrokenError, "checksum of the header"),
    "broken_crc_pixels.png": (PhotoBrokenError, "checksum of the pixel data"),
    "näme with spaces ü 日本.jpg": (None, ""),
    "one_pixel.png": (PhotoRefusedError, "too small: 1 x 1 pixels"),
    "text_renamed.jpg": (PhotoBrokenError, "not an image"),
    "thin_2000x3.jpg": (PhotoRefusedError, "too small: 2000 x 3 pixels"),
    "truncated.jpg": (PhotoBrokenError, "cut short"),
    "zero_bytes.jpg": (PhotoBrokenError, "the file is empty"),
}
REFUSED = {"openpeople_P007_cmyk.jpg": "CMYK", "openpeople_P008_16bit.png": "16 bits per channel"}


def test_every_bad_file_has_its_status_and_reason(shared: Path) -> None:
    listing = find_photos(shared / "data/bad_images")
    assert {ref.key for ref in listing.refs} == BAD.keys()
    assert listing.ignored_count == 1  # empty_folder/.keep
    for ref in listing.refs:
        expected, reason = BAD[ref.key]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            if expected is None:
                assert decode_photo(Path(ref.uri).read_bytes()).mode == "RGB"
                continue
            with pytest.raises(expected) as caught:
                decode_photo(Path(ref.uri).read_bytes())
        assert reason in str(caught.value)


def test_every_large_photo_is_kept_or_refused_as_its_table_says(shared: Path) -> None:
    folder = shared / "data/faces_large"
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    refs = find_photos(folder).refs
    assert {ref.key for ref in refs} == rows.keys()
    for ref in refs:
        data, row = Path(ref.uri).read_bytes(), rows[ref.key]
        if ref.key in REFUSED:
            with pytest.raises(PhotoRefusedError, match=REFUSED[ref.key]):
                decode_photo(data)
            continue
        photo = decode_photo(data)
        assert (photo.width, photo.height, photo.format) == (int(row["width"]), int(row["height"]), row["format"])
        assert photo.orientation == int(row["exif_orientation"] or 1)
        assert photo.mode == ("RGB" if row["mode"] == "P" else row["mode"])
        assert photo.notes == (("palette expanded to RGB",) if row["mode"] == "P" else ())
        noise = np.random.default_rng(len(data)).integers(-9, 10, photo.pixels_HWC.shape, np.int16)
        pixels = project_levels(photo.pixels_HWC + noise, photo.pixels_HWC, 6)
        for format in ("png", "webp") if pixels.size < 3_300_000 else ("png",):  # noqa: A001 (WebP of the small ones, for time)
            written = encode_photo(photo, pixels, format=format)
            again = read_back(written, photo, pixels, format=format)
            assert linf_levels(again.pixels_HWC, photo.pixels_HWC) == 6
            before, after = _by_pillow(data), _by_pillow(written)
            if output_notes(photo, format=format):
                assert (before.pop("mode"), after.pop("mode")) == ("L", "RGB")
            assert before == after


def _by_pillow(data: bytes) -> dict[str, Any]:
    """What a reader without this project's code finds in a file, its pixels aside."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        exif = image.info.get("exif")
        return {
            "size": image.size,
            "mode": "RGB" if image.mode == "P" else image.mode,
            "exif": exif.removeprefix(b"Exif\0\0") if exif else None,
            "tags": dict(image.getexif()),
            "icc": image.info.get("icc_profile"),
            "xmp": image.info.get("xmp"),
            "alpha": image.getchannel("A").tobytes() if "A" in image.getbands() else None,
        }
