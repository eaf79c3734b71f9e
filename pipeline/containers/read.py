"""A photo from where it lies: its bytes and its decoded form."""

from __future__ import annotations

from typing import Literal

from pipeline.containers.listing import PhotoRef
from pipeline.photos.decode import decode_photo
from pipeline.photos.photo import Photo, PhotoBrokenError, PhotoRefusedError
from pipeline.storage import read_uri

Stage = Literal["list", "read", "decode"]


class UnusablePhotoError(Exception):
    """A photo that cannot be used: ``status`` says whether it was left out on purpose, ``data`` is what was read of it."""

    def __init__(self, status: Literal["skipped", "failed"], stage: Stage, reason: str, data: bytes | None = None) -> None:
        super().__init__(reason)
        self.status, self.stage, self.reason, self.data = status, stage, reason, data


def read_photo(ref: PhotoRef, *, max_pixels: int) -> tuple[bytes, Photo]:
    """The file's bytes and the decoded photo; raises UnusablePhotoError."""
    if ref.refused:
        raise UnusablePhotoError("skipped", "list", ref.refused)
    try:
        data = read_uri(ref.uri)
    except OSError as error:
        raise UnusablePhotoError("failed", "read", f"cannot be read: {error}") from error
    try:
        return data, decode_photo(data, max_pixels=max_pixels)
    except PhotoRefusedError as error:
        raise UnusablePhotoError("skipped", "decode", str(error), data) from error
    except PhotoBrokenError as error:
        raise UnusablePhotoError("failed", "decode", str(error), data) from error
    except MemoryError as error:
        raise UnusablePhotoError("failed", "decode", "not enough memory to decode it", data) from error
