"""A photo from where it lies: its bytes and its decoded form."""

from __future__ import annotations

from typing import Literal

from pipeline.containers.listing import PhotoRef
from pipeline.photos.decode import decode_photo
from pipeline.photos.photo import Photo, PhotoBrokenError, PhotoRefusedError
from pipeline.storage import FileTooLargeError, StorageError, read_uri

MAX_BYTES = 500_000_000
"""The most bytes of a photo's file, where nothing else is said."""

Stage = Literal["list", "read", "decode"]


class UnusablePhotoError(Exception):
    """A photo that cannot be used: ``status`` says whether it was left out on purpose, ``data`` is what was read of it."""

    def __init__(self, status: Literal["skipped", "failed"], stage: Stage, reason: str, data: bytes | None = None) -> None:
        super().__init__(reason)
        self.status, self.stage, self.reason, self.data = status, stage, reason, data


def read_photo(ref: PhotoRef, *, max_pixels: int, max_bytes: int = MAX_BYTES, data: bytes | None = None) -> tuple[bytes, Photo]:
    """The file's bytes (those of ``data``, where they are read already) and the decoded photo; raises UnusablePhotoError."""
    too_large = f"too large: more than {max_bytes / 1e6:g} million bytes (--max-megabytes)"
    if ref.refused:
        raise UnusablePhotoError("failed" if ref.failed else "skipped", "list", ref.refused, data)
    if ref.size_bytes > max_bytes:
        raise UnusablePhotoError("skipped", "list", too_large, data)
    try:
        data = read_uri(ref.uri, most=max_bytes) if data is None else data
    except FileTooLargeError as error:
        raise UnusablePhotoError("skipped", "read", too_large) from error
    except MemoryError as error:
        raise UnusablePhotoError("failed", "read", "not enough memory to read it") from error
    except (OSError, StorageError) as error:
        raise UnusablePhotoError("failed", "read", f"cannot be read: {error}") from error
    try:
        return data, decode_photo(data, max_pixels=max_pixels)
    except PhotoRefusedError as error:
        raise UnusablePhotoError("skipped", "decode", str(error), data) from error
    except PhotoBrokenError as error:
        raise UnusablePhotoError("failed", "decode", str(error), data) from error
    except MemoryError as error:
        raise UnusablePhotoError("failed", "decode", "not enough memory to decode it", data) from error
