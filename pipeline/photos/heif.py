"""Photos in HEIF boxes (HEIC of phones, AVIF): opened, and what their decoders do not tell."""

from __future__ import annotations

import io
import re
from typing import Literal

from PIL import Image, features

from pipeline.photos.photo import HDR, PhotoRefusedError

_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"}
_COLOURS = re.compile(rb"colrnclx(..)(..)", re.DOTALL)
_GAIN_MAP = re.compile(rb"aux:hdrgainmap|tmap")
_DEEP_AV1 = re.compile(rb"av1C..([\x40-\x7f\xc0-\xff])", re.DOTALL)  # the flag high_bitdepth (AV1 in ISOBMFF, section 2.3.3)
_SRGB_PRIMARIES, _HDR_TRANSFERS = {1, 2}, {16, 18}  # ITU-T H.273
GAIN_MAP_NOTE = "HDR gain map not kept"


def heif_kind(data: bytes) -> Literal["HEIF", "AVIF"] | None:
    """Pillow's name of the format, or None for files of other kinds."""
    if data[4:8] != b"ftyp":
        return None
    brands = data[8 : min(int.from_bytes(data[:4], "big"), 256)]
    names = {brands[at : at + 4] for at in range(0, len(brands), 4)}
    return "AVIF" if names & {b"avif", b"avis"} else "HEIF" if brands[:4] in _HEIC_BRANDS else None


def open_heic(data: bytes) -> Image.Image:
    """The opened picture, which will load upright. Raises PhotoRefusedError where the extra is not installed."""
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise PhotoRefusedError("HEIC files are read with the extra heic: pip install 'disrupt[heic]'") from error
    image: Image.Image = HeifImageFile(io.BytesIO(data))  # type: ignore[no-untyped-call]
    return image


def check_heif(image: Image.Image, data: bytes) -> tuple[str, ...]:
    """Notes about what is left behind. Raises PhotoRefusedError for more than 8 bits, HDR, and colours without a profile."""
    meta = _meta(data)
    if image.info.get("bit_depth", 8) > 8 or (image.format == "AVIF" and _DEEP_AV1.search(meta)):
        raise PhotoRefusedError("more than 8 bits per channel; export the photo with 8 bits per channel")
    has_gain_map = _GAIN_MAP.search(meta) is not None
    nclx = image.info.get("nclx_profile")
    found = [(int.from_bytes(m[1], "big"), int.from_bytes(m[2], "big")) for m in _COLOURS.finditer(meta)]
    colours = [(nclx["color_primaries"], nclx["transfer_characteristics"])] if nclx else found
    if has_gain_map and not nclx:  # the picture with its map applied has colours of its own
        colours = [(primaries, transfer) for primaries, transfer in colours if transfer not in _HDR_TRANSFERS]
    if any(transfer in _HDR_TRANSFERS for _, transfer in colours):
        raise PhotoRefusedError(HDR)
    if not image.info.get("icc_profile") and any(primaries not in _SRGB_PRIMARIES for primaries, _ in colours):
        raise PhotoRefusedError("wide colours without an ICC profile; export the photo with a profile or as sRGB")
    notes = (GAIN_MAP_NOTE,) if has_gain_map else ()
    return (*notes, "depth map not kept") if image.info.get("depth_images") else notes


def can_read_avif() -> bool:
    """Whether this Pillow was built with AVIF."""
    return bool(features.check("avif"))


def _meta(data: bytes) -> bytes:
    """The box that describes the pictures, without their pixels."""
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"meta":
            return data[at : at + size]
        if size < 8:
            break
        at += size
    return b""
