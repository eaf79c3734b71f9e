"""Read and decode: references in, decoded photos out; a file that cannot be used ends here with its reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pipeline.containers.read import MAX_BYTES, UnusablePhotoError, read_photo
from pipeline.ledger.schema import ManifestRow
from pipeline.protection.row import Work


def read_photos(works: Sequence[Work], *, max_pixels: int, max_bytes: int = MAX_BYTES) -> list[Work]:
    """The same inputs with bytes and decoded pixels, or ended as skipped or failed."""
    return [_read(work, max_pixels, max_bytes) for work in works]


def _read(work: Work, max_pixels: int, max_bytes: int) -> Work:
    if work.ended:
        return work
    try:
        data, photo = read_photo(work.ref, max_pixels=max_pixels, max_bytes=max_bytes, data=work.data)
    except UnusablePhotoError as error:
        size = work.ref.size_bytes if error.data is None else len(error.data)
        row = ManifestRow(key=work.ref.key, status=error.status, stage=error.stage, reason=error.reason, bytes_in=size)
        return end(work, row, data=error.data)
    return dataclasses.replace(work, data=data, photo=photo)


def end(work: Work, row: ManifestRow, *, data: bytes | None = None) -> Work:
    """The input with its final row and without its pixels."""
    return dataclasses.replace(work, data=data, photo=None, pixels_HWC=None, encoded=None, ended=row)
