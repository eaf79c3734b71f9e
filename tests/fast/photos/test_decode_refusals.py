"""Decoding: each file that is refused or broken says so in words, and no damage whatever escapes as another error."""

from __future__ import annotations

import io
import re
import sys
import threading
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from pipeline.photos import jpeg, png
from pipeline.photos.decode import decode_photo
from pipeline.photos.photo import PhotoBrokenError, PhotoRefusedError

from .samples import EXIF, ICC, array, picture, png_chunk, png_file, saved

JPEG, PNG, WEBP = (saved(picture(), name, exif=EXIF, icc_profile=ICC) for name in ("JPEG", "PNG", "WEBP"))
FILES = {
    "jpeg": JPEG,
    "progressive": saved(picture(), "JPEG", progressive=True),
    "png": PNG,
    "palette": saved(picture().quantize(16), "PNG"),
    "webp": WEBP,
    "lossless": saved(picture("RGBA"), "WEBP", lossless=True),
    "tiff": saved(picture(), "TIFF"),
    "lzw": saved(picture(), "TIFF", compression="tiff_lzw"),
    "bmp": saved(picture(), "BMP"),
    "gif": saved(picture().quantize(16), "GIF"),
}


def _refused(data: bytes, **limits: int) -> str:
    with pytest.raises(PhotoRefusedError) as caught:
        decode_photo(data, **limits)
    return str(caught.value)


def _broken(data: bytes) -> str:
    with pytest.raises(PhotoBrokenError) as caught:
        decode_photo(data)
    return str(caught.value)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_several_frames_or_pages_are_refused(format: str) -> None:  # noqa: A002
    data = saved(picture(), format, save_all=True, append_images=[picture(seed=1), picture(seed=2)])
    assert ("3 pages" if format == "TIFF" else "animated (3 frames)") in _refused(data)


@pytest.mark.parametrize(("mode", "format", "word"), [("CMYK", "JPEG", "CMYK"), ("CMYK", "TIFF", "CMYK"), ("LAB", "TIFF", "Lab")])
def test_colours_for_print_are_refused(mode: str, format: str, word: str) -> None:  # noqa: A002
    assert word in _refused(saved(picture(mode), format))


@pytest.mark.parametrize("mode", ["I;16", "F", "I"])
def test_more_than_8_bits_are_refused_in_tiff(mode: str) -> None:
    image = Image.fromarray(np.zeros((20, 20), {"I;16": np.uint16, "F": np.float32, "I": np.int32}[mode]))
    assert ("floating-point" if mode == "F" else "bits per channel") in _refused(saved(image, "TIFF"))


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_16_bits_are_refused_in_png_even_where_pillow_would_open_8(colour_type: int, channels: int) -> None:
    rows = (b"\0" + bytes(20 * channels * 2)) * 20
    data = png_file((20, 20, 16, colour_type), (b"IDAT", zlib.compress(rows)))
    assert "16 bits per channel" in _refused(data)


def test_a_16_bit_rgb_tiff_is_refused() -> None:
    data = bytearray(saved(picture(), "TIFF"))
    with Image.open(io.BytesIO(data)) as image:
        assert image.tag_v2[0x0102] == (8, 8, 8)  # type: ignore[attr-defined]
    at = data.index(b"\x08\0\x08\0\x08\0")
    data[at : at + 6] = b"\x10\0\x10\0\x10\0"
    assert "16 bits per channel" in _refused(bytes(data) + bytes(40 * 24 * 3))


def test_hdr_colours_in_png_are_refused() -> None:
    end = PNG.index(b"IDAT") - 4
    assert "HDR" in _refused(PNG[:end] + png_chunk(b"cICP", bytes([9, 16, 0, 1])) + PNG[end:])


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"\0\0\0\x0cJXL " + bytes(40), "JPEG XL"),
        (b"\0\0\0\x18ftypcrx " + bytes(40), "raw"),
        (b"II*\0\x10\0\0\0CR\x02\0" + bytes(40), "raw"),
        (b"8BPS\0\x01" + bytes(40), "Photoshop"),
    ],
)
def test_photos_of_formats_that_are_not_read_are_refused_with_the_way_out(data: bytes, word: str) -> None:
    reason = _refused(data)
    assert word in reason
    assert "export" in reason


