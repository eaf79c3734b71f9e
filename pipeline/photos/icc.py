"""ICC profiles for grey, and what stands for them where grey is stored as three equal channels."""

from __future__ import annotations

import struct

GREY_PROFILE_NOTE = "ICC profile for grey rewritten for three equal channels"
NO_GREY_NOTE = "ICC profile not kept: it is for grey, and the picture has colours"

_HEADER, _D50 = 128, (63190, 65536, 54061)  # the white of all profiles, in 1/65536 (ICC.1:2022, 7.2.16)
_RED, _GREEN = (28579, 14582, 913), (25236, 46981, 6364)  # sRGB's; blue is what is left of the white
_CURVE = b"kTRC"
_TAKEN_OVER = (b"desc", b"cprt", b"wtpt", b"chad")


def is_for_grey(icc: bytes) -> bool:
    """Whether a profile describes one channel of grey."""
    return icc[16:20] == b"GRAY"


def for_three_channels(icc: bytes) -> bytes | None:
    """A profile for RGB under which three equal channels look as the same grey does under ``icc``; None where none is known.

    A grey profile is one curve, whose value is a share of white (ICC.1:2022, F.2). Here red, green and blue each have this curve,
    and their colours add up to white. Profiles with tables in place of a curve, or of lightness, are not known here.
    """
    tags = _tags(icc)
    if not is_for_grey(icc) or icc[20:24] != b"XYZ " or _CURVE not in tags:
        return None
    blue = tuple(white - red - green for white, red, green in zip(_D50, _RED, _GREEN, strict=True))
    new = {name: tags[name] for name in _TAKEN_OVER if name in tags}
    new |= {name: _xyz(value) for name, value in ((b"rXYZ", _RED), (b"gXYZ", _GREEN), (b"bXYZ", blue))}
    return _profile(icc, new | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), tags[_CURVE]))


def _tags(icc: bytes) -> dict[bytes, bytes]:
    """The content of each tag; none where the table makes no sense."""
    count = int.from_bytes(icc[_HEADER : _HEADER + 4], "big")
    if len(icc) < _HEADER + 4 + 12 * count:
        return {}
    entries = struct.iter_unpack(">4sII", icc[_HEADER + 4 : _HEADER + 4 + 12 * count])
    return {name: icc[at : at + size] for name, at, size in entries if at + size <= len(icc)}


def _xyz(value: tuple[int, ...]) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *value)


def _profile(like: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A display profile for RGB with the other facts of the header of ``like``; equal contents are stored once."""
    places: dict[bytes, int] = {}
    table, body, begin = struct.pack(">I", len(tags)), b"", _HEADER + 4 + 12 * len(tags)
    for name, content in tags.items():
        if content not in places:
            places[content] = begin + len(body)
            body += content + bytes(-len(content) % 4)
        table += struct.pack(">4sII", name, places[content], len(content))
    header = bytearray(like[:_HEADER])
    header[:4] = (begin + len(body)).to_bytes(4, "big")
    header[12:20] = b"mntrRGB "
    header[84:100] = bytes(16)  # the checksum of the profile as it was
    return bytes(header) + table + body
