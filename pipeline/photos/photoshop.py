"""Resources of Photoshop, one of which holds the IPTC records of a photo: in JPEG and TIFF as they are, in PNG as a text."""

from __future__ import annotations

from collections.abc import Iterator

PREVIEW_NOTE = "thumbnail in the Photoshop block removed"
IPTC_PREVIEW_NOTE = "IPTC not kept: it holds a preview"

_SIGN, _IPTC = b"8BIM", 0x0404
_PICTURES = {0x0409, 0x040C, 0x0422, 0x0423, 0x0424}
"""Thumbnails; and EXIF and XMP, which a photo holds elsewhere too and which may hold one."""
_IPTC_PREVIEW = b"\x1c\x02\xca"  # IIM 4.2, dataset 2:202


def without_previews(block: bytes) -> tuple[bytes | None, tuple[str, ...]]:
    """The resources without pictures of the photo as it was, None where nothing is left, and notes; up to where they make sense."""
    kept, notes = [], []
    for number, resource in _resources(block):
        if number == _IPTC and _IPTC_PREVIEW in resource:
            notes.append(IPTC_PREVIEW_NOTE)
        elif number in _PICTURES:
            notes.append(PREVIEW_NOTE)
        else:
            kept.append(resource)
    return b"".join(kept) or None, tuple(dict.fromkeys(notes))


def iptc_resource(records: bytes) -> bytes:
    """IPTC records as a resource."""
    return _SIGN + _IPTC.to_bytes(2, "big") + b"\0\0" + len(records).to_bytes(4, "big") + records + bytes(len(records) % 2)


def has_iptc(block: bytes) -> bool:
    """Whether one of the resources holds IPTC records."""
    return any(number == _IPTC for number, _ in _resources(block))


def _resources(block: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and whole bytes of each: sign, number, name and content, both padded to even lengths (Photoshop File Formats)."""
    at = 0
    while block[at : at + 4] == _SIGN and at + 12 <= len(block):
        name = block[at + 6] + 1
        size_at = at + 6 + name + name % 2
        size = int.from_bytes(block[size_at : size_at + 4], "big")
        end = size_at + 4 + size
        if end > len(block):
            return
        yield int.from_bytes(block[at + 4 : at + 6], "big"), block[at:end] + bytes(size % 2)
        at = end + size % 2
