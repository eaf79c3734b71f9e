"""Bytes of a file to a `Photo`, fully checked: what cannot be kept is refused with a reason, what is damaged is called broken."""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from pipeline.photos import heif, jpeg, png
from pipeline.photos.extras import left_behind_in_webp, read_extras, xmp_in_gif
from pipeline.photos.foreign import RAW_REASON, refused_by_content
from pipeline.photos.heif import GAIN_MAP_NOTE
from pipeline.photos.icc import NO_GREY_NOTE, is_for_grey
from pipeline.photos.metadata import orientation_of, read_metadata, tiff_exif
from pipeline.photos.modes import as_arrays, refused_mode
from pipeline.photos.photo import HDR, U8, Photo, PhotoBrokenError, PhotoRefusedError
from pipeline.photos.xmp import marked_upright

FORMATS_READ = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")
NOT_AN_IMAGE = "not an image: the content is of no photo format that is read here (JPEG, PNG, WebP, TIFF, BMP, GIF, HEIC, AVIF)"

FIRST_ALONE_NOTE = "only the first picture of the file is protected and kept (stereo, panorama or series)"

# What Pillow's readers raise on damaged bytes; memory and machine errors are not among them.
_DAMAGE = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, AttributeError, AssertionError, ArithmeticError,
    RuntimeError, struct.error, zlib.error,
)  # fmt: skip
_LARGEST_BLOCK = 32 * 2**20  # bytes of an unpacked ICC profile or XMP block in a PNG
_LIMITS = threading.Lock()
_DNG_VERSION, _SUBFILE_TYPE, _BITS_PER_SAMPLE, _SAMPLE_FORMAT = 0xC612, 0x00FE, 0x0102, 0x0153


def decode_photo(data: bytes, *, max_pixels: int = 100_000_000, min_side: int = 16) -> Photo:
    """The photo in the bytes of a file, decoded to the last pixel, with checksums verified. The same in every thread.

    A palette is expanded, 1-bit pictures become grey and a transparent colour becomes alpha, each with a note; of a JPEG with
    further pictures (stereo, camera previews, depth, HDR gain map, video) the first is taken, with a note, and the XMP tells no
    more of them. A profile for grey of a picture in colours, which readers ignore, is left out with a note. TIFF and HEIC come
    out upright, as Pillow reads them. The EXIF is kept byte by byte but for the thumbnail in it.
    Raises PhotoRefusedError (animated, several pages, CMYK, Lab, more than 8 bits, floating point, HDR colours, raw files,
    HEIC without its extra, more than `max_pixels` pixels, a side below `min_side` pixels, more scans or chunks than any encoder
    makes) or PhotoBrokenError (empty, not an image, cut short, wrong checksum).
    """
    if not data:
        raise PhotoBrokenError("the file is empty")
    if reason := refused_by_content(data):
        raise PhotoRefusedError(reason)
    if data.startswith(png.SIGNATURE):
        png.check_chunk_count(data)
        header = png.read_header(data)
        _check_size(header.width, header.height, max_pixels=max_pixels, min_side=min_side)
        if header.bit_depth > 8:
            raise PhotoRefusedError("16 bits per channel; export the photo with 8 bits per channel")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP" and int.from_bytes(data[4:8], "little") + 8 > len(data):
        raise PhotoBrokenError("the file is cut short: the end of the WebP is missing")
    try:
        with _pillow_limits(max_pixels), _open(data) as image:
            _check_size(*image.size, max_pixels=max_pixels, min_side=min_side)
            notes = _check_format(image, data)
            return _load(image, data, notes)
    except UnidentifiedImageError as error:
        raise PhotoBrokenError(_unreadable(data)) from error
    except Image.DecompressionBombError as error:
        raise PhotoRefusedError(f"too large: more than {2 * max_pixels / 1e6:g} million pixels") from error
    except (PhotoRefusedError, PhotoBrokenError):
        raise
    except _DAMAGE as error:
        cut = "truncated" in str(error).lower()
        raise PhotoBrokenError(
            "the file is cut short" if cut else f"the file is damaged: {error or type(error).__name__}"
        ) from error


def _open(data: bytes) -> Image.Image:
    kind = heif.heif_kind(data)
    if kind == "AVIF" and not heif.can_read_avif():
        raise PhotoRefusedError("AVIF files need a Pillow that was built with AVIF; export the photo as JPEG or PNG")
    return heif.open_heic(data) if kind == "HEIF" else Image.open(io.BytesIO(data), formats=FORMATS_READ)


def _load(image: Image.Image, data: bytes, notes: tuple[str, ...]) -> Photo:
    exif_of_tiff, tiff_notes = tiff_exif(image) if image.format == "TIFF" else (None, ())
    image.load()
    pixels_HWC, alpha_HW, more_notes = as_arrays(image, _grey_bits(data))
    _check_complete(image, data, pixels_HWC)
    metadata = read_metadata(image, xmp_in_gif(data) if image.format == "GIF" else None)
    chunks = png.read_chunks(data) if image.format == "PNG" else ()
    extras, extra_notes = read_extras(image, data, chunks)
    exif = exif_of_tiff if image.format == "TIFF" else metadata.exif
    is_turned = image.format in {"TIFF", "HEIF"}
    icc = metadata.icc
    if icc and is_for_grey(icc) and pixels_HWC.shape[2] == 3:
        icc, more_notes = None, (*more_notes, NO_GREY_NOTE)
    xmp = marked_upright(metadata.xmp) if metadata.xmp and is_turned else metadata.xmp
    return Photo(
        pixels_HWC,
        alpha_HW,
        image.format or "",
        exif=exif,
        icc=icc,
        xmp=xmp,
        png_colours=png.colours(chunks),
        orientation=1 if is_turned else orientation_of(exif, xmp),
        extras=extras,
        notes=notes + more_notes + metadata.notes + tiff_notes + extra_notes,
    )


