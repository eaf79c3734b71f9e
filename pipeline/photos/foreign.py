"""Photo files that are not read here, known by suffix or by content, so that a refusal can say what to do instead."""

from __future__ import annotations

RAW_SUFFIXES = frozenset(
    {".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".raf", ".orf", ".rw2", ".pef", ".srw", ".raw"}
)
OTHER_SUFFIXES = {
    ".jxl": "JPEG XL",
    ".jp2": "JPEG 2000",
    ".j2k": "JPEG 2000",
    ".psd": "Photoshop",
}
RAW_REASON = "a raw file; export the photo as JPEG, PNG or 8-bit TIFF"


def refused_by_suffix(suffix: str) -> str | None:
    """Why photos with this suffix (lower case, with its dot) are not read, or None when the suffix says nothing against it."""
    if suffix in RAW_SUFFIXES:
        return RAW_REASON
    return _export(OTHER_SUFFIXES[suffix]) if suffix in OTHER_SUFFIXES else None


def refused_by_content(data: bytes) -> str | None:
    """Why a file with these bytes is not read although it is a photo, or None when it is unknown or readable."""
    if data[4:12] == b"ftypcrx ":
        return RAW_REASON
    if data.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")):
        return _export("JPEG XL")
    if data.startswith((b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")):
        return _export("JPEG 2000")
    if data.startswith(b"8BPS"):
        return _export("Photoshop")
    is_raw = (data[8:10] == b"CR" and data[:2] in {b"II", b"MM"}) or data.startswith((b"FUJIFILMCCD-RAW", b"IIRO", b"IIU\0"))
    return RAW_REASON if is_raw else None


def _export(name: str) -> str:
    return f"{name} files are not read; export the photo as JPEG or PNG"