def test_a_raw_file_that_looks_like_a_tiff_is_refused() -> None:
    assert "raw" in _refused(saved(picture(), "TIFF", tiffinfo={0x00FE: 1}))
    assert "raw" in _refused(saved(picture(), "TIFF", tiffinfo={0xC612: b"\x01\x04\0\0"}))


def test_too_small_and_too_thin_photos_are_refused_in_every_format() -> None:
    for format in ("PNG", "JPEG", "WEBP", "BMP"):  # noqa: A001
        assert "too small: 200 x 3 pixels" in _refused(saved(picture(size=(200, 3)), format))
        assert decode_photo(saved(picture(size=(200, 3)), format), min_side=3).height == 3


@pytest.mark.parametrize("name", [name for name in FILES if name != "palette"])
def test_a_photo_above_the_limit_is_refused_before_it_is_decoded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    for limit in (40 * 24 - 1, 40 * 24 // 2 - 1):  # the second is beyond twice the limit, where Pillow raises by itself
        assert "too large" in _refused(FILES[name], max_pixels=limit)


def test_a_header_that_claims_a_huge_picture_is_refused_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "60000 x 60000" in _refused(png_file((60_000, 60_000, 8, 2), (b"IDAT", b"")))
        assert "too large" in _refused(png_file((10_000, 10_001, 8, 2), (b"IDAT", b"")))
        size = JPEG.index(b"\xff\xc0") + 5
        assert "too large" in _refused(JPEG[:size] + b"\x27\x11\x27\x10" + JPEG[size + 4 :])


def test_an_empty_file_and_a_text_are_broken() -> None:
    assert _broken(b"") == "the file is empty"
    assert "not an image" in _broken(b"this is a text, not a picture")
    assert "not an image" in _broken(b"\0" * 1000)


@pytest.mark.parametrize("kind", [b"IHDR", b"IDAT", b"PLTE"])
def test_a_wrong_checksum_in_a_png_is_broken(kind: bytes) -> None:
    data = bytearray(FILES["palette"])
    at = data.index(kind)
    data[at + 4 + int.from_bytes(data[at - 4 : at], "big")] ^= 1
    assert "checksum" in _broken(bytes(data))


@pytest.mark.parametrize("name", FILES)
@given(st.data())
def test_a_file_cut_anywhere_is_broken_or_whole(name: str, data: st.DataObject) -> None:
    whole = FILES[name]
    cut = data.draw(st.integers(1, len(whole) - 1))
    try:
        photo = decode_photo(whole[:cut])
    except (PhotoBrokenError, PhotoRefusedError):
        return
    assert name in {"tiff", "lzw", "gif", "bmp"}, "the end mark is missing"
    assert np.array_equal(photo.pixels_HWC, decode_photo(whole).pixels_HWC)


@pytest.mark.parametrize("name", FILES)
@given(st.data())
def test_damage_anywhere_ends_as_a_photo_or_as_one_of_the_two_errors(name: str, data: st.DataObject) -> None:
    damaged = bytearray(FILES[name])
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            decode_photo(bytes(damaged), max_pixels=1_000_000)
        except (PhotoBrokenError, PhotoRefusedError) as error:
            assert str(error)


@pytest.mark.parametrize("name", ["jpeg", "progressive", "png", "webp", "lossless", "tiff", "bmp"])
def test_a_file_without_its_last_bytes_is_called_cut_short(name: str) -> None:
    for missing in (60, 200):
        assert "cut short" in _broken(FILES[name][:-missing])


def test_a_jpeg_with_its_end_mark_but_half_of_its_pixels_is_broken() -> None:
    whole = saved(picture(size=(160, 160)), "JPEG", quality=95)
    assert "lower part" in _broken(whole[: len(whole) * 2 // 3] + b"\xff\xd9")


def test_a_jpeg_that_is_grey_at_the_end_is_no_broken_one() -> None:
    grey = Image.new("RGB", (64, 64), (128, 128, 128))
    assert decode_photo(saved(grey, "JPEG")).width == 64
    assert decode_photo(saved(grey, "JPEG", progressive=True)).width == 64


@pytest.mark.parametrize("missing", [1, 13, 21, 200, 210])
def test_a_png_with_pixels_missing_is_broken_although_its_checksums_are_right(missing: int) -> None:
    rows = (b"\0" + b"\x05" * 20) * 20
    assert decode_photo(png_file((20, 20, 8, 0), (b"IDAT", zlib.compress(rows)))).pixels_HWC.min() == 5
    assert "cut short" in _broken(png_file((20, 20, 8, 0), (b"IDAT", zlib.compress(rows[:-missing]))))


@pytest.mark.parametrize("missing", [1, 13, 21, 200, 210])
def test_an_interlaced_png_with_pixels_missing_is_broken(missing: int) -> None:
    sizes = [(3, 3), (2, 3), (5, 2), (5, 5), (10, 5), (10, 10), (20, 10)]  # the seven passes of 20 x 20, by the PNG specification
    rows = b"".join((b"\0" + b"\x05" * width) * height for width, height in sizes)
    whole, cut = (png_file((20, 20, 8, 0), (b"IDAT", zlib.compress(part))) for part in (rows, rows[:-missing]))
    header = whole[16:28] + b"\x01"
    interlaced = whole[:16] + header + zlib.crc32(b"IHDR" + header).to_bytes(4, "big")
    assert decode_photo(interlaced + whole[33:]).pixels_HWC.min() == 5
    assert "cut short" in _broken(interlaced + cut[33:])


def test_a_png_that_is_black_at_the_end_is_no_broken_one() -> None:
    black = np.zeros((33, 21, 3), np.uint8)
    assert decode_photo(saved(Image.fromarray(black), "PNG")).height == 33


def test_a_text_that_unpacks_to_much_does_not_fill_the_memory() -> None:
    bomb = b"Title\0\0" + zlib.compress(bytes(40 * 2**20), 9)
    end = PNG.index(b"IDAT") - 4
    assert "damaged" in _broken(PNG[:end] + png_chunk(b"zTXt", bomb) + PNG[end:])


def test_threads_do_not_disturb_each_other() -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    results: list[bool] = []

    def work(seed: int) -> None:
        image = picture(seed=seed)
        for _ in range(20):
            results.append(np.array_equal(decode_photo(saved(image, "PNG"), max_pixels=1000).pixels_HWC, array(image)))

    before = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, list(warnings.filters)
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(interval)
    assert results == [True] * 80
    assert (Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, list(warnings.filters)) == before


def test_a_jpeg_of_thousands_of_scans_is_refused_before_it_is_decoded() -> None:
    data = saved(picture(), "JPEG", progressive=True)
    scans = [found.start() for found in re.finditer(rb"\xff\xda", data)]
    last = data[scans[-1] : -2]
    again = [data[:-2] + last * (count - len(scans)) + data[-2:] for count in (jpeg.MOST_SCANS, jpeg.MOST_SCANS + 1, 20_000)]
    assert decode_photo(again[0]).width == 40
    for many in again[1:]:
        assert "more than 100 scans" in _refused(many)


def test_a_png_of_very_many_chunks_is_refused_before_they_are_read() -> None:
    most = png.MOST_CHUNKS - len(png.read_chunks(PNG)) - 1
    before_the_end = PNG[:-12]
    fits = before_the_end + png_chunk(b"teSt", b"") * most + PNG[-12:]
    assert np.array_equal(decode_photo(fits).pixels_HWC, decode_photo(PNG).pixels_HWC)
    assert "chunks in the PNG" in _refused(before_the_end + png_chunk(b"teSt", b"") * (most + 1) + PNG[-12:])
