"""Read and decode: references in, decoded photos out; a file that cannot be used ends here with its reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pipeline.ledger.schema import ManifestRow
from pipeline.photos.decode import decode_photo
from pipeline.photos.photo import PhotoBrokenError, PhotoRefusedError
from pipeline.protection.row import Work
from pipeline.storage import open_storage, read_bytes


def read_photos(works: Sequence[Work], *, max_pixels: int) -> list[Work]:
    """The same inputs with bytes and decoded pixels, or ended as skipped or failed."""
    return [_read(work, max_pixels) for work in works]


def _read(work: Work, max_pixels: int) -> Work:
    ref = work.ref
    if ref.refused:
        return ended(work, ManifestRow.skipped(ref.key, stage="list", reason=ref.refused, bytes_in=ref.size_bytes))
    try:
        fs, path = open_storage(ref.uri)
        data = read_bytes(fs, path)
    except OSError as error:
        return ended(work, ManifestRow.failed(ref.key, stage="read", reason=f"cannot be read: {error}", bytes_in=ref.size_bytes))
    try:
        return dataclasses.replace(work, data=data, photo=decode_photo(data, max_pixels=max_pixels))
    except PhotoRefusedError as error:
        return ended(work, ManifestRow.skipped(ref.key, stage="decode", reason=str(error), bytes_in=len(data)), data=data)
    except PhotoBrokenError as error:
        return ended(work, ManifestRow.failed(ref.key, stage="decode", reason=str(error), bytes_in=len(data)), data=data)
    except MemoryError:
        reason = "not enough memory to decode it"
        return ended(work, ManifestRow.failed(ref.key, stage="decode", reason=reason, bytes_in=len(data)), data=data)


def ended(work: Work, row: ManifestRow, *, data: bytes | None = None) -> Work:
    """The input with its final row and without its pixels."""
    return dataclasses.replace(work, data=data, photo=None, pixels_HWC=None, encoded=None, ended=row)
