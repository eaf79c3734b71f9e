"""What formats hold beside EXIF, ICC profile and XMP: comments, IPTC, texts, resolution, and the tags of a TIFF."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, IptcImagePlugin, PngImagePlugin, TiffImagePlugin

from pipeline.photos import png
from pipeline.photos.decode import decode_photo
from pipeline.photos.encode import FORMATS, encode_photo, output_notes, read_back
from pipeline.photos.photo import Density, Extras, Photo
from pipeline.photos.photoshop import IPTC_PREVIEW_NOTE, PREVIEW_NOTE, without_previews

from .samples import EXIF, picture, png_chunk, saved, with_segment

SMALL = saved(picture(size=(16, 16)), "PNG")
IPTC = b"\x1c\x02\x78\x00\x05at se\x1c\x02\x19\x00\x03sea"


def resource(number: int, content: bytes, name: bytes = b"") -> bytes:
    named = bytes([len(name)]) + name
    padded = content + bytes(len(content) % 2)
    return b"8BIM" + struct.pack(">H", number) + named + bytes(len(named) % 2) + struct.pack(">I", len(content)) + padded


PHOTOSHOP = resource(0x0404, IPTC) + resource(0x03ED, bytes(16), b"odd")


def written(photo: Photo, format: str) -> Image.Image:  # noqa: A002
    data = encode_photo(photo, photo.pixels_HWC, format=format)
    read_back(data, photo, photo.pixels_HWC, format=format)
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def iptc_of(image: Image.Image) -> dict[tuple[int, int], Any]:
    """The records that Pillow finds; of a PNG in the text of ImageMagick, put into a JPEG."""
    if image.format == "PNG":
        block = bytes.fromhex("".join(image.info["Raw profile type iptc"].split()[2:]))
        image = Image.open(io.BytesIO(with_segment(saved(picture(), "JPEG"), 0xED, b"Photoshop 3.0\0" + block)))
    return IptcImagePlugin.getiptcinfo(image) or {}  # type: ignore[arg-type]


def test_a_jpeg_keeps_iptc_comments_and_density_where_the_format_has_a_place() -> None:
    data = saved(picture(), "JPEG", comment="\u00e9t\u00e9".encode(), dpi=(300, 240))
    photo = decode_photo(with_segment(data, 0xED, b"Photoshop 3.0\0" + PHOTOSHOP))
    assert photo.extras == Extras(PHOTOSHOP, ("\u00e9t\u00e9".encode(),), Density(300, 240, "inch"))
    jpeg, png, webp = (written(photo, name) for name in ("jpeg", "png", "webp"))
    for image in (jpeg, png):
        assert iptc_of(image) == {(2, 0x78): b"at se", (2, 0x19): b"sea"}
    assert (jpeg.info["comment"], jpeg.info["dpi"]) == ("\u00e9t\u00e9".encode(), (300, 240))
    assert (png.info["Comment"], png.info["dpi"]) == ("\u00e9t\u00e9", pytest.approx((300, 240), abs=0.01))
    assert set(webp.info) <= {"loop", "background", "timestamp", "duration"}
    assert [output_notes(photo, format=name) for name in ("jpeg", "png")] == [(), ()]
    assert [note.partition(" not kept")[0] for note in output_notes(photo, format="webp")] == ["IPTC", "comment", "resolution"]


def test_resources_of_more_than_a_segment_stay_whole() -> None:
    block = resource(0x03ED, bytes(range(256)) * 800)
    first, second = (
        with_segment(saved(picture(), "JPEG"), 0xED, b"Photoshop 3.0\0" + part) for part in (block[:9], block[9:65_000])
    )
    assert decode_photo(second).extras.photoshop is None  # it begins in the middle
    assert decode_photo(first).extras.photoshop is None
    photo = decode_photo(saved(picture(), "PNG"))
    large = Photo(photo.pixels_HWC, None, "PNG", extras=Extras(photoshop=block))
    for format in ("jpeg", "png"):  # noqa: A001
        assert decode_photo(encode_photo(large, large.pixels_HWC, format=format)).extras.photoshop == block


def test_pictures_in_the_resources_are_removed_with_a_note() -> None:
    assert without_previews(resource(0x040C, b"small") + PHOTOSHOP) == (PHOTOSHOP, (PREVIEW_NOTE,))
    assert without_previews(resource(0x0404, b"\x1c\x02\xca\0\2ab\0")) == (None, (IPTC_PREVIEW_NOTE,))
    assert without_previews(PHOTOSHOP + b"8BIM\x04\x0c\0\0\xff\xff\xff\xffsmall") == (PHOTOSHOP, ())
    photo = decode_photo(with_segment(saved(picture(), "JPEG"), 0xED, b"Photoshop 3.0\0" + resource(0x040C, b"smal")))
    assert (photo.extras.photoshop, photo.notes) == (None, (PREVIEW_NOTE,))


def texts() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "a title")
    info.add_text("Description", "the sea " * 90, zip=True)
    info.add_itxt("Author", "\u6d77", "ja", "author")
    info.add_text("Comment", "hello")
    return info


def test_a_png_keeps_its_texts_in_png_and_others_name_them() -> None:
    photo = decode_photo(saved(picture(), "PNG", pnginfo=texts(), dpi=(200, 200)))
    image = written(photo, "png")
    assert isinstance(image, PngImagePlugin.PngImageFile)
    assert dict(image.text) == {"Title": "a title", "Description": "the sea " * 90, "Author": "\u6d77", "Comment": "hello"}
    assert image.text["Author"].lang == "ja"  # type: ignore[union-attr]
    assert image.info["dpi"] == pytest.approx((200, 200), abs=0.02)
    assert (written(photo, "jpeg").info["comment"], written(photo, "jpeg").info["dpi"]) == (b"hello", (200, 200))
    assert output_notes(photo, format="jpeg") == ("PNG texts not kept: Title, Description, Author",)
    assert output_notes(photo, format="webp")[1] == "PNG texts not kept: Title, Description, Author"


def test_what_says_srgb_in_a_png_stays_in_a_png() -> None:
    info, blocks = PngImagePlugin.PngInfo(), {b"sRGB": b"\1", b"gAMA": (45455).to_bytes(4, "big")}
    for kind, content in blocks.items():
        info.add(kind, content)
    photo = decode_photo(saved(picture(), "PNG", pnginfo=info))
    assert (photo.png_colours, photo.extras.png_blocks) == (None, tuple(png_chunk(*block) for block in blocks.items()))
    assert (written(photo, "png").info["srgb"], output_notes(photo, format="webp")) == (1, ())


@pytest.mark.parametrize("title", ["exif", "EXIF profile", "generic profile"])
def test_a_block_in_a_png_text_is_read_whatever_its_title(title: str) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type APP1", f"\n{title}\n{len(EXIF):8}\n{EXIF.hex()}\n")
    info.add_text("Raw profile type iptc", f"\n{title}\n{len(IPTC):8}\n{IPTC.hex()}\n")
    photo = decode_photo(saved(picture(), "PNG", pnginfo=info))
    assert (photo.exif, photo.extras) == (EXIF[6:], Extras(resource(0x0404, IPTC)))


def test_a_tiff_keeps_its_words_its_iptc_and_its_photoshop_block() -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    words = {269: "roll 7", 285: "page", 315: "A. Person", 33432: "(c) A. Person", 18246: 4, 40091: b"t\0i\0"}
    for tag, value in words.items():
        tags[tag] = value
    tags[50_000] = b"x" * 40_000
    tags[0x83BB] = IPTC
    tags.tagtype[0x83BB] = 7
    photo = decode_photo(saved(picture(), "TIFF", tiffinfo=tags, dpi=(600, 600)))
    assert photo.notes[0].startswith("tags of the TIFF not kept")
    for format in FORMATS:  # noqa: A001
        exif = written(photo, format).getexif()
        assert {tag: exif.get(tag) for tag in words} == words
        assert exif[ExifTags.Base.XResolution] == 600
        assert not set(exif) & {256, 257, 258, 259, 262, 273, 278, 279, 50_000}
    assert iptc_of(written(photo, "png")) == {(2, 0x78): b"at se", (2, 0x19): b"sea"}
    tags[0x8649] = PHOTOSHOP
    assert decode_photo(saved(picture(), "TIFF", tiffinfo=tags)).extras.photoshop == PHOTOSHOP


def test_a_tag_of_a_tiff_that_exif_cannot_hold_is_named_and_the_photo_is_read() -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[50_001], tags[50_002] = 1 << 40, -5
    tags.tagtype[50_001], tags.tagtype[50_002] = 16, 9
    photo = decode_photo(saved(picture(), "TIFF", tiffinfo=tags))
    exif = Image.Exif()
    exif.load(photo.exif or b"")
    assert ({*exif} & {50_001, 50_002}, len(photo.notes)) == ({50_002}, 1)


def test_a_long_text_of_spaces_takes_no_time() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", " " * 8_000_000, zip=True)
    assert decode_photo(saved(picture(), "PNG", pnginfo=info)).exif is None


def test_iptc_that_a_tiff_declares_as_whole_numbers_is_read() -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[0x83BB] = IPTC.ljust(24, b"\0")
    tags.tagtype[0x83BB] = 7
    data = bytearray(saved(picture(), "TIFF", tiffinfo=tags))
    at = data.index(struct.pack("<HHI", 0x83BB, 7, 24))
    data[at : at + 8] = struct.pack("<HHI", 0x83BB, 4, 6)
    assert decode_photo(bytes(data)).extras.photoshop == resource(0x0404, IPTC.ljust(24, b"\0"))


def test_the_comment_and_the_xmp_of_a_gif_stay() -> None:
    data = saved(picture().quantize(16), "GIF", comment=b"hello")
    packet = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    at = data.index(b"\x21\xfe")
    trailer = bytes([1, *range(255, -1, -1), 0])
    photo = decode_photo(data[:at] + b"\x21\xff\x0bXMP DataXMP" + packet + trailer + data[at:])
    assert (photo.xmp, photo.extras) == (packet, Extras(comments=(b"hello",)))
    assert written(photo, "png").info["Comment"] == "hello"
    assert written(photo, "jpeg").info["comment"] == b"hello"
    assert written(photo, "webp").info["xmp"] == packet


def test_a_block_of_a_webp_that_is_not_known_is_named() -> None:
    data = saved(picture("RGBA"), "WEBP", exif=EXIF, xmp=b"<x/>")
    assert decode_photo(data).notes == ()
    data += b"C2PA" + struct.pack("<I", 3) + b"abc\0"
    assert decode_photo(data[:4] + struct.pack("<I", len(data) - 8) + data[8:]).notes == ("WebP blocks not kept: C2PA",)


def test_the_density_of_a_bmp_stays() -> None:
    photo = decode_photo(saved(picture(), "BMP", dpi=(150, 150)))
    assert photo.extras.density == Density(5906, 5906, "metre")
    assert written(photo, "jpeg").info["dpi"] == (150, 150)
    assert written(photo, "png").info["dpi"] == pytest.approx((150, 150), abs=0.02)


@pytest.mark.parametrize(
    ("unit", "numbers", "expected"),
    [(0, (1, 1), None), (1, (0, 0), None), (0, (2, 1), Density(2, 1, None)), (2, (118, 118), Density(118, 118, "centimetre"))],
)
def test_a_density_without_a_unit_is_the_shape_of_a_pixel(unit: int, numbers: tuple[int, int], expected: Density | None) -> None:
    jpeg = bytearray(saved(picture(), "JPEG"))
    jpeg[13:18] = struct.pack(">BHH", unit, *numbers)
    photo = decode_photo(bytes(jpeg))
    assert photo.extras.density == expected
    again = decode_photo(encode_photo(photo, photo.pixels_HWC, format="png"))
    assert decode_photo(encode_photo(again, again.pixels_HWC, format="jpeg")).extras.density == expected


@pytest.mark.parametrize("comment", [b"a\0b", b"x" * 70_000])
def test_a_comment_that_fits_one_format_alone_is_named_in_the_other(comment: bytes) -> None:
    photo = decode_photo(saved(picture(), "PNG"))
    photo = Photo(photo.pixels_HWC, None, "PNG", extras=Extras(comments=(comment,)))
    fits = "jpeg" if b"\0" in comment else "png"
    for format in FORMATS:  # noqa: A001
        again = decode_photo(encode_photo(photo, photo.pixels_HWC, format=format))
        assert again.extras.comments == ((comment,) if format == fits else ())
        assert any("comment not kept" in note for note in output_notes(photo, format=format)) == (format != fits)


_BYTES = st.binary(min_size=1, max_size=30)
_EXTRAS = st.builds(
    Extras,
    st.none() | st.lists(st.builds(resource, st.integers(0, 999), _BYTES, _BYTES), min_size=1).map(b"".join),
    st.lists(_BYTES).map(tuple),
    st.none() | st.builds(Density, *(st.integers(0, 2**32 - 1),) * 2, st.sampled_from(["metre", None])),
    st.lists(st.builds(lambda text: png_chunk(b"tEXt", b"Title" + text), _BYTES)).map(tuple),
)


@pytest.mark.parametrize("format", FORMATS)
@given(_EXTRAS)
def test_whatever_a_png_holds_can_be_written_and_read_back(format: str, extras: Extras) -> None:  # noqa: A002
    chunks = [*extras.png_blocks, png.profile_block("8bim", extras.photoshop or b"none")]
    chunks += [png_chunk(kind, b"Comment\0" + comment) for comment in extras.comments for kind in (b"tEXt", b"iTXt")]
    chunks += [png.density_block(extras.density)] if extras.density else []
    photo = decode_photo(png.with_blocks(b"".join(chunks), SMALL))
    read_back(encode_photo(photo, photo.pixels_HWC, format=format), photo, photo.pixels_HWC, format=format)


@pytest.mark.parametrize("endian", ["<", ">"])
def test_a_usual_resolution_or_one_that_the_exif_has_too_is_not_named(endian: str) -> None:
    exif = Image.Exif()
    exif.endian = endian
    exif[ExifTags.Base.XResolution] = 300.0
    for dpi, is_named in ((72, False), (300, False), (200, True)):
        photo = decode_photo(saved(picture(), "JPEG", dpi=(dpi, dpi), exif=exif))
        assert bool(output_notes(photo, format="webp")) == is_named


def test_the_text_of_a_profile_is_compressed_and_the_same_each_time() -> None:
    photo = Photo(
        decode_photo(saved(picture(), "PNG")).pixels_HWC, None, "PNG", extras=Extras(photoshop=resource(0x0404, IPTC * 400))
    )
    first, second = (encode_photo(photo, photo.pixels_HWC, format="png") for _ in range(2))
    assert first == second
    at = first.index(b"Raw profile type iptc\0\0") + 23
    assert zlib.decompress(first[at:]).startswith(b"\niptc\n")
