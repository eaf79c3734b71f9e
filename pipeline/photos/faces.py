"""Faces in a photo: found by dlib, and the crop around each as the crops are made that generators are trained on. No torch.

The finder is the extra ``faces``. It sees faces from the front and half to the side, tilted by up to 30 degrees and more; of
profiles about half, of heads that lie on their side none. A face in a painting on the wall is a face to it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from pipeline.images.boxes import fit_box
from pipeline.images.types import U8, Box

INSTALL = "pip install 'disrupt[faces]'"
PACKAGE = "dlib-bin"
LOOKED_PIXELS = 8_000_000
"""A photo is looked at in about so many pixels: smaller ones up to twice enlarged, larger ones reduced. Half a second of one core.

The smallest face that dlib sees has a side of 80 of these pixels, or somewhat less."""
LEAST_SCORE = -0.2
"""What dlib's score of a face must reach. At 0, its own threshold, fewer faces from the side are found; at -0.5 a horse is one."""
MOST_FACES = 64
"""So many faces of a photo are protected, the largest."""
SIDE, EYES = 2.0, 0.45
"""A crop has this many sides of the face's box, and the eyes at this share of its height (the crops of CelebA)."""
EYES_IN_FACE = 0.3
"""Where dlib's box of a face has the eyes, as a share of its height: .25 to .34 in 8 of 10 crops of five sources."""
NO_FACE = (
    "no face found: the largest centred square is protected "
    "(faces of less than 40 px, or 3 % of the longer side, heads on their side and many profiles are not seen)"
)


_ONE_AT_A_TIME = threading.Lock()  # a detector keeps what it works on


class FinderMissingError(RuntimeError):
    """The finder is not installed, or in another version than the run began with; the message says how to get it."""


def finder_version() -> str | None:
    """The finder as a run records it; None where the extra is not installed."""
    if importlib.util.find_spec("dlib") is None:
        return None
    try:
        return f"dlib {importlib.metadata.version(PACKAGE)}"
    except importlib.metadata.PackageNotFoundError:
        return f"dlib {_dlib().__version__}"


def check_finder(version: str = "") -> None:
    """Raise FinderMissingError unless the finder is installed, in this version if one is given."""
    here = finder_version()
    if here is None:
        raise FinderMissingError(f"faces are found by the extra faces, which is not installed here: {INSTALL}")
    if version and here != version:
        raise FinderMissingError(f"faces are found by {here} here, but the run began with {version}: install that version")


def find_faces(upright_HWC: U8) -> list[Box]:
    """The faces of a photo, (H, W, 3 or 1) as it is shown, as boxes in its pixels that may stick out; the largest first.

    The same photo gives the same boxes on one kind of processor. Raises FinderMissingError without the extra.
    """
    check_finder()
    height, width = upright_HWC.shape[:2]
    scale = min(2.0, math.sqrt(LOOKED_PIXELS / (height * width)))
    grey_HW = np.asarray(_grey(upright_HWC).resize((round(width * scale), round(height * scale)), Image.Resampling.BILINEAR))
    with _ONE_AT_A_TIME:
        found, _, _ = _detector().run(np.ascontiguousarray(grey_HW), 0, LEAST_SCORE)
    boxes = [(one.left(), one.top(), one.right() + 1, one.bottom() + 1) for one in found]
    scaled: list[Box] = [tuple(round(edge / scale) for edge in box) for box in boxes]
    return sorted(scaled, key=lambda box: (-_area(box), box))


def crop_faces(faces: Sequence[Box], size: tuple[int, int]) -> list[Box]:
    """The crop around each face in a photo of this (width, height): square, `SIDE` times the face, eyes at `EYES` of its height.

    Where the photo ends the crop is smaller or moved inside; nothing is padded.
    """
    crops = []
    for left, top, right, bottom in faces:
        side = min(SIDE * (right - left), *size)
        eyes = top + EYES_IN_FACE * (bottom - top)
        crops.append(fit_box(((left + right) / 2, eyes + (0.5 - EYES) * side), (side, side), size))
    return crops


def largest(boxes: Sequence[Box]) -> tuple[tuple[Box, ...], tuple[str, ...]]:
    """The `MOST_FACES` largest boxes, each once and the largest first, with a note where that leaves some out."""
    each = sorted(set(boxes), key=lambda box: (-_area(box), box))
    left_out = len(each) - MOST_FACES
    note = f"of {len(each)} faces the {MOST_FACES} largest are protected"
    return tuple(each[:MOST_FACES]), (note,) if left_out > 0 else ()


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _grey(pixels_HWC: U8) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels_HWC.squeeze(2) if pixels_HWC.shape[2] == 1 else pixels_HWC)).convert("L")


def _dlib() -> Any:
    import dlib

    return dlib


@cache
def _detector() -> Any:
    return _dlib().get_frontal_face_detector()
