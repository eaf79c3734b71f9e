"""Small pictures and their files for the tests of this folder, made with Pillow and by hand."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

EXIF = b"Exif\0\0" + b"II*\0\x08\0\0\0" + b"\x01\0" + struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0) + b"\0\0\0\0" + b"maker note"
XMP = b"<?xpacket begin='\xef\xbb\xbf'?><x:xmpmeta xmlns:x='adobe:ns:meta/'>\xc3\xa9</x:xmpmeta>"
ICC = bytes(range(256)) * 3


def picture(mode: str = "RGB", size: tuple[int, int] = (40, 24), seed: int = 0) -> Image.Image:
    """Smooth noise in a mode, no two pictures of different seeds alike."""
    channels = len(Image.new(mode, (1, 1)).getbands())
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, channels)).astype(np.uint8)
    bands = [Image.fromarray(coarse[:, :, c]).resize(size, Image.Resampling.BICUBIC) for c in range(channels)]
    return bands[0].convert(mode) if channels == 1 else Image.merge(mode, bands)


def saved(image: Image.Image, format: str, **options: Any) -> bytes:  # noqa: A002
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_file(header: tuple[int, ...], *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG by hand: header is width, height, bit depth, colour type (compression, filter and interlacing 0)."""
    body = [(b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0)), *chunks, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, content) for kind, content in body)


def with_segment(jpeg: bytes, marker: int, content: bytes) -> bytes:
    """A JPEG with one more segment right after its start."""
    return jpeg[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content + jpeg[2:]


def array(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image)


def two_pictures(*, kind: int) -> bytes:
    """A file with a main picture and a second one of an MPF kind (0x010002 preview, 0x020002 stereo), as cameras write it."""
    data = saved(picture(), "MPO", save_all=True, append_images=[picture(seed=1)])
    first = data.index(b"MPF\0") + 4 + 50  # entries of 16 bytes that begin with the kind, where Pillow puts them
    return data[: first + 16] + kind.to_bytes(4, "little") + data[first + 20 :]
