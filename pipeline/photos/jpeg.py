"""What the JPEG decoder does not tell: where the picture ends, gain maps, further pictures, and blocks that are left behind."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.photos.photo import Density, PhotoBrokenError, PhotoRefusedError

SIGNATURE = b"\xff\xd8\xff"
MOST_SCANS = 100
"""Scans of a picture. Encoders make about ten; each is decoded over all pixels, so thousands in a small file take minutes."""
CUT_SHORT = "the file is cut short: the end of the JPEG is missing"

_MARKER = re.compile(rb"\xff+([^\x00\xff])")
_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_END, _SCAN = 0xD9, 0xDA
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_LOSSLESS = {0xC3, 0xC7, 0xCB, 0xCF}
_GAIN_MAP = re.compile(rb"hdr-gain-map|hdrgainmap|HDRGainMap|urn:iso:std:iso:ts:21496")
_COMMENT, _APP0, _APP1, _APP2, _APP11, _APP13, _APP14 = 0xFE, 0xE0, 0xE1, 0xE2, 0xEB, 0xED, 0xEE
_PHOTOSHOP, _JFIF = b"Photoshop 3.0\0", b"JFIF\0"
_UNITS: tuple[Literal["inch", "centimetre"] | None, ...] = (None, "inch", "centimetre")
_READ = (
    *(
        (_APP0, _JFIF),
        (_APP1, b"Exif\0"),
        (_APP1, b"http://ns.adobe.com/xap/1.0/\0"),
        (_APP1, b"http://ns.adobe.com/xmp/extension/"),
    ),
    *((_APP2, b"ICC_PROFILE\0"), (_APP2, b"MPF\0"), (_APP2, b"urn:iso:std:iso:ts:21496"), (_APP13, _PHOTOSHOP), (_APP14, b"Adobe")),
)
"""Blocks whose content is kept, named in a note of its own, or only says how pixels are coded."""
LARGEST_SEGMENT = 65_533


@dataclass(frozen=True)
class JpegLayout:
    """The first picture of a JPEG file: its segments (marker, content), bits per sample, components, and where it ends in bytes."""

    segments: tuple[tuple[int, bytes], ...]
    bits: int
    components: int
    lossless: bool
    end: int


def read_layout(data: bytes) -> JpegLayout:
    """The layout of the first picture in a JPEG file. Raises PhotoBrokenError when the file ends before the picture does.

    Raises PhotoRefusedError for a picture of more than MOST_SCANS scans.
    """
    segments: list[tuple[int, bytes]] = []
    scans, bits, components, lossless, at = 0, 8, 0, False, 2
    while match := _MARKER.search(data, at):
        marker, at = match[1][0], match.end()
        if marker == _END:
            return JpegLayout(tuple(segments), bits, components, lossless, at)
        if marker in _ALONE:
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        if length < 2 or at + length > len(data):
            break
        content = data[at + 2 : at + length]
        at += length
        scans += marker == _SCAN
        if scans > MOST_SCANS:
            raise PhotoRefusedError(
                f"more than {MOST_SCANS} scans, which take long to decode; save the photo again as an ordinary JPEG"
            )
        if marker in _FRAMES and len(content) > 5:
            bits, components, lossless = content[0], content[5], marker in _LOSSLESS
        elif marker >= 0xE0:
            segments.append((marker, content))
    raise PhotoBrokenError(CUT_SHORT)


def has_gain_map(layout: JpegLayout, data: bytes) -> bool:
    """Whether the file holds an HDR gain map: Adobe and Ultra HDR, Apple, or ISO 21496-1, in its header or a further picture."""
    headers = (content for marker, content in layout.segments if marker in {_APP1, _APP2})
    return any(_GAIN_MAP.search(content) for content in headers) or _GAIN_MAP.search(data, layout.end) is not None


def with_scan_prolonged(data: bytes, layout: JpegLayout) -> bytes:
    """The same picture with made-up bytes before its end mark: they change no pixel, unless pixel data is missing."""
    made_up = bytes((37 * i * i + 11 * i + 5) % 255 for i in range(4096))  # never 0xff, so never a marker
    return data[: layout.end - 2] + made_up + data[layout.end - 2 : layout.end]


def left_behind(layout: JpegLayout, data: bytes) -> tuple[str, ...]:
    """What this file holds that no encoded photo will: extended XMP, credentials, blocks of rare kinds, data after the picture."""
    signs = {
        "extended XMP not kept": (_APP1, b"http://ns.adobe.com/xmp/extension/"),
        "content credentials (C2PA) not kept": (_APP11, b"c2pa"),
    }
    notes = [note for note, (wanted, sign) in signs.items() if any(m == wanted and sign in c for m, c in layout.segments)]
    others = dict.fromkeys(_name(*one) for one in layout.segments if not _is_read(*one))
    if others:
        notes.append(f"JPEG blocks not kept: {', '.join(others)}")
    after = len(data[layout.end :].strip(b"\0"))
    if after:
        notes.append(f"{after} bytes after the picture not kept (preview, further picture or video)")
    return tuple(notes)


def header_segments(data: bytes) -> tuple[tuple[int, bytes], ...]:
    """The segments (marker, content) before the first scan of a sound JPEG file."""
    segments, at = [], 2
    while (match := _MARKER.search(data, at)) and match[1][0] not in {_SCAN, _END}:
        marker, at = match[1][0], match.end()
        if marker not in _ALONE:
            length = int.from_bytes(data[at : at + 2], "big")
            segments.append((marker, data[at + 2 : at + length]))
            at += length
    return tuple(segments)


def comments(segments: Sequence[tuple[int, bytes]]) -> tuple[bytes, ...]:
    """The comments, without the zeros that end some."""
    return tuple(bare for marker, content in segments if marker == _COMMENT and (bare := content.rstrip(b"\0")))


def photoshop(segments: Sequence[tuple[int, bytes]]) -> bytes:
    """The resources of Photoshop, put together where they take several segments."""
    return b"".join(c.removeprefix(_PHOTOSHOP) for marker, c in segments if marker == _APP13 and c.startswith(_PHOTOSHOP))


def density(segments: Sequence[tuple[int, bytes]]) -> Density | None:
    """What the JFIF block says; None without one, or with one of zeros or equal numbers without a unit."""
    found = next((c for marker, c in segments if marker == _APP0 and c.startswith(_JFIF) and len(c) >= 12), bytes(12))
    unit, across, down = found[7], int.from_bytes(found[8:10], "big"), int.from_bytes(found[10:12], "big")
    if not (across and down) or unit >= len(_UNITS) or (unit == 0 and across == down):
        return None
    return Density(across, down, _UNITS[unit])


def with_extras(data: bytes, photoshop: bytes | None, comments: Sequence[bytes], density: Density | None) -> bytes:
    """A JPEG that begins with a JFIF block, with these resources, comments (at most LARGEST_SEGMENT bytes each) and density.

    Raises ValueError for a density in metres.
    """
    if density:
        stated = bytes((_UNITS.index(density.unit),)) + density.across.to_bytes(2, "big") + density.down.to_bytes(2, "big")
        data = data[:13] + stated + data[18:]
    step = LARGEST_SEGMENT - len(_PHOTOSHOP)
    block = photoshop or b""
    segments = [_segment(_APP13, _PHOTOSHOP + block[at : at + step]) for at in range(0, len(block), step)]
    segments += [_segment(_COMMENT, comment) for comment in comments]
    at = 2
    while 0xE0 <= data[at + 1] <= 0xEF:
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return data[:at] + b"".join(segments) + data[at:]


def _segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2, "big") + content


def _is_read(marker: int, content: bytes) -> bool:
    if marker == _COMMENT or (marker == _APP11 and b"c2pa" in content):
        return True
    return marker > 0xEF or any(marker == wanted and content.startswith(sign) for wanted, sign in _READ)


def _name(marker: int, content: bytes) -> str:
    """APP12 Ducky: the number of the block, and the letters and digits it begins with."""
    word = re.match(rb"[\w./ -]*", content[:24])
    return f"APP{marker - 0xE0} {word[0].decode('ascii', 'replace').strip() if word else ''}".rstrip()
