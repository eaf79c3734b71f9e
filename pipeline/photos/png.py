"""What the PNG decoder does not tell: bit depth, checksums of every chunk, missing rows, and chunks that are left behind."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.photos.photo import Density, PhotoBrokenError, PhotoRefusedError

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
_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
_READ = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"cICP", b"cHRM", b"gAMA", b"iCCP", b"sRGB", b"eXIf", b"pHYs", b"caBX", *_TEXTS}
_SRGB_SIZES = {b"cICP": 4, b"sRGB": 1, b"cHRM": 32, b"gAMA": 4}
_PROFILES = (b"exif", b"APP1", b"xmp", b"iptc", b"8bim")
_COMMENT, _UTF8_COMMENT = b"Comment\0", b"Comment\0\0\0\0\0"


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


def with_blocks(blocks: bytes, data: bytes) -> bytes:
    """The PNG with these blocks after its header."""
    at = len(SIGNATURE) + 25
    return data[:at] + blocks + data[at:]


def left_behind(chunks: tuple[PngChunk, ...]) -> tuple[str, ...]:
    """What these chunks hold that no encoded photo will: content credentials, the time of the last change, rare kinds."""
    kinds = dict.fromkeys(chunk.kind for chunk in chunks)
    others = [kind.decode("latin-1") for kind in kinds if kind not in _READ]
    notes = [f"PNG blocks not kept: {', '.join(others)}"] if others else []
    return (*notes, "content credentials (C2PA) not kept") if b"caBX" in kinds else tuple(notes)


def comments(chunks: tuple[PngChunk, ...]) -> tuple[bytes, ...]:
    """The texts under the name Comment, as bytes without the zeros that end some."""
    found = (_comment(chunk) for chunk in chunks)
    return tuple(bare for comment in found if comment and (bare := comment.rstrip(b"\0")))


def blocks_of_its_own(chunks: tuple[PngChunk, ...]) -> tuple[bytes, ...]:
    """Whole blocks that only PNG holds: its texts, but for comments and for metadata of other formats, and what says sRGB."""
    kinds = {chunk.kind for chunk in chunks}
    says_srgb = b"iCCP" not in kinds and colours(chunks) is None
    return tuple(
        _chunk(chunk.kind, bytes(chunk.content))
        for chunk in chunks
        if (chunk.kind in _TEXTS and _comment(chunk) is None and not _holds_other_metadata(chunk))
        or (says_srgb and len(chunk.content) == _SRGB_SIZES.get(chunk.kind))
    )


def keywords(blocks: Sequence[bytes]) -> tuple[str, ...]:
    """The names of the texts among whole blocks."""
    texts = (block[8:88] for block in blocks if block[4:8] in _TEXTS)
    return tuple(dict.fromkeys(text.split(b"\0", 1)[0].decode("latin-1") for text in texts))


def density(chunks: tuple[PngChunk, ...]) -> Density | None:
    """What the pHYs block says; None without one, or with one of zeros or equal numbers without a unit."""
    found = next((bytes(c.content) for c in chunks if c.kind == b"pHYs" and len(c.content) == 9), bytes(9))
    across, down, unit = struct.unpack(">IIB", found)
    return Density(across, down, "metre" if unit == 1 else None) if across and down and (unit == 1 or across != down) else None


def density_block(density: Density) -> bytes:
    """The pHYs block of a density in metres, or without a unit."""
    return _chunk(b"pHYs", struct.pack(">IIB", density.across, density.down, density.unit == "metre"))


def comment_block(comment: bytes) -> bytes:
    """A comment without zeros as a block: as UTF-8 where it is UTF-8 beyond ASCII, else byte by byte."""
    try:
        is_utf8 = not comment.isascii() and bool(comment.decode())
    except UnicodeDecodeError:
        is_utf8 = False
    return _chunk(b"iTXt", _UTF8_COMMENT + comment) if is_utf8 else _chunk(b"tEXt", _COMMENT + comment)


def profile_block(name: str, profile: bytes) -> bytes:
    """A block of another format as ImageMagick hides it in a compressed text: its name, its length, hexadecimal digits."""
    digits = profile.hex()
    lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    text = f"\n{name}\n{len(profile):8}\n{lines}\n"
    return _chunk(b"zTXt", f"Raw profile type {name}\0\0".encode() + zlib.compress(text.encode(), 9))


def _differ_from_srgb(found: dict[bytes, bytes]) -> bool:
    """Whether a chunk says other colours; one of a wrong length says nothing, to decoders too."""
    whole = {kind: found[kind] for kind in _SRGB if len(found.get(kind, b"")) == 4 * len(_SRGB[kind])}
    numbers = {kind: struct.unpack(f">{len(_SRGB[kind])}I", content) for kind, content in whole.items()}
    return any(abs(a - b) > _NEAR for kind in numbers for a, b in zip(numbers[kind], _SRGB[kind], strict=True))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def _comment(chunk: PngChunk) -> bytes | None:
    starts = {b"iTXt": _UTF8_COMMENT, b"tEXt": _COMMENT}
    if chunk.kind not in starts or chunk.content[: len(starts[chunk.kind])] != starts[chunk.kind]:
        return None
    return bytes(chunk.content[len(starts[chunk.kind]) :])


def _holds_other_metadata(chunk: PngChunk) -> bool:
    """Whether a text holds the XMP, or a block of another format that is read."""
    keyword = bytes(chunk.content[:80]).split(b"\0", 1)[0]
    return keyword == b"XML:com.adobe.xmp" or keyword in {b"Raw profile type " + name for name in _PROFILES}


def _raw_size(header: PngHeader) -> int:
    bits = _CHANNELS.get(header.colour_type, 1) * header.bit_depth
    passes = _ADAM7 if header.interlaced else ((0, 0, 1, 1),)
    sizes = ((-(-(header.width - x) // dx), -(-(header.height - y) // dy)) for x, y, dx, dy in passes)
    return sum(height * (1 + -(-width * bits // 8)) for width, height in sizes if width > 0 and height > 0)
