"""EXIF, ICC profile and XMP of an opened picture, as bytes that every output format can carry."""

from __future__ import annotations

import binascii
import struct
from dataclasses import dataclass

from PIL import ExifTags, Image, TiffTags

from pipeline.photos.xmp import orientation_of_xmp, without_wrong_parts

EXIF_PREFIX = b"Exif\0\0"

_ORIENTATION = 0x0112
_THUMBNAIL_AT, _THUMBNAIL_SIZE = 0x0201, 0x0202
THUMBNAIL_NOTE = "thumbnail in the EXIF removed"
_LAYOUT_OF_TIFF = frozenset(
    {*range(254, 260), 262, 263, 264, 265, 266, 273, 274, *range(277, 282), 284, *range(288, 294), 297, 301, 317, *range(320, 348)}
    | {*range(512, 522), 529, 530, 531, 532, 559, 700, 0x8649, 0x83BB, 0x8773, 0x8769, 0x8825, 0xA005}
)
"""Tags of a TIFF that say how its pixels are stored, or hold what is read elsewhere (XMP, Photoshop, IPTC, ICC, EXIF, GPS)."""
_TYPE_SIZES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
"""Bytes of a value by its type (TIFF 6.0, section 2); all others have one."""
_LARGEST_TAG = 1 << 15
"""Bytes or numbers of a tag of a TIFF that is kept. Larger ones hold layers and previews."""


@dataclass(frozen=True)
class Metadata:
    """The three blocks, None where the file has none, and notes on what was left out; `exif` starts at its TIFF header."""

    exif: bytes | None
    icc: bytes | None
    xmp: bytes | None
    notes: tuple[str, ...] = ()


def read_metadata(image: Image.Image, xmp: bytes | tuple[int, ...] | None = None) -> Metadata:
    """The metadata of a picture that Pillow has loaded: a PNG may hold some after its pixels. For a TIFF's EXIF see `tiff_exif`.

    ``xmp`` is that of a format of which Pillow reads none.
    """
    exif = image.info.get("exif") or raw_profile(image, "exif") or raw_profile(image, "APP1")
    xmp = xmp or image.info.get("xmp") or raw_profile(image, "xmp")
    if isinstance(xmp, tuple):  # a TIFF tag stored as numbers
        xmp = bytes(xmp)
    exif = exif if isinstance(exif, bytes) else b""
    while exif.startswith(EXIF_PREFIX):  # some programs write it twice
        exif = exif.removeprefix(EXIF_PREFIX)
    bare = without_thumbnail(exif)
    xmp, notes = without_wrong_parts(xmp) if isinstance(xmp, bytes) and xmp else (None, ())
    notes += (THUMBNAIL_NOTE,) if bare != exif else ()
    return Metadata(bare or None, image.info.get("icc_profile") or None, xmp, notes)


def tiff_exif(image: Image.Image) -> tuple[bytes | None, tuple[str, ...]]:
    """The descriptive tags of a TIFF, its EXIF and its GPS tags as an EXIF block, without the orientation; and notes.

    Pillow turns TIFFs upright when it loads them. A TIFF mixes these tags with the layout of its pixels, so they cannot be taken
    over byte by byte. Call before the pixels load.
    """
    source, kept, left_out = image.getexif(), Image.Exif(), []
    for tag, value in source.items():
        if tag in _LAYOUT_OF_TIFF:
            continue
        is_large = isinstance(value, (str, bytes, tuple)) and len(value) > _LARGEST_TAG
        if is_large or not _can_be_written(tag, value):
            left_out.append(TiffTags.lookup(tag).name)
        else:
            kept[tag] = value
    for ifd in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        if values := source.get_ifd(ifd):
            kept[ifd] = values
    notes = (f"tags of the TIFF not kept: {', '.join(left_out)}",) if left_out else ()
    return kept.tobytes().removeprefix(EXIF_PREFIX) if len(kept) else None, notes


def _can_be_written(tag: int, value: object) -> bool:
    """Whether Pillow finds a type for a value, which some private tags have none for outside a BigTIFF."""
    one = Image.Exif()
    one[tag] = value
    try:
        return bool(one.tobytes())
    except (struct.error, TypeError, ValueError, ArithmeticError, RuntimeError):
        return False


def orientation_of(exif: bytes | None, xmp: bytes | None = None) -> int:
    """The orientation tag of an EXIF block, 1..8, or that of the XMP where the EXIF has none; 1 (upright) without both.

    A number that makes no sense counts as 1. Never raises.
    """
    ifd = _Ifd.first(exif or b"")
    value = ifd.get(_ORIENTATION) if ifd else None
    if value is None:
        return orientation_of_xmp(xmp) if xmp else 1
    return value if 1 <= value <= 8 else 1


def tiff_content(data: bytes, tag: int) -> bytes:
    """The bytes of a tag in the first directory of a TIFF file or EXIF block; none where it has none. BigTIFF has none here."""
    ifd = _Ifd.first(data)
    return ifd.content(tag) if ifd else b""


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

    def content(self, tag: int) -> bytes:
        """The bytes of a tag, of whatever type it is declared; none where there is none or it lies outside."""
        for entry in range(self.start + 2, min(self.end, len(self.exif) - 11), 12):
            if self._number(entry, 2) == tag:
                size = _TYPE_SIZES.get(self._number(entry + 2, 2), 1) * self._number(entry + 4, 4)
                at = entry + 8 if size <= 4 else self._number(entry + 8, 4)
                return self.exif[at : at + size] if at + size <= len(self.exif) else b""
        return b""

    def _number(self, at: int, size: int) -> int:
        return int.from_bytes(self.exif[at : at + size], "little" if self.exif[:2] == b"II" else "big")


def raw_profile(image: Image.Image, name: str) -> bytes | None:
    """A block that older tools (ImageMagick) hide in a PNG text: a line with a title, a length, and hexadecimal digits."""
    text = image.info.get(f"Raw profile type {name}")
    if not isinstance(text, str):
        return None
    _, _, rest = text.lstrip().partition("\n")
    try:
        return binascii.unhexlify("".join(rest.split()[1:])) or None
    except (binascii.Error, ValueError):
        return None
