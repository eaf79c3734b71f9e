"""Encoding: what goes in is read back, by this project's reader and by Pillow alone."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image

from pipeline.photos.decode import decode_photo
from pipeline.photos.encode import FORMATS, GREY_AS_RGB_NOTE, ReadBackError, encode_photo, output_notes, read_back
from pipeline.photos.metadata import orientation_of
from pipeline.photos.photo import Photo, PhotoRefusedError

from .samples import EXIF, ICC, XMP, array, picture, saved

LOSSLESS = [name for name, spec in FORMATS.items() if spec.lossless]
# Hypothesis finds the marks of HDR photos in our own source and tries them: those photos are refused, which is tested elsewhere.
_BLOCKS = st.none() | st.binary(min_size=1, max_size=200).filter(
    lambda block: not any(m in block.lower() for m in (b"hdr", b"gain"))
)


@st.composite
def photos(draw: st.DrawFn) -> tuple[Photo, NDArray[np.uint8]]:
    height, width, channels = draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.sampled_from([1, 3]))
    pixels = draw(arrays(np.uint8, (height, width, channels)))
    alpha = draw(st.none() | arrays(np.uint8, (height, width)))
    exif = draw(st.none() | st.just(EXIF[6:]) | st.binary(min_size=7, max_size=200))
    exif = exif.removeprefix(b"Exif\0\0") if exif else None
    photo = Photo(pixels, alpha, "PNG", exif or None, draw(_BLOCKS), draw(_BLOCKS), orientation_of(exif or None))
    return photo, draw(arrays(np.uint8, pixels.shape))


@pytest.mark.parametrize("format", LOSSLESS)
@given(photos())
def test_a_lossless_file_decodes_to_the_very_same_photo(format: str, case: tuple[Photo, NDArray[np.uint8]]) -> None:  # noqa: A002
    photo, pixels = case
    data = encode_photo(photo, pixels, format=format)
    again = decode_photo(data, min_side=1)
    shown = again.pixels_HWC if FORMATS[format].grey or pixels.shape[2] == 3 else again.pixels_HWC[:, :, :1]
    assert np.array_equal(shown, pixels)
    assert (again.pixels_HWC == shown).all()
    opaque = np.full(pixels.shape[:2], 255, np.uint8)
    assert np.array_equal(
        opaque if again.alpha_HW is None else again.alpha_HW, opaque if photo.alpha_HW is None else photo.alpha_HW
    )
    assert (again.exif, again.icc, again.xmp, again.orientation) == (photo.exif, photo.icc, photo.xmp, photo.orientation)
    assert read_back(data, photo, pixels, format=format).mode == photo.mode


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_pillow_alone_finds_the_metadata_byte_by_byte(format: str, mode: str) -> None:  # noqa: A002
    photo = replace(decode_photo(saved(picture(mode), "PNG")), exif=EXIF[6:], icc=ICC, xmp=XMP, orientation=6)
    with Image.open(io.BytesIO(encode_photo(photo, photo.pixels_HWC, format=format))) as image:
        image.load()
        assert image.format == format.upper()
        assert image.info["exif"].removeprefix(b"Exif\0\0") == EXIF[6:]
        assert image.info["icc_profile"] == ICC
        assert image.info["xmp"] == XMP
        assert image.getexif()[0x0112] == 6
        assert image.mode == (mode if FORMATS[format].grey else "RGB")


def test_jpeg_is_written_without_chroma_subsampling_at_quality_95() -> None:
    photo = decode_photo(saved(picture(), "PNG"))
    with Image.open(io.BytesIO(encode_photo(photo, photo.pixels_HWC, format="jpeg"))) as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3  # type: ignore[attr-defined]
        at_95 = Image.open(io.BytesIO(saved(picture(), "JPEG", quality=95)))
        assert image.quantization == at_95.quantization  # type: ignore[attr-defined]


@pytest.mark.parametrize("quality", [94, 75, 101])
def test_a_jpeg_quality_that_undoes_the_protection_is_refused(quality: int) -> None:
    photo = decode_photo(saved(picture(), "PNG"))
    with pytest.raises(ValueError, match="95 to 100"):
        encode_photo(photo, photo.pixels_HWC, format="jpeg", jpeg_quality=quality)


def test_a_jpeg_cannot_hold_alpha_nor_much_metadata() -> None:
    photo = decode_photo(saved(picture("RGBA"), "PNG"))
    with pytest.raises(PhotoRefusedError, match="transparency"):
        encode_photo(photo, photo.pixels_HWC, format="jpeg")
    plain = replace(photo, alpha_HW=None)
    for large in (replace(plain, exif=b"x" * 70_000), replace(plain, xmp=b"x" * 70_000)):
        with pytest.raises(PhotoRefusedError, match="too large for JPEG"):
            encode_photo(large, large.pixels_HWC, format="jpeg")
        read_back(encode_photo(large, large.pixels_HWC, format="png"), large, large.pixels_HWC, format="png")


def test_the_largest_metadata_that_a_jpeg_holds_is_read_back() -> None:
    room = FORMATS["jpeg"].block
    photo = replace(decode_photo(saved(picture(), "PNG")), exif=EXIF[6:].ljust(room, b"\0"), xmp=XMP.ljust(room), orientation=6)
    data = encode_photo(photo, photo.pixels_HWC, format="jpeg")
    assert read_back(data, photo, photo.pixels_HWC, format="jpeg").format == "JPEG"


def test_a_photo_wider_than_webp_allows_is_refused() -> None:
    wide = decode_photo(saved(picture(size=(16_384, 16)), "PNG"))
    with pytest.raises(PhotoRefusedError, match="16383"):
        encode_photo(wide, wide.pixels_HWC, format="webp")


def test_a_photo_wider_than_png_allows_is_refused_without_advice_to_choose_png() -> None:
    wide = Photo(np.zeros((16, 1_000_001, 1), np.uint8), None, "TIFF")
    with pytest.raises(PhotoRefusedError, match=r"PNG holds at most 1000000 a side$"):
        encode_photo(wide, wide.pixels_HWC, format="png")
    as_wide = replace(wide, pixels_HWC=wide.pixels_HWC[:, :-1])
    read_back(encode_photo(as_wide, as_wide.pixels_HWC, format="png"), as_wide, as_wide.pixels_HWC, format="png")


def test_words_of_the_format_in_the_metadata_do_not_confuse_the_writer() -> None:
    marks = b"IDAT\0\0\0\rIHDR\0\0\0\0IEND"
    photo = replace(decode_photo(saved(picture("RGBA"), "PNG")), exif=EXIF[6:] + marks, icc=marks, xmp=marks, orientation=6)
    read_back(encode_photo(photo, photo.pixels_HWC, format="png"), photo, photo.pixels_HWC, format="png")


def test_invisible_colours_under_full_transparency_are_kept() -> None:
    photo = decode_photo(saved(picture("RGBA"), "PNG"))
    clear = replace(photo, alpha_HW=np.zeros_like(photo.alpha_HW))
    for format in LOSSLESS:  # noqa: A001
        again = decode_photo(encode_photo(clear, clear.pixels_HWC, format=format))
        assert np.array_equal(again.pixels_HWC, photo.pixels_HWC)


def test_only_webp_notes_that_grey_is_stored_as_rgb() -> None:
    grey, colour = (decode_photo(saved(picture(mode), "PNG")) for mode in ("L", "RGB"))
    assert [output_notes(grey, format=name) for name in FORMATS] == [(), (GREY_AS_RGB_NOTE,), ()]
    assert output_notes(colour, format="webp") == ()


def test_reading_back_names_every_part_that_differs() -> None:
    photo = replace(decode_photo(saved(picture("RGBA"), "PNG")), exif=EXIF[6:], icc=ICC, xmp=XMP, orientation=6)
    bare = saved(Image.fromarray(array(picture("RGB", seed=1))), "PNG")
    with pytest.raises(ReadBackError, match="another pixels, alpha, EXIF, ICC profile, XMP, orientation"):
        read_back(bare, photo, photo.pixels_HWC, format="png")
    with pytest.raises(ReadBackError, match="size or channels"):
        read_back(saved(picture(size=(24, 40)), "PNG"), photo, photo.pixels_HWC, format="jpeg")
    with pytest.raises(ReadBackError, match="does not read back: the file is empty"):
        read_back(b"", photo, photo.pixels_HWC, format="png")


def test_a_wrong_call_says_what_was_expected() -> None:
    photo = decode_photo(saved(picture(), "PNG"))
    with pytest.raises(ValueError, match="one of png, webp, jpeg"):
        encode_photo(photo, photo.pixels_HWC, format="gif")
    with pytest.raises(ValueError, match="uint8"):
        encode_photo(photo, photo.pixels_HWC[:, :-1], format="png")
    with pytest.raises(ValueError, match="uint8"):
        encode_photo(photo, photo.pixels_HWC.astype(np.float32), format="png")


def test_the_same_photo_gives_the_same_bytes() -> None:
    photo = decode_photo(saved(picture(), "PNG"))
    for format in FORMATS:  # noqa: A001
        assert len({encode_photo(photo, photo.pixels_HWC, format=format) for _ in range(3)}) == 1
