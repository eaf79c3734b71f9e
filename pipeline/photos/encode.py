"""A photo with new pixels to the bytes of a file, with its alpha and metadata; and the check that nothing was lost on the way."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pipeline.photos import icc, jpeg, png
from pipeline.photos.decode import decode_photo
from pipeline.photos.extras import extras_in
from pipeline.photos.metadata import EXIF_PREFIX
from pipeline.photos.photo import U8, Photo, PhotoBrokenError, PhotoRefusedError


@dataclass(frozen=True)
class OutputFormat:
    """What an output format is called and holds: `side` is its longest side in pixels, `block` its largest EXIF or XMP in bytes."""

    name: str
    suffix: str
    lossless: bool
    alpha: bool
    grey: bool
    side: int
    block: int


FORMATS = {
    "png": OutputFormat("PNG", ".png", lossless=True, alpha=True, grey=True, side=1_000_000, block=2**31 - 1),
    "webp": OutputFormat("WebP", ".webp", lossless=True, alpha=True, grey=False, side=16_383, block=2**31 - 1),
    "jpeg": OutputFormat("JPEG", ".jpg", lossless=False, alpha=False, grey=True, side=65_535, block=65_500),
}
GREY_AS_RGB_NOTE = "grey stored as three equal channels (WebP has no grey)"

# PNG: libpng with its fast filters at level 2 takes 55 to 75 % of the time of Pillow's own encoder at level 2 for files of 98 to
# 102 % of its size (tests/bench/signals.py compares the two), and that takes 30 to 70 % of the time of level 6 for files of 99 to
# 113 %. WebP, on three photos with perturbations of 6 levels: the fastest setting takes a tenth of the time of Pillow's default
# effort for files 9 to 21 % larger, which are still a fifth to a third smaller than PNG.
PNG_LEVEL, PNG_FILTERS = 2, imagecodecs.PNG.FILTER.FAST
WEBP_EFFORT = {"quality": 0, "method": 0}


class ReadBackError(ValueError):
    """The bytes of an encoded photo do not read back as what was encoded; the message names the parts that differ."""


def encode_photo(photo: Photo, pixels_HWC: U8, *, format: str, jpeg_quality: int = 95) -> bytes:  # noqa: A002 (the word users know)
    """The bytes of a file with `pixels_HWC` (uint8, the shape of the photo's own) and the alpha and metadata of `photo`.

    `format` is a key of FORMATS; PNG and WebP are lossless, JPEG is 4:4:4 with a quality of 95..100. EXIF, ICC and XMP are written
    byte by byte; comments, IPTC, texts and resolution where the format has a place for them. WebP stores grey as three equal
    channels, with a profile for three. `output_notes` says what differs. Raises PhotoRefusedError when the format cannot hold the
    photo (alpha or a large EXIF in JPEG, colours described in PNG's own way in others, a grey profile of an unknown kind or a side
    of more than 16,383 pixels in WebP, of more than a million in PNG), ValueError for a wrong call.
    """
    spec = _format(format)
    if format == "jpeg" and not 95 <= jpeg_quality <= 100:
        raise ValueError(f"JPEG quality is 95 to 100 (less would undo the protection), not {jpeg_quality}")
    if pixels_HWC.shape != photo.pixels_HWC.shape or pixels_HWC.dtype != np.uint8:
        raise ValueError(f"pixels must be uint8 {photo.pixels_HWC.shape}, not {pixels_HWC.dtype} {pixels_HWC.shape}")
    _check_fits(photo, spec)
    photo = _as_stored(photo, spec)
    planes = _planes(photo, pixels_HWC)
    if format == "png":
        return _as_png(photo, planes)
    options: dict[str, Any] = {"xmp": photo.xmp} if photo.xmp else {}
    if format == "webp":
        return _by_pillow(photo, planes, spec, options | {"lossless": True, "exact": True, **WEBP_EFFORT})
    data = _by_pillow(photo, planes, spec, options | {"quality": jpeg_quality, "subsampling": 0})
    extras, _ = extras_in(photo.extras, format)
    return jpeg.with_extras(data, extras.photoshop, extras.comments, extras.density)


def _as_png(photo: Photo, planes: U8) -> bytes:
    """The pixels by libpng, much faster than by Pillow, with the metadata blocks that Pillow writes for a picture of one pixel."""
    data = bytes(imagecodecs.png_encode(planes, PNG_LEVEL, filter=PNG_FILTERS))
    if photo.exif or photo.icc or photo.xmp:
        small = _by_pillow(photo, planes[:1, :1], FORMATS["png"], {"pnginfo": _png_info(photo)})
        data = png.with_blocks_of(small, data)
    extras, _ = extras_in(photo.extras, "png")
    blocks = [photo.png_colours or b"", *extras.png_blocks, *map(png.comment_block, extras.comments)]
    if extras.density:
        blocks.append(png.density_block(extras.density))
    if extras.photoshop:
        blocks.append(png.profile_block("iptc", extras.photoshop))
    return png.with_blocks(b"".join(blocks), data)


def _by_pillow(photo: Photo, planes: U8, spec: OutputFormat, options: dict[str, Any]) -> bytes:
    if photo.icc:
        options = {"icc_profile": photo.icc, **options}
    if photo.exif:
        options = {"exif": EXIF_PREFIX + photo.exif, **options}
    file = io.BytesIO()
    Image.fromarray(planes).save(file, format=spec.name.upper(), **options)
    return file.getvalue()


def output_notes(photo: Photo, *, format: str) -> tuple[str, ...]:  # noqa: A002
    """What the output format changes about the way this photo is stored, for the manifest's note."""
    spec, (_, notes) = _format(format), extras_in(photo.extras, format, photo.exif)
    if photo.pixels_HWC.shape[2] == 1 and not spec.grey:
        notes = (GREY_AS_RGB_NOTE, *(() if _as_stored(photo, spec) is photo else (icc.GREY_PROFILE_NOTE,)), *notes)
    return notes


def read_back(data: bytes, photo: Photo, pixels_HWC: U8, *, format: str) -> Photo:  # noqa: A002
    """The photo that a reader of the written bytes sees, after a check that nothing was lost; grey pixels come back as (H, W, 1).

    EXIF, ICC, XMP, alpha and size must be those of `photo`, and the pixels of a lossless format exactly `pixels_HWC`. An alpha that
    is opaque everywhere may be missing in WebP, which does not store it; the profile of grey in WebP is that for three channels.
    Raises ReadBackError with the parts that differ.
    """
    photo = _as_stored(photo, _format(format))
    try:
        again = decode_photo(data, max_pixels=photo.width * photo.height, min_side=1)
    except (PhotoRefusedError, PhotoBrokenError) as error:
        raise ReadBackError(f"the encoded file does not read back: {error}") from error
    if pixels_HWC.shape[2] == 1 and again.pixels_HWC.shape[2] == 3 and (again.pixels_HWC == again.pixels_HWC[:, :, :1]).all():
        again = replace(again, pixels_HWC=again.pixels_HWC[:, :, :1].copy())
    if photo.alpha_HW is not None and again.alpha_HW is None and (photo.alpha_HW == 255).all():
        again = replace(again, alpha_HW=photo.alpha_HW)
    same = {
        "size or channels": again.pixels_HWC.shape == pixels_HWC.shape,
        "pixels": not _format(format).lossless or np.array_equal(again.pixels_HWC, pixels_HWC),
        "alpha": _equal(again.alpha_HW, photo.alpha_HW),
        "EXIF": again.exif == photo.exif,
        "ICC profile": again.icc == photo.icc,
        "XMP": again.xmp == photo.xmp,
        "colours": again.png_colours == photo.png_colours,
        "comments, IPTC, texts or resolution": again.extras == extras_in(photo.extras, format)[0],
        "orientation": again.orientation == photo.orientation,
    }
    if different := [part for part, is_same in same.items() if not is_same]:
        raise ReadBackError(f"the encoded file reads back with another {', '.join(different)}")
    return again


def _as_stored(photo: Photo, spec: OutputFormat) -> Photo:
    """The photo with the profile that fits the channels in which the format stores it."""
    if photo.icc is None or not icc.is_for_grey(photo.icc) or spec.grey:
        return photo
    return replace(photo, icc=icc.for_three_channels(photo.icc))


def _check_fits(photo: Photo, spec: OutputFormat) -> None:
    if photo.alpha_HW is not None and not spec.alpha:
        raise PhotoRefusedError(f"{spec.name} cannot hold transparency; choose png or webp as output format")
    if photo.png_colours and spec.name != "PNG":
        raise PhotoRefusedError(f"its colours are described in a way that only PNG holds, not {spec.name}; choose png")
    if max(photo.width, photo.height) > spec.side:
        hint = "" if spec.name == "PNG" else "; choose png"
        raise PhotoRefusedError(f"{photo.width} x {photo.height} pixels: {spec.name} holds at most {spec.side} a side{hint}")
    if photo.icc and _as_stored(photo, spec).icc is None:
        raise PhotoRefusedError(f"its ICC profile for grey fits no three channels, as which {spec.name} stores grey; choose png")
    for name, block in (("EXIF", photo.exif), ("XMP", photo.xmp)):
        if block is not None and len(block) > spec.block:
            raise PhotoRefusedError(f"its {name} of {len(block)} bytes is too large for {spec.name}; choose png or webp")


def _planes(photo: Photo, pixels_HWC: U8) -> U8:
    """Colours and alpha as (H, W, 2 to 4), or (H, W) of grey alone."""
    planes = pixels_HWC if photo.alpha_HW is None else np.dstack([pixels_HWC, photo.alpha_HW])
    return np.ascontiguousarray(planes[:, :, 0] if planes.shape[2] == 1 else planes)


def _png_info(photo: Photo) -> PngInfo:
    info = PngInfo()
    if photo.xmp:  # as a raw chunk: `add_itxt` would decode it, and XMP need not be UTF-8
        info.add(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + photo.xmp)
    return info


def _format(name: str) -> OutputFormat:
    if name not in FORMATS:
        raise ValueError(f"the output format is one of {', '.join(FORMATS)}, not {name!r}")
    return FORMATS[name]


def _equal(a: U8 | None, b: U8 | None) -> bool:
    return a is b if a is None or b is None else np.array_equal(a, b)
