"""Read and decode: references in, decoded photos out; a file that cannot be used ends here with its reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from pipeline.containers.read import MAX_BYTES, UnusablePhotoError, read_photo
from pipeline.images.boxes import region_box
from pipeline.images.orientation import to_upright, upright_size
from pipeline.ledger.schema import ManifestRow
from pipeline.photos.faces import NO_FACE, check_finder, crop_faces, find_faces, largest
from pipeline.photos.heif import GAIN_MAP_NOTE
from pipeline.photos.photo import Photo, PhotoRefusedError
from pipeline.protection.options import ProtectConfig
from pipeline.protection.row import Work

GainMap = Literal["drop", "skip"]


def read_photos(
    works: Sequence[Work], *, max_pixels: int, max_bytes: int = MAX_BYTES, gain_map: GainMap = "drop", faces: bool = False
) -> list[Work]:
    """The same inputs with bytes and decoded pixels, or ended as skipped or failed; with ``gain_map`` skip also those with one.

    With ``faces`` each photo comes with the boxes around its faces; one without any is to be shown as a square.
    """
    read = [_read(work, max_pixels, max_bytes, gain_map) for work in works]
    return [_look_for_faces(work, work.photo) if faces and work.photo else work for work in read]


def reader(config: ProtectConfig) -> Callable[[Sequence[Work]], list[Work]]:
    """`read_photos` with the limits of a run; raises FinderMissingError where the run needs a finder that is not here."""
    limits, faces = config.photos, config.region == "faces" and config.changes_region()
    if faces:
        check_finder(config.finder)
    return partial(read_photos, max_pixels=limits.max_pixels, max_bytes=limits.max_bytes, gain_map=config.gain_map, faces=faces)


def _read(work: Work, max_pixels: int, max_bytes: int, gain_map: GainMap) -> Work:
    if work.ended:
        return work
    try:
        data, photo = read_photo(work.ref, max_pixels=max_pixels, max_bytes=max_bytes, data=work.data)
    except UnusablePhotoError as error:
        size = work.ref.size_bytes if error.data is None else len(error.data)
        row = ManifestRow(key=work.ref.key, status=error.status, stage=error.stage, reason=error.reason, bytes_in=size)
        return end(work, row, data=error.data)
    if gain_map == "skip" and GAIN_MAP_NOTE in photo.notes:
        why = "an HDR gain map, which would be lost (--gain-map skip)"
        return end(work, ManifestRow.skipped(work.ref.key, stage="decode", reason=why, bytes_in=len(data)), data=data)
    return dataclasses.replace(work, data=data, photo=photo)


def _look_for_faces(work: Work, photo: Photo) -> Work:
    size = upright_size(photo.width, photo.height, photo.orientation)
    try:
        boxes, notes = largest(crop_faces(find_faces(to_upright(photo.pixels_HWC, photo.orientation)), size))
    except MemoryError:
        why = "not enough memory to look for faces in a photo of this size"
        row = ManifestRow.failed(work.ref.key, stage="decode", reason=why, bytes_in=len(work.data or b""))
        return end(work, row, data=work.data)
    if not boxes:
        return dataclasses.replace(work, region="square", notes=(*work.notes, NO_FACE))
    return dataclasses.replace(work, region="faces", boxes=boxes, notes=(*work.notes, *notes))


def choose_boxes(work: Work, photo: Photo, region: str) -> Work:
    """The work with what generators see of the photo; raises PhotoRefusedError for a box that is missing or does not fit."""
    size = upright_size(photo.width, photo.height, photo.orientation)
    given = work.ref.boxes if region == "box" and work.ref.boxes else (None,)
    try:
        boxes, notes = largest([region_box(region, *size, box) for box in given])
    except ValueError as error:
        raise PhotoRefusedError(str(error)) from error
    return dataclasses.replace(work, region=region, boxes=boxes, notes=(*work.notes, *notes))


def end(work: Work, row: ManifestRow, *, data: bytes | None = None) -> Work:
    """The input with its final row and without its pixels."""
    return dataclasses.replace(work, data=data, photo=None, pixels_HWC=None, encoded=None, ended=row)
