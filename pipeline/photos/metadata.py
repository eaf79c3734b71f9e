"""EXIF, ICC profile and XMP of an opened picture, as bytes that every output format can carry."""

from __future__ import annotations

import binascii
from dataclasses import dataclass

from PIL import ExifTags, Image

EXIF_PREFIX = b"Exif\0\0"

_ORIENTATION = 0x0112
_KEPT_FROM_TIFF = (
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.XResolution,
    ExifTags.Base.YResolution,
    ExifTags.Base.ResolutionUnit,
    ExifTags.Base.Software,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.HostComputer,
    ExifTags.Base.Copyright,
)


@dataclass(frozen=True)
class Metadata:
    """The three blocks, None where the file has none; `exif` starts at its TIFF header."""

    exif: bytes | None
    icc: bytes | None
    xmp: bytes | None


def read_metadata(image: Image.Image) -> Metadata:
    """The metadata of a picture that Pillow has loaded: a PNG may hold some after its pixels. For a TIFF's EXIF see `tiff_exif`."""
    exif = image.info.get("exif") or _raw_profile(image, "exif") or _raw_profile(image, "APP1")
    xmp = image.info.get("xmp") or _raw_profile(image, "xmp")
    if isinstance(xmp, tuple):  # a TIFF tag stored as numbers
        xmp = bytes(xmp)
    exif = exif.removeprefix(EXIF_PREFIX) if isinstance(exif, bytes) else None
    return Metadata(exif or None, image.info.get("icc_profile") or None, xmp if isinstance(xmp, bytes) and xmp else None)


def tiff_exif(image: Image.Image) -> bytes | None:
    """The descriptive tags of a TIFF, its EXIF and its GPS tags as an EXIF block, without the orientation.

    Pillow turns TIFFs upright when it loads them. A TIFF mixes these tags with the layout of its pixels, so they cannot be taken
    over byte by byte. Call before the pixels load.
    """
    source, kept = image.getexif(), Image.Exif()
    for tag in _KEPT_FROM_TIFF:
        if tag in source:
            kept[tag] = source[tag]
    for ifd in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        if values := source.get_ifd(ifd):
            kept[ifd] = values
    return kept.tobytes().removeprefix(EXIF_PREFIX) if len(kept) else None


def orientation_of(exif: bytes | None) -> int:
    """The orientation tag of an EXIF block, 1..8; 1 (upright) when there is none or it makes no sense. Never raises."""
    if exif is None or exif[:4] not in {b"II*\0", b"MM\0*"}:
        return 1
    order = "little" if exif[:2] == b"II" else "big"

    def number(at: int, size: int) -> int:
        return int.from_bytes(exif[at : at + size], order)  # type: ignore[arg-type]

    start = number(4, 4)
    for entry in range(start + 2, min(start + 2 + 12 * number(start, 2), len(exif) - 11), 12):
        if number(entry, 2) == _ORIENTATION:
            value = number(entry + 8, 4 if number(entry + 2, 2) == 4 else 2)  # LONG or SHORT
            return value if 1 <= value <= 8 else 1
    return 1


def _raw_profile(image: Image.Image, name: str) -> bytes | None:
    """A block that older tools (ImageMagick) hide in a PNG text as hexadecimal digits after a name and a length."""
    text = image.info.get(f"Raw profile type {name}")
    if not isinstance(text, str):
        return None
    try:
        return binascii.unhexlify("".join(text.split()[2:]))
    except (binascii.Error, ValueError):
        return None
