"""Look: references to pictures in, what the detector is to see of them out. Reads, decodes, turns upright; holds no net."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.containers.listing import PhotoRef
from pipeline.detection.row import DetectionRow, Status
from pipeline.images.orientation import to_upright, upright_size
from pipeline.images.resize import pixels_to_tensor
from pipeline.photos.photo import Photo
from pipeline.protection.row import Work
from pipeline.protection.stages.read import read_photos
from pipeline.signals.detector import detector_input


@dataclass(frozen=True)
class Sight:
    """How the detector looks: its side S, and the shorter side that a picture must have, in pixels; and the most pixels."""

    size: int
    smallest: int
    max_pixels: int


@dataclass(frozen=True)
class Looked:
    """A picture as the detector is to see it, (1, 3, S, S) in [-1, 1], None for one that has ended; and its row so far."""

    row: DetectionRow
    seen_13SS: NDArray[np.float32] | None = None


def look(refs: Sequence[PhotoRef], sight: Sight) -> list[Looked]:
    """What the detector is to see of each picture, in the same order; one that cannot be used has ended with its reason."""
    return [_look(ref, sight) for ref in refs]


def _look(ref: PhotoRef, sight: Sight) -> Looked:
    (work,) = read_photos([Work(ref, output="")], max_pixels=sight.max_pixels)
    if work.photo is None:
        return Looked(_ended(work))
    photo = work.photo
    width, height = upright_size(photo.width, photo.height, photo.orientation)
    row = DetectionRow(key=ref.key, status="judged", width=width, height=height)
    if min(width, height) < sight.smallest:
        reason = f"too small: {width} x {height} pixels; signals of this bundle need {sight.smallest} a side"
        return Looked(DetectionRow(key=ref.key, status="skipped", stage="look", reason=reason, width=width, height=height))
    try:
        return Looked(row, _seen(photo, sight.size))
    except MemoryError:
        reason = "not enough memory for a picture of this size"
        return Looked(DetectionRow(key=ref.key, status="failed", stage="look", reason=reason))


def _ended(work: Work) -> DetectionRow:
    if work.ended is None:
        raise RuntimeError(f"{work.ref.key}: read without pixels and without a reason")
    status: Status = "skipped" if work.ended.status == "skipped" else "failed"
    return DetectionRow(key=work.ref.key, status=status, stage=work.ended.stage, reason=work.ended.reason)


def _seen(photo: Photo, size: int) -> NDArray[np.float32]:
    upright_HWC = to_upright(photo.pixels_HWC, photo.orientation)
    seen_13SS: NDArray[np.float32] = detector_input(pixels_to_tensor(upright_HWC), size).contiguous().numpy()
    return seen_13SS
