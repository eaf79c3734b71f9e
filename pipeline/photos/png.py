"""What the PNG decoder does not tell: bit depth, checksums of every chunk, missing rows, and chunks that are left behind."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from pipeline.photos.photo import PhotoBrokenError, PhotoRefusedError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MOST_CHUNKS = 100_000
"""Chunks of a file. Pixels make one for some 8 to 64 kB of them; a million tiny ones take seconds each time they are read."""

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # x, y, step x, step y
_PARTS = {b"IHDR": "header", b"IDAT": "pixel data", b"PLTE": "palette"}
_HDR_TRANSFERS = {16, 18}  # PQ and HLG (ITU-T H.273)
_SRGB_CODE = bytes((1, 13, 0, 1))
_SRGB = {b"cHRM": (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000), b"gAMA": (45455,)}  # in 1/100,000
_NEAR = 100


@dataclass(frozen=True)
class PngHeader:
    """The IHDR chunk; `bit_depth` is per sample, `colour_type` 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGBA."""

    width: int
    height: int
    bit_depth: int
    colour_type: int
    interlaced: bool


@dataclass(frozen=True)
class PngChunk:
    """One chunk: its four-letter type and its content."""

    kind: bytes
    content: memoryview


def read_header(data: bytes) -> PngHeader:
    """The header of a PNG file. Raises PhotoBrokenError when it is cut short or its checksum is wrong."""
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise PhotoBrokenError("the file is cut short: a PNG without its header")
    if zlib.crc32(data[12:29]) != int.from_bytes(data[29:33], "big"):
        raise PhotoBrokenError("the checksum of the header is wrong: the PNG file is damaged")
    return PngHeader(int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"), data[24], data[25], data[28] == 1)


def check_chunk_count(data: bytes) -> None:
    """Raises PhotoRefusedError for more than MOST_CHUNKS chunks; looks at their lengths alone."""
    at, count = len(SIGNATURE), 0
    while at + 12 <= len(data):
        count += 1
        if count > MOST_CHUNKS:
            raise PhotoRefusedError(f"more than {MOST_CHUNKS} chunks in the PNG file; save the photo again")
        at += 12 + int.from_bytes(data[at : at + 4], "big")


def read_chunks(data: bytes) -> tuple[PngChunk, ...]:
    """All chunks up to the end mark, each with its checksum verified. Raises PhotoBrokenError, naming the damaged part."""
    view, at = memoryview(data), len(SIGNATURE)
    chunks: list[PngChunk] = []
    while at + 12 <= len(data):
        length = int.from_bytes(view[at : at + 4], "big")
        kind, content, end = bytes(view[at + 4 : at + 8]), view[at + 8 : at + 8 + length], at + 12 + length
        if end > len(data):
            break
        if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            part = _PARTS.get(kind, f"{kind.decode('latin-1')} block")
            raise PhotoBrokenError(f"the checksum of the {part} is wrong: the PNG file is damaged")
        if kind == b"IEND":
            return tuple(chunks)
        chunks.append(PngChunk(kind, content))
        at = end
    raise PhotoBrokenError("the file is cut short: the end of the PNG is missing")


def with_blocks_of(small: bytes, data: bytes) -> bytes:
    """The PNG ``data``, which has a header and pixels alone, with the blocks that stand between the two in the PNG ``small``."""
    begin = end = len(SIGNATURE) + 25
    for chunk in read_chunks(small)[1:]:
        if chunk.kind == b"IDAT":
            break
        end += len(chunk.content) + 12
    return data[:begin] + small[begin:end] + data[begin:]


def check_rows(header: PngHeader, chunks: tuple[PngChunk, ...]) -> None:
    """Raises PhotoBrokenError when the compressed pixel data holds fewer rows than the header says (decoders fill with black)."""
    missing = _raw_size(header)
    inflate = zlib.decompressobj()
    try:
        for chunk in chunks:
            pending = bytes(chunk.content) if chunk.kind == b"IDAT" else b""
            while pending and missing > 0:
                missing -= len(inflate.decompress(pending, 1 << 20))
                pending = inflate.unconsumed_tail
    except zlib.error as error:
        raise PhotoBrokenError(f"the pixel data of the PNG cannot be unpacked: {error}") from error
    if missing > 0:
        raise PhotoBrokenError("the file is cut short: rows of pixels are missing")


def is_hdr(chunks: tuple[PngChunk, ...]) -> bool:
    """Whether the colours are coded for an HDR screen (a cICP chunk with PQ or HLG)."""
    return any(c.kind == b"cICP" and len(c.content) >= 2 and c.content[1] in _HDR_TRANSFERS for c in chunks)


def colours(chunks: tuple[PngChunk, ...]) -> bytes | None:
    """The blocks that say what the colours mean where a profile does not: cICP, or cHRM and gAMA, if they differ from sRGB.

    Source: Portable Network Graphics (third edition), sections 11.3.2.1, 11.3.2.2, 11.3.2.6 and 4.3 (which of them counts).
    """
    found = {chunk.kind: bytes(chunk.content) for chunk in reversed(chunks)}
    has_profile = b"iCCP" in found
    if b"cICP" in found and (has_profile or found[b"cICP"] != _SRGB_CODE):
        kinds = [b"cICP"]
    elif has_profile or found.keys() & {b"sRGB", b"cICP"} or not _differ_from_srgb(found):
        return None
    else:
        kinds = [kind for kind in (b"cHRM", b"gAMA") if kind in found]
    return b"".join(_chunk(kind, found[kind]) for kind in kinds)


def with_colours(blocks: bytes, data: bytes) -> bytes:
    """The PNG with these blocks after its header."""
    at = len(SIGNATURE) + 25
    return data[:at] + blocks + data[at:]


def left_behind(chunks: tuple[PngChunk, ...]) -> tuple[str, ...]:
    """What these chunks hold that an encoded photo will not: texts, content credentials."""
    kinds = {chunk.kind for chunk in chunks}
    texts = [_keyword(c) for c in chunks if c.kind in {b"tEXt", b"zTXt", b"iTXt"}]
    texts = [t for t in texts if t != "XML:com.adobe.xmp" and not t.startswith("Raw profile type")]
    notes = [f"PNG texts not kept: {', '.join(dict.fromkeys(texts))}"] if texts else []
    if b"caBX" in kinds:
        notes.append("content credentials (C2PA) not kept")
    return tuple(notes)


def _differ_from_srgb(found: dict[bytes, bytes]) -> bool:
    """Whether a chunk says other colours; one of a wrong length says nothing, to decoders too."""
    whole = {kind: found[kind] for kind in _SRGB if len(found.get(kind, b"")) == 4 * len(_SRGB[kind])}
    numbers = {kind: struct.unpack(f">{len(_SRGB[kind])}I", content) for kind, content in whole.items()}
    return any(abs(a - b) > _NEAR for kind in numbers for a, b in zip(numbers[kind], _SRGB[kind], strict=True))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def _keyword(chunk: PngChunk) -> str:
    return bytes(chunk.content[:80]).split(b"\0", 1)[0].decode("latin-1")


def _raw_size(header: PngHeader) -> int:
    bits = _CHANNELS.get(header.colour_type, 1) * header.bit_depth
    passes = _ADAM7 if header.interlaced else ((0, 0, 1, 1),)
    sizes = ((-(-(header.width - x) // dx), -(-(header.height - y) // dy)) for x, y, dx, dy in passes)
    return sum(height * (1 + -(-width * bits // 8)) for width, height in sizes if width > 0 and height > 0)
