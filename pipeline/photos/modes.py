"""Pillow's pixel modes: which are refused, and the arrays of those that are read."""

from __future__ import annotations

import numpy as np
from PIL import Image

from pipeline.photos.photo import U8

PALETTE_NOTE = "palette expanded to RGB"
ONE_BIT_NOTE = "1-bit picture expanded to grey"
COLOUR_KEY_NOTE = "transparent colour turned into alpha"
STRIP_VALUES = 1 << 18  # values in work at a time

_READ = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX"}
_REFUSED = {
    "CMYK": "CMYK colours (for print); export the photo as RGB",
    "LAB": "Lab colours; export the photo as RGB",
    "YCbCr": "YCbCr colours; export the photo as RGB",
    "HSV": "HSV colours; export the photo as RGB",
    "F": "floating-point pixels; export the photo with 8 bits per channel",
}


def refused_mode(mode: str) -> str | None:
    """Why a picture in this mode is not read, or None when it is."""
    if mode in _READ:
        return None
    if mode.startswith("I"):
        return "16 bits per channel or more; export the photo with 8 bits per channel"
    return _REFUSED.get(mode, f"pixels of the kind {mode}; export the photo as RGB")


def as_arrays(image: Image.Image, grey_bits: int = 8) -> tuple[U8, U8 | None, tuple[str, ...]]:
    """Pixels (H, W, 3 or 1), alpha (H, W) or None, and notes, of a loaded picture in a mode that `refused_mode` lets pass.

    `grey_bits` is the depth in which a transparent grey level is given: PNG states it at the depth of the file.
    """
    transparent = image.info.get("transparency")
    if image.mode in {"P", "PA"}:
        expanded = _array(image.convert("RGBA" if image.has_transparency_data else "RGB"))
        return _split(expanded, (PALETTE_NOTE,))
    notes = (ONE_BIT_NOTE,) if image.mode == "1" else ()
    if image.mode == "1":
        image, grey_bits = image.convert("L"), 8  # Pillow gives the transparent level of a 1-bit picture as 0 or 255
    elif image.mode == "RGBX":
        image = image.convert("RGB")
    array = _array(image)
    if image.mode == "L" and isinstance(transparent, int):
        level = transparent * 255 // (2**grey_bits - 1)
        return array[:, :, None], _alpha(array != level), (*notes, COLOUR_KEY_NOTE)
    if image.mode == "RGB" and isinstance(transparent, tuple):
        return array, _alpha((array != np.asarray(transparent)).any(axis=2)), (*notes, COLOUR_KEY_NOTE)
    return _split(array, notes)


def _array(image: Image.Image) -> U8:
    """The pixels of a loaded picture, (H, W) or (H, W, C), taken in strips: Pillow's own way holds all of them twice more."""
    bands = len(image.getbands())
    array = np.empty((image.height, image.width, bands)[: 2 if bands == 1 else 3], np.uint8)
    step = max(1, STRIP_VALUES // (image.width * bands))
    for top in range(0, image.height, step):
        array[top : top + step] = np.asarray(image.crop((0, top, image.width, min(top + step, image.height))))
    return array


def _split(array: U8, notes: tuple[str, ...]) -> tuple[U8, U8 | None, tuple[str, ...]]:
    if array.ndim == 2:
        array = array[:, :, None]
    colours = 3 if array.shape[2] >= 3 else 1
    alpha = array[:, :, colours].copy() if array.shape[2] > colours else None
    return np.ascontiguousarray(array[:, :, :colours]), alpha, notes


def _alpha(is_opaque: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> U8:
    return is_opaque.astype(np.uint8) * np.uint8(255)
