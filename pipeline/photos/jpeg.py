"""What the JPEG decoder does not tell: where the picture ends, gain maps, further pictures, and blocks that are left behind."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.photos.photo import PhotoBrokenError, PhotoRefusedError

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
_COMMENT, _APP1, _APP2, _APP11, _APP13 = 0xFE, 0xE1, 0xE2, 0xEB, 0xED


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
    """What this file holds that an encoded photo will not: IPTC, extended XMP, a comment, credentials, data after the picture."""
    signs = {
        "IPTC block not kept": (_APP13, b"8BIM\x04\x04"),
        "extended XMP not kept": (_APP1, b"http://ns.adobe.com/xmp/extension/"),
        "JPEG comment not kept": (_COMMENT, b""),
        "content credentials (C2PA) not kept": (_APP11, b"c2pa"),
    }
    notes = [note for note, (wanted, sign) in signs.items() if any(m == wanted and sign in c for m, c in layout.segments)]
    after = len(data[layout.end :].strip(b"\0"))
    if after:
        notes.append(f"{after} bytes after the picture not kept (preview, further picture or video)")
    return tuple(notes)
