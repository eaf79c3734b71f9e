"""Files written for photos that need nothing dropped: their bytes are those recorded before phones' photos were read."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from pipeline.photos.decode import decode_photo
from pipeline.photos.encode import encode_photo

from .samples import EXIF, ICC, XMP, picture, saved

SOURCES = {
    "rgb": saved(picture(), "PNG", exif=EXIF, icc_profile=ICC),
    "grey": saved(picture("L"), "PNG"),
    "alpha": saved(picture("RGBA"), "WEBP", lossless=True, exif=EXIF, xmp=XMP),
    "jpeg": saved(picture(), "JPEG", exif=EXIF, icc_profile=ICC, xmp=XMP),
    "tiff": saved(picture(), "TIFF", icc_profile=ICC),
}
RECORDED = {
    ("rgb", "png"): "f265c216767c78f7",
    ("rgb", "webp"): "0556a426abecf936",
    ("rgb", "jpeg"): "f1c76dcc991ce08f",
    ("grey", "png"): "0a7b61594c5425e2",
    ("grey", "webp"): "a8708609d4948cdc",
    ("grey", "jpeg"): "c42d9be46652a0f3",
    ("alpha", "png"): "4322422da68ecc04",
    ("alpha", "webp"): "4e52a5e5720540c4",
    ("jpeg", "png"): "c0efd64b7f44f966",
    ("jpeg", "webp"): "058e5c0bfa6a301d",
    ("jpeg", "jpeg"): "736fb3e40b2ddcc6",
    ("tiff", "png"): "cb6c4b597c737dd1",
    ("tiff", "webp"): "4a6974fa28814b56",
    ("tiff", "jpeg"): "f773a120a3f163b3",
}


@pytest.mark.parametrize(("source", "format"), RECORDED)
def test_the_bytes_are_those_recorded(source: str, format: str) -> None:  # noqa: A002
    photo = decode_photo(SOURCES[source])
    data = encode_photo(photo, photo.pixels_HWC ^ np.uint8(1), format=format)
    assert hashlib.sha256(data).hexdigest()[:16] == RECORDED[source, format]
