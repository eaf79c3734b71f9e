"""Decoding: what is read, and how palettes, transparent colours, further pictures and metadata come out."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from PIL import ExifTags, Image, PngImagePlugin, TiffImagePlugin

from pipeline.photos.decode import FIRST_ALONE_NOTE, decode_photo
from pipeline.photos.encode import FORMATS, encode_photo
from pipeline.photos.metadata import orientation_of

from .samples import EXIF, ICC, XMP, array, picture, png_file, saved, two_pictures, with_segment


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
def test_each_plain_mode_comes_out_as_pixels_and_alpha(mode: str) -> None:
    image = picture(mode)
    photo = decode_photo(saved(image, "PNG"))
    assert (photo.mode, photo.width, photo.height, photo.format, photo.notes) == (mode, 40, 24, "PNG", ())
    colours = 3 if mode.startswith("RGB") else 1
    planes = array(image).reshape(24, 40, -1)
    assert np.array_equal(photo.pixels_HWC, planes[:, :, :colours])
    alphas = [] if photo.alpha_HW is None else [photo.alpha_HW.tolist()]
    assert alphas == [planes[:, :, plane].tolist() for plane in range(colours, planes.shape[2])]


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_every_format_that_is_read_gives_the_pixels_that_pillow_gives(format: str) -> None:  # noqa: A002
    data = saved(picture(), format)
    photo = decode_photo(data)
    assert photo.format == format
    assert np.array_equal(photo.pixels_HWC, array(Image.open(io.BytesIO(data))))
    assert photo.pixels_HWC.flags.writeable


def test_a_palette_is_expanded_with_a_note() -> None:
    image = picture().quantize(16)
    for format in ("PNG", "GIF"):  # noqa: A001
        photo = decode_photo(saved(image, format))
        assert photo.notes == ("palette expanded to RGB",)
        assert np.array_equal(photo.pixels_HWC, array(image.convert("RGB")))


def test_a_palette_with_transparency_gives_alpha() -> None:
    image = picture().quantize(16)
    photo = decode_photo(saved(image, "PNG", transparency=bytes(range(0, 256, 16))))
    assert photo.mode == "RGBA"
    assert photo.alpha_HW is not None
    assert np.array_equal(photo.alpha_HW, array(image) * 16)


def test_a_transparent_colour_becomes_alpha_with_a_note() -> None:
    image = picture()
    colour = image.getpixel((7, 5))
    photo = decode_photo(saved(image, "PNG", transparency=colour))
    assert photo.mode == "RGBA"
    assert photo.notes == ("transparent colour turned into alpha",)
    assert np.array_equal(photo.alpha_HW == 0, (array(image) == colour).all(axis=2))
    assert np.array_equal(photo.pixels_HWC, array(image))


@pytest.mark.parametrize(("bits", "level"), [(1, 1), (2, 2), (4, 13), (8, 200)])
def test_a_transparent_grey_level_is_found_at_every_depth(bits: int, level: int) -> None:
    import zlib

    samples = np.full((16, 16), 0)
    samples[3:9, 2:5] = level
    packed = np.packbits(((samples[:, :, None] >> np.arange(bits - 1, -1, -1)) & 1).reshape(16, -1).astype(np.uint8), axis=1)
    rows = b"".join(b"\0" + row.tobytes() for row in packed)
    data = png_file((16, 16, bits, 0), (b"tRNS", bytes([0, level])), (b"IDAT", zlib.compress(rows)))
    photo = decode_photo(data)
    assert photo.mode == "LA"
    assert np.array_equal(photo.alpha_HW == 0, samples == level)
    assert np.array_equal(photo.pixels_HWC[:, :, 0], samples * (255 // (2**bits - 1)))


def test_a_one_bit_picture_becomes_grey_with_a_note() -> None:
    image = picture("L").convert("1")
    photo = decode_photo(saved(image, "PNG"))
    assert (photo.mode, photo.notes) == ("L", ("1-bit picture expanded to grey",))
    assert np.array_equal(photo.pixels_HWC[:, :, 0], array(image) * 255)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_metadata_is_read_byte_by_byte_in_every_format(format: str) -> None:  # noqa: A002
    options = {"exif": EXIF, "icc_profile": ICC}
    if format == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", XMP.decode())
        options["pnginfo"] = info  # type: ignore[assignment]
    else:
        options["xmp"] = XMP
    photo = decode_photo(saved(picture(), format, **options))
    assert (photo.exif, photo.icc, photo.xmp, photo.orientation) == (EXIF[6:], ICC, XMP, 6)


def test_an_icc_profile_of_more_than_a_megabyte_is_read() -> None:
    icc = np.random.default_rng(0).bytes(3_000_000)
    assert decode_photo(saved(picture(), "PNG", icc_profile=icc)).icc == icc


def test_exif_in_a_png_text_of_older_tools_is_found() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(EXIF):8}\n{EXIF.hex()}\n")
    photo = decode_photo(saved(picture(), "PNG", pnginfo=info))
    assert (photo.exif, photo.orientation, photo.notes) == (EXIF[6:], 6, ())


def test_a_tiff_comes_out_upright_with_its_descriptive_tags() -> None:
    image, tags = picture(), TiffImagePlugin.ImageFileDirectory_v2()
    tags[ExifTags.Base.Orientation], tags[ExifTags.Base.Artist] = 6, "A. Person"
    tags[ExifTags.IFD.Exif] = {0x9003: "2020:01:01 10:00:00"}
    data = saved(image, "TIFF", tiffinfo=tags, icc_profile=ICC)
    photo = decode_photo(data)
    assert np.array_equal(photo.pixels_HWC, np.rot90(array(image), -1))
    exif = Image.Exif()
    exif.load(photo.exif or b"")
    assert exif[ExifTags.Base.Artist] == "A. Person"
    assert exif.get_ifd(ExifTags.IFD.Exif)[0x9003] == "2020:01:01 10:00:00"
    assert (photo.orientation, ExifTags.Base.Orientation in exif, photo.icc) == (1, False, ICC)


@pytest.mark.parametrize("orientation", [*range(1, 9), 0, 9, 65535])
@pytest.mark.parametrize("endian", ["<", ">"])
def test_the_orientation_is_read_as_pillow_reads_it_or_is_upright(orientation: int, endian: str) -> None:
    exif = Image.Exif()
    exif.endian = endian
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Orientation], exif[ExifTags.Base.Artist] = "maker", orientation, "somebody"
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    assert block[:2] == (b"II" if endian == "<" else b"MM")
    assert orientation_of(block) == (orientation if 1 <= orientation <= 8 else 1)


@pytest.mark.parametrize("block", [None, b"", b"II", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff", b"nonsense"])
def test_a_senseless_exif_block_is_upright(block: bytes | None) -> None:
    assert orientation_of(block) == 1


def test_a_damaged_exif_block_does_not_stop_the_photo_and_warns_nobody() -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\x7f" + b"\x12\x01\x02\0\xff\xff\xff\x7f" * 3
    for format in ("JPEG", "PNG", "WEBP"):  # noqa: A001
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert decode_photo(saved(picture(), format, exif=exif)).exif == exif[6:]


@pytest.mark.parametrize("kind", [0x010001, 0x010002, 0x000000])
def test_the_preview_of_a_camera_or_a_picture_of_no_kind_is_left_behind_with_a_note(kind: int) -> None:
    data = two_pictures(kind=kind)
    assert Image.open(io.BytesIO(data)).format == "MPO"
    photo = decode_photo(data)
    assert photo.format == "MPO"
    assert len(photo.notes) == 1
    assert "bytes after the picture not kept" in photo.notes[0]


@pytest.mark.parametrize("kind", [0x020001, 0x020002, 0x020003])
def test_of_stereo_pictures_panoramas_and_series_the_first_is_taken_with_a_note(kind: int) -> None:
    photo = decode_photo(two_pictures(kind=kind))
    assert photo.notes[0] == FIRST_ALONE_NOTE
    assert np.array_equal(photo.pixels_HWC, array(Image.open(io.BytesIO(saved(picture(), "JPEG")))))
    for format in FORMATS:  # noqa: A001
        with Image.open(io.BytesIO(encode_photo(photo, photo.pixels_HWC, format=format))) as image:
            assert (image.format, getattr(image, "n_frames", 1)) == (format.upper(), 1)


def test_what_is_left_behind_is_named() -> None:
    jpeg = with_segment(saved(picture(), "JPEG"), 0xEC, b"Ducky\0\1\0\4")
    jpeg = with_segment(jpeg, 0xE1, b"http://ns.adobe.com/xmp/extension/\0")
    assert decode_photo(jpeg + b"video").notes == (
        "extended XMP not kept",
        "JPEG blocks not kept: APP12 Ducky",
        "5 bytes after the picture not kept (preview, further picture or video)",
    )
    info = PngImagePlugin.PngInfo()
    info.add(b"tIME", bytes([7, 226, 1, 1, 1, 1, 1]))
    assert decode_photo(saved(picture(), "PNG", pnginfo=info)).notes == ("PNG blocks not kept: tIME",)


def test_pillow_is_left_as_it_was_found() -> None:
    before = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, list(warnings.filters)
    decode_photo(saved(picture(), "PNG"), max_pixels=5000)
    assert (Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, list(warnings.filters)) == before
