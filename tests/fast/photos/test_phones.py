"""Photos of phones: gain maps, HEIC and AVIF, Display P3, thumbnails, and the orientation by one rule."""

from __future__ import annotations

import io
import struct
import sys

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from pipeline.images.orientation import to_upright
from pipeline.photos import png
from pipeline.photos.decode import decode_photo
from pipeline.photos.encode import encode_photo, read_back
from pipeline.photos.heif import GAIN_MAP_NOTE
from pipeline.photos.metadata import THUMBNAIL_NOTE, without_thumbnail
from pipeline.photos.photo import PhotoRefusedError

from .samples import EXIF, ICC, array, picture, png_chunk, saved, with_segment

XMP_HEAD = b"http://ns.adobe.com/xap/1.0/\0"
PHONE_XMP = (
    b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:Description xmlns:hdrgm='http://ns.adobe.com/hdr-gain-map/1.0/'"
    b" xmlns:C='http://ns.google.com/photos/1.0/container/' xmlns:Item='http://ns.google.com/photos/1.0/container/item/'"
    b" xmlns:GCamera='http://ns.google.com/photos/1.0/camera/' GCamera:MotionPhoto='1' hdrgm:Version=\"1.0\" dc:title='sea'>"
    b"<C:Directory><rdf:Seq><rdf:li><C:Item Item:Semantic='GainMap'/></rdf:li></rdf:Seq></C:Directory>"
    b"</rdf:Description></x:xmpmeta>"
)
BARE_XMP = (
    b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:Description xmlns:GCamera='http://ns.google.com/photos/1.0/camera/' dc:title='sea'>"
    b"</rdf:Description></x:xmpmeta>"
)
APPLE = with_segment(saved(picture("L"), "JPEG"), 0xE1, XMP_HEAD + b"<x HDRGainMap:HDRGainMapVersion='65536'/>")
P3 = {"cICP": bytes([12, 13, 0, 1]), "cHRM": struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)}


@pytest.mark.parametrize(
    ("data", "xmp"),
    [
        (with_segment(saved(picture(), "JPEG"), 0xE1, XMP_HEAD + PHONE_XMP) + saved(picture("L"), "JPEG"), BARE_XMP),
        (with_segment(saved(picture(), "JPEG"), 0xE2, b"urn:iso:std:iso:ts:21496:-1\0\0\0\0\0"), None),
        (saved(picture(), "JPEG") + APPLE, None),
    ],
)
def test_of_a_photo_with_a_gain_map_the_picture_is_kept_and_nothing_tells_of_the_map(data: bytes, xmp: bytes | None) -> None:
    photo = decode_photo(data)
    assert np.array_equal(photo.pixels_HWC, array(picture_as_jpeg()))
    assert GAIN_MAP_NOTE in photo.notes
    assert photo.xmp == xmp
    for format in ("png", "webp", "jpeg"):  # noqa: A001
        written = encode_photo(photo, photo.pixels_HWC, format=format)
        assert b"hdr-gain-map" not in written
        read_back(written, photo, photo.pixels_HWC, format=format)


def picture_as_jpeg() -> Image.Image:
    return Image.open(io.BytesIO(saved(picture(), "JPEG")))


def test_a_motion_photo_does_not_say_that_it_moves() -> None:
    xmp = b"<d xmlns:G='http://ns.google.com/photos/1.0/camera/' G:MotionPhoto=\"1\" G:MicroVideoOffset='9' G:Burst='x'/>"
    photo = decode_photo(with_segment(saved(picture(), "JPEG"), 0xE1, XMP_HEAD + xmp) + b"\0\0\0\x18ftypmp42")
    assert photo.xmp == b"<d xmlns:G='http://ns.google.com/photos/1.0/camera/' G:Burst='x'/>"
    assert len(photo.notes) == 2  # the video, and what the XMP said of it


def test_heic_comes_out_upright_with_its_metadata() -> None:
    stored = picture(size=(64, 48))
    data = heic(stored, exif=EXIF, icc_profile=ICC)
    photo = decode_photo(data)
    assert (photo.format, photo.mode, photo.width, photo.height, photo.orientation, photo.notes) == ("HEIF", "RGB", 48, 64, 1, ())
    turned = to_upright(array(stored), 6).astype(int)
    assert np.abs(photo.pixels_HWC.astype(int) - turned).mean() < 6  # a lossy format
    assert photo.icc == ICC
    assert photo.exif is not None
    assert photo.exif.endswith(b"maker note")
    for format in ("png", "webp", "jpeg"):  # noqa: A001
        read_back(encode_photo(photo, photo.pixels_HWC, format=format), photo, photo.pixels_HWC, format=format)


def test_avif_keeps_pixels_orientation_and_profile() -> None:
    photo = decode_photo(saved(picture(size=(64, 48)), "AVIF", exif=EXIF, icc_profile=ICC, quality=100, subsampling="4:4:4"))
    assert (photo.format, photo.width, photo.height, photo.orientation, photo.icc) == ("AVIF", 64, 48, 6, ICC)
    assert np.abs(photo.pixels_HWC.astype(int) - array(picture(size=(64, 48)))).max() < 8


def heic(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, quality=95, chroma=444, **options)
    return file.getvalue()


