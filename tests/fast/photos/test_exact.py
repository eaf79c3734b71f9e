"""Photos of every kind of pixel that is read: the file written shows what Pillow shows of the input, alpha bit by bit."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from pipeline.photos.decode import decode_photo
from pipeline.photos.encode import FORMATS, GREY_AS_RGB_NOTE, encode_photo, output_notes, read_back
from pipeline.photos.icc import GREY_PROFILE_NOTE, NO_GREY_NOTE, for_three_channels
from pipeline.photos.photo import PhotoRefusedError

from .samples import array, picture, saved

GREY, COLOURS, PALETTE = picture("L"), picture(), picture().quantize(16)
KINDS: dict[str, Callable[[], bytes]] = {
    "a palette": lambda: saved(PALETTE, "PNG"),
    "a palette of 2 bits": lambda: saved(picture().quantize(4), "PNG", bits=2),
    "a palette with alpha": lambda: saved(PALETTE, "PNG", transparency=bytes(range(0, 256, 16))),
    "a palette with alpha for its first colours": lambda: saved(PALETTE, "PNG", transparency=bytes([0, 128, 200])),
    "a palette with one transparent colour": lambda: saved(PALETTE, "PNG", transparency=5),
    "1 bit": lambda: saved(GREY.convert("1"), "PNG"),
    "1 bit with transparent white": lambda: saved(GREY.convert("1"), "PNG", transparency=1),
    "grey with a transparent level": lambda: saved(GREY, "PNG", transparency=GREY.getpixel((5, 5))),
    "grey with alpha": lambda: saved(picture("LA"), "PNG"),
    "a transparent colour": lambda: saved(COLOURS, "PNG", transparency=COLOURS.getpixel((7, 5))),
    "a GIF": lambda: saved(PALETTE, "GIF"),
    "a transparent GIF": lambda: saved(PALETTE, "GIF", transparency=3),
    "a grey GIF": lambda: saved(GREY, "GIF"),
    "a transparent grey GIF": lambda: saved(GREY, "GIF", transparency=GREY.getpixel((5, 5))),
    "a GIF of 1 bit": lambda: saved(GREY.convert("1"), "GIF"),
    "a TIFF of 1 bit, as faxes": lambda: saved(GREY.convert("1"), "TIFF", compression="group4"),
    "a grey TIFF with white as 0": lambda: saved(GREY, "TIFF", tiffinfo={262: 0}),
    "a TIFF with a palette": lambda: saved(PALETTE, "TIFF", compression="tiff_lzw"),
    "a TIFF with palette and alpha": lambda: saved(picture("RGBA").convert("PA"), "TIFF"),
    "a TIFF of grey and alpha": lambda: saved(picture("LA"), "TIFF"),
    "a TIFF with alpha": lambda: saved(picture("RGBA"), "TIFF", compression="tiff_lzw"),
    "a WebP with alpha": lambda: saved(picture("RGBA"), "WEBP", lossless=True, exact=True),
}


def shown(data: bytes) -> NDArray[np.uint8]:
    return array(Image.open(io.BytesIO(data)).convert("RGBA"))


@pytest.mark.parametrize("format", [name for name, spec in FORMATS.items() if spec.lossless])
@pytest.mark.parametrize("kind", KINDS)
def test_a_photo_is_written_as_pillow_shows_it_and_its_alpha_stays(kind: str, format: str) -> None:  # noqa: A002
    data = KINDS[kind]()
    photo = decode_photo(data)
    assert np.array_equal(shown(encode_photo(photo, photo.pixels_HWC, format=format)), shown(data))
    changed = np.where(photo.pixels_HWC < 128, photo.pixels_HWC + 6, photo.pixels_HWC - 6)
    written = encode_photo(photo, changed, format=format)
    read_back(written, photo, changed, format=format)
    assert np.array_equal(shown(written)[:, :, 3], shown(data)[:, :, 3])
    assert np.abs(shown(written).astype(int) - shown(data))[:, :, :3].max() == 6


def grey_profile(curve: bytes, *, pcs: bytes = b"XYZ ", version: int = 2) -> bytes:
    """A profile for grey by hand: header, name, white and one curve (ICC.1:2022, 8.3.4)."""
    words = b"text\0\0\0\0nobody\0".ljust(16, b"\0")
    name = (b"desc\0\0\0\0" + struct.pack(">I", 5) + b"grey\0").ljust(96, b"\0")
    tags = {b"desc": name, b"cprt": words, b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061), b"kTRC": curve}
    table, body = struct.pack(">I", len(tags)), b""
    for tag, content in tags.items():
        table += struct.pack(">4sII", tag, 132 + 12 * len(tags) + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    size = 132 + 12 * len(tags) + len(body)
    header = struct.pack(">I4sB3x4s4s4s", size, b"test", version, b"mntr", b"GRAY", pcs).ljust(36, b"\0") + b"acsp"
    return header.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061) + bytes(48) + table + body


GAMMA = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(1.4 * 256))
CURVES = {
    "a gamma": (GAMMA, 2),
    "a table": (b"curv\0\0\0\0" + struct.pack(">I5H", 5, 0, 9000, 25000, 50000, 65535), 2),
    "a formula": (b"para\0\0\0\0" + struct.pack(">HHi", 0, 0, round(2.6 * 65536)), 4),
}


def in_srgb(data: bytes) -> NDArray[np.uint8]:
    """What a program that manages colours shows of a file (Little CMS)."""
    image = Image.open(io.BytesIO(data))
    profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
    srgb, exact = ImageCms.createProfile("sRGB"), ImageCms.Flags.NOOPTIMIZE  # else its shadows of grey are 5 levels off
    return array(ImageCms.profileToProfile(image, profile, srgb, outputMode="RGB", flags=exact))  # type: ignore[arg-type]


@pytest.mark.parametrize("curve", CURVES)
def test_grey_with_a_profile_looks_the_same_in_every_format(curve: str) -> None:
    icc = grey_profile(CURVES[curve][0], version=CURVES[curve][1])
    data = saved(Image.linear_gradient("L").resize((40, 64)), "PNG", icc_profile=icc)
    photo = decode_photo(data)
    assert (photo.mode, photo.icc) == ("L", icc)
    wanted = in_srgb(data)
    assert np.abs(wanted.astype(int) - array(Image.open(io.BytesIO(data)))[:, :, None]).max() > 9  # the profile means something
    for format in FORMATS:  # noqa: A001
        written = encode_photo(photo, photo.pixels_HWC, format=format)
        read_back(written, photo, photo.pixels_HWC, format=format)
        with Image.open(io.BytesIO(written)) as image:
            assert (image.info["icc_profile"][16:20], image.mode) == ((b"RGB ", "RGB") if format == "webp" else (b"GRAY", "L"))
        assert np.abs(in_srgb(written).astype(int) - wanted).max() <= (2 if format == "jpeg" else 1)
        assert output_notes(photo, format=format) == ((GREY_AS_RGB_NOTE, GREY_PROFILE_NOTE) if format == "webp" else ())


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)])
def test_the_profile_for_three_channels_has_the_colours_of_srgb(colour: tuple[int, int, int]) -> None:
    icc = for_three_channels(grey_profile(GAMMA))
    shown = in_srgb(saved(Image.new("RGB", (16, 16), colour), "PNG", icc_profile=icc))
    assert np.abs(shown[0, 0].astype(int) - colour).max() <= 1


@pytest.mark.parametrize("icc", [grey_profile(GAMMA, pcs=b"Lab "), grey_profile(GAMMA)[:180], b"GRAY".rjust(20, b"\0") + b"XYZ "])
def test_grey_with_a_profile_that_has_no_counterpart_is_refused_for_webp_alone(icc: bytes) -> None:
    photo = decode_photo(saved(GREY, "PNG", icc_profile=icc))
    assert for_three_channels(icc) is None
    with pytest.raises(PhotoRefusedError, match="choose png"):
        encode_photo(photo, photo.pixels_HWC, format="webp")
    for format in ("png", "jpeg"):  # noqa: A001
        read_back(encode_photo(photo, photo.pixels_HWC, format=format), photo, photo.pixels_HWC, format=format)


@pytest.mark.parametrize("image", [PALETTE, COLOURS])
def test_a_profile_for_grey_on_colours_is_left_out_with_a_note(image: Image.Image) -> None:
    photo = decode_photo(saved(image, "PNG", icc_profile=grey_profile(GAMMA)))
    assert photo.icc is None
    assert photo.notes[-1] == NO_GREY_NOTE
