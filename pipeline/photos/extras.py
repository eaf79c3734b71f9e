"""What formats hold beside EXIF, ICC profile and XMP: read from each, and cut down to what an output format has a place for."""

from __future__ import annotations

import dataclasses
import struct

from PIL import Image

from pipeline.photos import jpeg, png
from pipeline.photos.metadata import raw_profile, tiff_content
from pipeline.photos.photo import Density, Extras
from pipeline.photos.photoshop import has_iptc, iptc_resource, without_previews

_INCH, _CENTIMETRE = 0.0254, 0.01  # in metres
_RESOLUTION, _TIFF_IPTC, _TIFF_PHOTOSHOP = 0x011A, 0x83BB, 0x8649
_USUAL = ((72, 72), (96, 96))  # dots an inch that programs write where nobody said any
_MOST_BLOCKS = 1000  # looked at of a WebP; cameras write one or two
_WEBP_READ = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF", b"XMP "}
XMP_IN_GIF, _GIF_XMP_END = b"XMP DataXMP", b"\x01\xff\xfe\xfd"


def read_extras(image: Image.Image, data: bytes, chunks: tuple[png.PngChunk, ...] = ()) -> tuple[Extras, tuple[str, ...]]:
    """The extras of a sound file that Pillow has opened, and notes; of a PNG its ``chunks``."""
    extras, block = Extras(), b""
    if image.format in {"JPEG", "MPO"}:
        segments = jpeg.header_segments(data)
        block = jpeg.photoshop(segments)
        extras = Extras(comments=jpeg.comments(segments), density=jpeg.density(segments))
    elif image.format == "PNG":
        found = raw_profile(image, "iptc") or raw_profile(image, "8bim") or b""
        block = found if found.startswith(b"8BIM") or not found else iptc_resource(found)
        extras = Extras(comments=png.comments(chunks), density=png.density(chunks), png_blocks=png.blocks_of_its_own(chunks))
    elif image.format == "TIFF":
        block = _tiff_block(data)
    elif image.format == "GIF" and isinstance(comment := image.info.get("comment"), bytes) and comment.rstrip(b"\0"):
        extras = Extras(comments=(comment.rstrip(b"\0"),))
    elif image.format == "BMP":
        extras = Extras(density=_bmp_density(data))
    photoshop, notes = without_previews(block)
    return dataclasses.replace(extras, photoshop=photoshop), notes


def extras_in(extras: Extras, format: str, exif: bytes | None = None) -> tuple[Extras, tuple[str, ...]]:  # noqa: A002
    """What png, jpeg or webp has a place for, in its own units, and notes on the rest; ``exif`` may say the resolution too."""
    if format == "png":
        fits = [comment for comment in extras.comments if b"\0" not in comment]
        kept = dataclasses.replace(extras, comments=tuple(fits), density=_per_metre(extras.density))
    elif format == "jpeg":
        fits = [comment for comment in extras.comments if len(comment) <= jpeg.LARGEST_SEGMENT]
        kept = Extras(extras.photoshop, tuple(fits), _for_jfif(extras.density))
    else:
        kept = Extras()
    return kept, tuple(_notes(extras, kept, format, exif))


def _notes(extras: Extras, kept: Extras, format: str, exif: bytes | None) -> list[str]:  # noqa: A002
    name, notes = {"png": "PNG", "jpeg": "JPEG", "webp": "WebP"}[format], []
    if extras.photoshop and not kept.photoshop:
        what = "IPTC" if has_iptc(extras.photoshop) else "Photoshop block"
        notes.append(f"{what} not kept ({name} has no place for it)")
    if len(extras.comments) > len(kept.comments):
        notes.append(f"comment not kept ({name} has no place for it)")
    if texts := png.keywords([block for block in extras.png_blocks if block not in kept.png_blocks]):
        notes.append(f"PNG texts not kept: {', '.join(texts)}")
    if extras.density and not kept.density and not is_usual(extras.density) and not _is_in(exif or b"", extras.density):
        notes.append(f"resolution not kept: {_spoken(extras.density)} ({name} has no place for it)")
    return notes


def is_usual(density: Density) -> bool:
    """Whether it is one that programs write where nobody said any."""
    inches = _for_jfif(density)
    return inches is not None and inches.unit == "inch" and (inches.across, inches.down) in _USUAL


def _is_in(exif: bytes, density: Density) -> bool:
    """Whether the EXIF says the same, in inches."""
    inches, across = _for_jfif(density), tiff_content(exif, _RESOLUTION)
    if inches is None or inches.unit != "inch" or len(across) != 8:
        return False
    number, by = (int.from_bytes(across[at : at + 4], "little" if exif.startswith(b"II") else "big") for at in (0, 4))
    return by > 0 and round(number / by) == inches.across


def _spoken(density: Density) -> str:
    shape = f"{density.across} x {density.down}"
    return f"{shape} pixels {'an' if density.unit == 'inch' else 'a'} {density.unit}" if density.unit else f"pixels of {shape}"


def _per_metre(density: Density | None) -> Density | None:
    """The same in metres, as PNG holds it."""
    if density is None or density.unit in {None, "metre"}:
        return density
    unit = _INCH if density.unit == "inch" else _CENTIMETRE
    return Density(round(density.across / unit), round(density.down / unit), "metre")


def _for_jfif(density: Density | None) -> Density | None:
    """The same in inches or centimetres, whatever is nearer, as JFIF holds it; None for one of more than 65,535."""
    if density is not None and density.unit == "metre":
        per_inch, per_centimetre = (
            Density(round(density.across * unit), round(density.down * unit), name)  # type: ignore[arg-type]
            for unit, name in ((_INCH, "inch"), (_CENTIMETRE, "centimetre"))
        )
        density = per_inch if _per_metre(per_centimetre) != density or _per_metre(per_inch) == density else per_centimetre
    return density if density and all(0 < number < 1 << 16 for number in (density.across, density.down)) else None


def _bmp_density(data: bytes) -> Density | None:
    if len(data) < 46 or int.from_bytes(data[14:18], "little") < 40:
        return None
    across, down = struct.unpack("<ii", data[38:46])
    return Density(across, down, "metre") if across > 0 and down > 0 else None


def _tiff_block(data: bytes) -> bytes:
    """Photoshop's resources of a TIFF, with its IPTC records where they hold none."""
    block, records = (tiff_content(data, tag) for tag in (_TIFF_PHOTOSHOP, _TIFF_IPTC))
    return block if not records or has_iptc(block) else block + iptc_resource(records)


def left_behind_in_webp(data: bytes) -> tuple[str, ...]:
    """The blocks of a WebP file that no encoded photo will hold."""
    at, others = 12, []
    for _ in range(_MOST_BLOCKS):
        if at + 8 > len(data):
            break
        if data[at : at + 4] not in _WEBP_READ:
            others.append(data[at : at + 4].decode("latin-1").strip())
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    return (f"WebP blocks not kept: {', '.join(dict.fromkeys(others))}",) if others else ()


def xmp_in_gif(data: bytes) -> bytes | None:
    """The XMP of a GIF, which Pillow passes over (XMP specification part 3, 1.1.2)."""
    begin = data.find(XMP_IN_GIF)
    end = data.find(_GIF_XMP_END, begin) if begin >= 0 else -1
    return data[begin + len(XMP_IN_GIF) : end] if end > 0 else None