def test_heic_of_10_bits_in_wide_colours_cut_short_or_without_its_extra_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    deep = io.BytesIO()
    pillow_heif.from_bytes("RGB;16", (32, 32), bytes(32 * 32 * 6)).save(deep)
    with pytest.raises(PhotoRefusedError, match="8 bits"):
        decode_photo(deep.getvalue())
    for code, word in ((b"\0\x0c\0\x0d", "profile"), (b"\0\x09\0\x10", "HDR")):
        at = (data := heic(picture(size=(64, 48)))).index(b"colrnclx") + 8
        with pytest.raises(PhotoRefusedError, match=word):
            decode_photo(data[:at] + code + data[at + 4 :])
    with pytest.raises(Exception, match=r"damaged|cut short"):
        decode_photo(data[: len(data) // 2])
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(PhotoRefusedError, match=r"disrupt\[heic\]"):
        decode_photo(data)


@pytest.mark.parametrize("kind", P3)
def test_display_p3_without_a_profile_stays_in_png_and_is_refused_elsewhere(kind: str) -> None:
    plain = saved(picture(), "PNG")
    blocks = png_chunk(kind.encode(), P3[kind]) + (png_chunk(b"gAMA", struct.pack(">I", 45455)) if kind == "cHRM" else b"")
    photo = decode_photo(plain[:33] + blocks + plain[33:])
    written = encode_photo(photo, photo.pixels_HWC, format="png")
    assert written[33 : 33 + len(blocks)] == blocks
    read_back(written, photo, photo.pixels_HWC, format="png")
    for format in ("webp", "jpeg"):  # noqa: A001
        with pytest.raises(PhotoRefusedError, match="choose png"):
            encode_photo(photo, photo.pixels_HWC, format=format)


def test_png_colours_that_say_srgb_or_that_a_profile_overrides_are_not_repeated() -> None:
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", (45455).to_bytes(4, "big"))
    assert decode_photo(saved(picture(), "PNG", pnginfo=info)).png_colours is None
    info.add(b"cHRM", P3["cHRM"])
    assert decode_photo(saved(picture(), "PNG", pnginfo=info, icc_profile=ICC)).png_colours is None


@pytest.mark.parametrize("length", [8, 36])
def test_a_colour_chunk_of_a_wrong_length_says_nothing(length: int) -> None:
    plain = saved(picture(), "PNG")
    block = png_chunk(b"cHRM", struct.pack(">8I", *range(1, 9))[:length].ljust(length, b"\1"))
    assert png.colours(png.read_chunks(plain[:33] + block + plain[33:])) is None


def with_thumbnail(small: bytes) -> bytes:
    first = b"II*\0\x08\0\0\0" + b"\x01\0" + struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0) + struct.pack("<I", 26)
    tags = struct.pack("<HHII", 0x0201, 4, 1, 56) + struct.pack("<HHII", 0x0202, 4, 1, len(small))
    return first + b"\x02\0" + tags + b"\0\0\0\0" + small


@pytest.mark.parametrize("after", [b"", b"maker note"])
def test_the_thumbnail_in_the_exif_is_removed_and_the_tags_stay(after: bytes) -> None:
    small = saved(picture(size=(16, 16)), "JPEG")
    exif = with_thumbnail(small) + after
    photo = decode_photo(saved(picture(), "JPEG", exif=b"Exif\0\0" + exif))
    assert photo.exif is not None
    assert small[:20] not in photo.exif
    assert photo.exif.endswith(after)
    assert (photo.orientation, photo.notes, without_thumbnail(photo.exif)) == (6, (THUMBNAIL_NOTE,), photo.exif)
    with Image.open(io.BytesIO(encode_photo(photo, photo.pixels_HWC, format="png"))) as image:
        assert dict(image.getexif()) == {0x0112: 6}


UPRIGHT = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 0x0112, 3, 1, 1, 0) + b"\0\0\0\0"
AS_ATTRIBUTE, AS_ELEMENT = b"<d xmlns:tiff='t' tiff:Orientation=\"6\"/>", b"<d><tiff:Orientation>8</tiff:Orientation></d>"


@pytest.mark.parametrize(
    ("exif", "xmp", "orientation"),
    [
        (b"Exif\0\0" + EXIF, None, 6),
        (b"", AS_ATTRIBUTE, 6),
        (b"", AS_ELEMENT, 8),
        (b"Exif\0\0" + UPRIGHT, AS_ATTRIBUTE, 1),
        (EXIF, AS_ELEMENT, 6),
        (b"", b"<d tiff:Orientation='9'/>", 1),
    ],
)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_the_orientation_is_that_of_the_exif_else_of_the_xmp(
    format: str,  # noqa: A002
    exif: bytes,
    xmp: bytes | None,
    orientation: int,
) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", (xmp or b"").decode())
    options = {"pnginfo": info} if format == "PNG" and xmp else {"xmp": xmp} if xmp else {}
    data = saved(picture(), format, exif=exif, **options)
    photo = decode_photo(data)
    assert photo.orientation == orientation
    written = encode_photo(photo, photo.pixels_HWC, format="png")
    read_back(written, photo, photo.pixels_HWC, format="png")
    if orientation != 1 or b"9" not in (xmp or b""):  # Pillow turns what others show
        with Image.open(io.BytesIO(written)) as image:
            assert np.array_equal(array(ImageOps.exif_transpose(image)), to_upright(photo.pixels_HWC, orientation))


def test_a_tiff_that_was_turned_says_so_in_its_xmp_too() -> None:
    data = saved(picture(), "TIFF", tiffinfo={0x0112: 6, 700: AS_ATTRIBUTE})
    photo = decode_photo(data)
    assert (photo.width, photo.orientation) == (24, 1)
    assert b'tiff:Orientation="6"' not in (photo.xmp or b"")
    read_back(encode_photo(photo, photo.pixels_HWC, format="png"), photo, photo.pixels_HWC, format="png")
