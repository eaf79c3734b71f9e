"""A signed photo is told whichever way its pixels are stored: the shipped signals, all eight EXIF orientations, both directions."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipeline.containers.listing import PhotoRef
from pipeline.detection.options import DetectConfig
from pipeline.detection.row import DetectionRow
from pipeline.detection.stages import Detect, Picture, Sight, look
from pipeline.jobs.options import SHIPPED
from pipeline.photos.decode import decode_photo
from pipeline.photos.encode import encode_photo
from pipeline.signals.add import with_signal
from pipeline.signals.bundle import Bundle, read_bundle

WIDTH, HEIGHT = 300, 220
OFFSETS = (0.5, 3.0)
TAG = 0x0112
TO_STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How Pillow stores an upright picture so that its tag turns it back."""


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return read_bundle(SHIPPED)


@pytest.fixture(scope="module")
def detect() -> Detect:
    return Detect(DetectConfig("in", signals=SHIPPED), OFFSETS)


@pytest.fixture(scope="module")
def upright() -> Image.Image:
    """A gradient with noise: nothing in it is the same turned or mirrored."""
    rng = np.random.default_rng(0)
    y_HW, x_HW = np.mgrid[:HEIGHT, :WIDTH]
    gradient_HWC = np.stack([x_HW / WIDTH, y_HW / HEIGHT, (x_HW + 2 * y_HW) / (WIDTH + 2 * HEIGHT)], 2)
    noise_HWC = rng.normal(size=(HEIGHT, WIDTH, 3))
    return Image.fromarray((60 + 120 * gradient_HWC + 6 * noise_HWC).clip(0, 255).astype(np.uint8))


def stored(upright: Image.Image, orientation: int) -> bytes:
    """A PNG file with the pixels turned by Pillow and the tag that turns them back."""
    turn, exif, file = TO_STORED[orientation], Image.Exif(), io.BytesIO()
    exif[TAG] = orientation
    (upright if turn is None else upright.transpose(turn)).save(file, "PNG", exif=exif)
    return file.getvalue()


def signed(data: bytes, bundle: Bundle) -> bytes:
    """The file with a signal, as a run of protect writes it."""
    photo = decode_photo(data)
    return encode_photo(photo, with_signal(photo, bundle, OFFSETS), format="png")


def told(files: list[bytes], detect: Detect, bundle: Bundle) -> list[DetectionRow]:
    sight = Sight(bundle.size, bundle.smallest, 10**6)
    pictures = [Picture(PhotoRef(f"{i}.png", "", len(data)), data) for i, data in enumerate(files)]
    return detect(look(pictures, sight))


def test_a_signed_photo_is_told_whichever_way_its_pixels_are_stored(upright: Image.Image, bundle: Bundle, detect: Detect) -> None:
    plain = decode_photo(signed(stored(upright, 1), bundle)).pixels_HWC
    files = []
    for orientation in TO_STORED:
        tagged = signed(stored(upright, orientation), bundle)
        with Image.open(io.BytesIO(tagged)) as image:
            assert image.getexif()[TAG] == orientation
            shown = ImageOps.exif_transpose(image)
        assert shown is not None
        assert np.array_equal(np.asarray(shown), plain), "the signal lies over the photo as it is shown"
        turned_later = stored(Image.fromarray(plain), orientation)
        files += [tagged, turned_later]
    rows = told(files, detect, bundle)
    assert [(row.carries, row.decision) for row in rows] == [(True, "untouched")] * 16
    assert len({(row.likeness, row.width, row.height) for row in rows}) == 1


def test_a_photo_that_was_turned_or_cropped_without_a_tag_is_found_and_one_that_was_never_signed_carries_nothing(
    upright: Image.Image, bundle: Bundle, detect: Detect
) -> None:
    plain = Image.fromarray(decode_photo(signed(stored(upright, 1), bundle)).pixels_HWC)
    changed = [plain.transpose(turn) for turn in TO_STORED.values() if turn is not None]
    changed += [plain.crop((20, 10, WIDTH - 10, HEIGHT - 12))]
    never, *rows = told([stored(upright, 1), *(stored(picture, 1) for picture in changed)], detect, bundle)
    assert (never.carries, never.decision) == (False, "no signal")
    assert [row.carries for row in rows] == [True] * len(changed)
    assert all(row.fit is not None and row.fit > 0.8 for row in rows)