def _check_size(width: int, height: int, *, max_pixels: int, min_side: int) -> None:
    if width * height > max_pixels:
        raise PhotoRefusedError(f"too large: {width} x {height} pixels; the limit is {max_pixels / 1e6:g} million pixels")
    if min(width, height) < min_side:
        raise PhotoRefusedError(f"too small: {width} x {height} pixels; the shorter side must have at least {min_side}")


def _check_format(image: Image.Image, data: bytes) -> tuple[str, ...]:
    """Notes about what is left behind; raises for what is refused or damaged. Looks at headers only: no pixel is decoded."""
    if image.format in {"JPEG", "MPO"}:
        return _check_jpeg(image, data)
    if getattr(image, "is_animated", False):
        frames = getattr(image, "n_frames", 2)
        what = f"{frames} pages" if image.format == "TIFF" else f"animated ({frames} frames)"
        raise PhotoRefusedError(f"{what}; only single still pictures are protected")
    if image.format == "TIFF":
        _check_tiff(image)
    if image.format in {"HEIF", "AVIF"}:
        return heif.check_heif(image, data)
    if reason := refused_mode(image.mode):
        raise PhotoRefusedError(reason)
    if image.format == "PNG":
        chunks = png.read_chunks(data)
        if png.is_hdr(chunks):
            raise PhotoRefusedError(HDR)
        return png.left_behind(chunks)
    return left_behind_in_webp(data) if image.format == "WEBP" else ()


def _check_jpeg(image: Image.Image, data: bytes) -> tuple[str, ...]:
    if reason := refused_mode(image.mode):
        raise PhotoRefusedError(reason)
    layout = jpeg.read_layout(data)
    if jpeg.has_gain_map(layout, data):
        return GAIN_MAP_NOTE, *jpeg.left_behind(layout, data)
    entries = getattr(image, "mpinfo", {}).get(0xB002, ())
    if any(entry["Attribute"]["MPType"].startswith("Multi-Frame") for entry in entries):
        return FIRST_ALONE_NOTE, *jpeg.left_behind(layout, data)
    return jpeg.left_behind(layout, data)


def _check_tiff(image: Image.Image) -> None:
    tags = getattr(image, "tag_v2", {})
    if _DNG_VERSION in tags or tags.get(_SUBFILE_TYPE, 0) & 1:  # a reduced picture first: the raw files of several makers
        raise PhotoRefusedError(RAW_REASON)
    if 3 in _numbers(tags.get(_SAMPLE_FORMAT, 1)):
        raise PhotoRefusedError("floating-point pixels; export the photo with 8 bits per channel")
    bits = max(_numbers(tags.get(_BITS_PER_SAMPLE, 1)))
    if bits > 8:
        raise PhotoRefusedError(f"{bits} bits per channel; export the photo with 8 bits per channel")


def _numbers(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)


def _check_complete(image: Image.Image, data: bytes, pixels_HWC: U8) -> None:
    """Raises PhotoBrokenError for missing pixels that the decoder filled in; looks closer only where that is possible."""
    if image.format == "PNG":
        header = png.read_header(data)
        if header.interlaced or not np.asarray(image.crop((0, image.height - 1, image.width, image.height))).any():
            png.check_rows(header, png.read_chunks(data))
    elif image.format in {"JPEG", "MPO"} and (pixels_HWC[-8:, -8:] == 128).all():
        prolonged = jpeg.with_scan_prolonged(data, jpeg.read_layout(data))
        with Image.open(io.BytesIO(prolonged), formats=("JPEG",)) as again:
            if not np.array_equal(np.asarray(again).reshape(pixels_HWC.shape), pixels_HWC):
                raise PhotoBrokenError("the file is cut short: the lower part of the picture is missing")


def _grey_bits(data: bytes) -> int:
    """Bits per sample in which a transparent grey level is given."""
    return png.read_header(data).bit_depth if data.startswith(png.SIGNATURE) else 8


def _unreadable(data: bytes) -> str:
    """The reason for bytes that no reader wants, more exact where the format is known by its first bytes."""
    if data.startswith(png.SIGNATURE):
        png.read_chunks(data)
        return "the file is damaged: its PNG header makes no sense"
    if data.startswith(jpeg.SIGNATURE):
        layout = jpeg.read_layout(data)
        if layout.bits > 8 or layout.lossless:
            raise PhotoRefusedError(
                f"a {'lossless' if layout.lossless else f'{layout.bits}-bit'} JPEG; export the photo as ordinary JPEG"
            )
        return "the file is damaged: its JPEG header makes no sense"
    return NOT_AN_IMAGE


@contextmanager
def _pillow_limits(max_pixels: int) -> Iterator[None]:
    """Pillow with our limits and without its warnings; both are global in Pillow and Python, hence the lock."""
    with _LIMITS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK
        Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = max_pixels, _LARGEST_BLOCK
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = before
