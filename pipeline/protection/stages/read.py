"""Read and decode: references in, decoded photos out; a file that cannot be used ends here with its reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from pipeline.containers.read import MAX_BYTES, UnusablePhotoError, read_photo
from pipeline.ledger.schema import ManifestRow
from pipeline.photos.heif import GAIN_MAP_NOTE
from pipeline.protection.options import ProtectConfig
from pipeline.protection.row import Work

GainMap = Literal["drop", "skip"]


def read_photos(works: Sequence[Work], *, max_pixels: int, max_bytes: int = MAX_BYTES, gain_map: GainMap = "drop") -> list[Work]:
    """The same inputs with bytes and decoded pixels, or ended as skipped or failed; with ``gain_map`` skip also those with one."""
    return [_read(work, max_pixels, max_bytes, gain_map) for work in works]


def reader(config: ProtectConfig) -> Callable[[Sequence[Work]], list[Work]]:
    """`read_photos` with the limits of a run."""
    limits = config.photos
    return partial(read_photos, max_pixels=limits.max_pixels, max_bytes=limits.max_bytes, gain_map=config.gain_map)


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


def end(work: Work, row: ManifestRow, *, data: bytes | None = None) -> Work:
    """The input with its final row and without its pixels."""
    return dataclasses.replace(work, data=data, photo=None, pixels_HWC=None, encoded=None, ended=row)
