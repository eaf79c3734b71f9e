"""EXIF, ICC profile and XMP of an opened picture, as bytes that every output format can carry."""

from __future__ import annotations

import binascii
from dataclasses import dataclass

from PIL import ExifTags, Image

from pipeline.photos.xmp import orientation_of_xmp, without_wrong_parts

EXIF_PREFIX = b"Exif\0\0"

_ORIENTATION = 0x0112
_THUMBNAIL_AT, _THUMBNAIL_SIZE = 0x0201, 0x0202
THUMBNAIL_NOTE = "thumbnail in the EXIF removed"
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
    """The three blocks, None where the file has none, and notes on what was left out; `exif` starts at its TIFF header."""

    exif: bytes | None
    icc: bytes | None
    xmp: bytes | None
    notes: tuple[str, ...] = ()


def read_metadata(image: Image.Image) -> Metadata:
    """The metadata of a picture that Pillow has loaded: a PNG may hold some after its pixels. For a TIFF's EXIF see `tiff_exif`."""
    exif = image.info.get("exif") or _raw_profile(image, "exif") or _raw_profile(image, "APP1")
    xmp = image.info.get("xmp") or _raw_profile(image, "xmp")
    if isinstance(xmp, tuple):  # a TIFF tag stored as numbers
        xmp = bytes(xmp)
    exif = exif if isinstance(exif, bytes) else b""
    while exif.startswith(EXIF_PREFIX):  # some programs write it twice
        exif = exif.removeprefix(EXIF_PREFIX)
    bare = without_thumbnail(exif)
    xmp, notes = without_wrong_parts(xmp) if isinstance(xmp, bytes) and xmp else (None, ())
    notes += (THUMBNAIL_NOTE,) if bare != exif else ()
    return Metadata(bare or None, image.info.get("icc_profile") or None, xmp, notes)


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


def orientation_of(exif: bytes | None, xmp: bytes | None = None) -> int:
    """The orientation tag of an EXIF block, 1..8, or that of the XMP where the EXIF has none; 1 (upright) without both.

    A number that makes no sense counts as 1. Never raises.
    """
    ifd = _Ifd.first(exif or b"")
    value = ifd.get(_ORIENTATION) if ifd else None
    if value is None:
        return orientation_of_xmp(xmp) if xmp else 1
    return value if 1 <= value <= 8 else 1


def without_thumbnail(exif: bytes) -> bytes:
    """The EXIF block without its second directory, which holds a small picture of the photo as it was; all else stays in place.

    The bytes of the small picture become zeros, or go where they end the block.
    """
    first = _Ifd.first(exif)
    second = first.next() if first else None
    if first is None or second is None:
        return exif
    bare = bytearray(exif)
    bare[first.end : first.end + 4] = bytes(4)
    start, size = second.get(_THUMBNAIL_AT), second.get(_THUMBNAIL_SIZE)
    if start and size and exif[start : start + 2] == b"\xff\xd8":
        stop = min(start + size, len(exif))
        bare[start:stop] = bytes(stop - start)
        if stop == len(exif):
            del bare[start:]
    return bytes(bare)


@dataclass(frozen=True)
class _Ifd:
    """A directory of tags in an EXIF block: where it starts."""

    exif: bytes
    start: int

    @classmethod
    def first(cls, exif: bytes) -> _Ifd | None:
        return cls(exif, 4).next(at=4) if exif[:4] in {b"II*\0", b"MM\0*"} else None

    @property
    def end(self) -> int:
        """Where the address of the next directory stands."""
        return self.start + 2 + 12 * self._number(self.start, 2)

    def next(self, at: int | None = None) -> _Ifd | None:
        start = self._number(self.end if at is None else at, 4)
        return _Ifd(self.exif, start) if 8 <= start <= len(self.exif) - 2 else None

    def get(self, tag: int) -> int | None:
        """The number of a SHORT or LONG tag, None where there is none."""
        for entry in range(self.start + 2, min(self.end, len(self.exif) - 11), 12):
            if self._number(entry, 2) == tag:
                return self._number(entry + 8, 4 if self._number(entry + 2, 2) == 4 else 2)
        return None

    def _number(self, at: int, size: int) -> int:
        return int.from_bytes(self.exif[at : at + size], "little" if self.exif[:2] == b"II" else "big")


def _raw_profile(image: Image.Image, name: str) -> bytes | None:
    """A block that older tools (ImageMagick) hide in a PNG text as hexadecimal digits after a name and a length."""
    text = image.info.get(f"Raw profile type {name}")
    if not isinstance(text, str):
        return None
    try:
        return binascii.unhexlify("".join(text.split()[2:]))
    except (binascii.Error, ValueError):
        return None
