"""What a search for photos gives back: references to files, not their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from pipeline.photos.foreign import OTHER_SUFFIXES, RAW_SUFFIXES

READ_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".tif", ".tiff", ".bmp", ".dib", ".gif"}
    | {".heic", ".heif", ".hif", ".avif"}
)
PHOTO_SUFFIXES = READ_SUFFIXES | RAW_SUFFIXES | OTHER_SUFFIXES.keys()
N = TypeVar("N", int, float)
Box = tuple[float, float, float, float]
ContainerKind = Literal["tar", "parquet"]


class ListingError(ValueError):
    """The input cannot be listed; the message says what is wrong and how to mend it."""


@dataclass(frozen=True, slots=True)
class PhotoRef:
    """One input: `key` is its relative POSIX name, `uri` is where `open_storage` finds it, `size_bytes` is 0 when not known.

    `boxes` are those that the table gives, each (left, top, right, bottom) in whole upright pixels, or in shares of width and
    height where none is above 1. `refused` is the reason why the file will not be read at all (a symbolic link, a raw file, a name
    that leaves the output folder); it still gets its manifest row: ``failed`` where it is no choice (an odd row), else skipped.
    With ``container`` it is a file that holds photos, and its key the name without the suffix; ``most`` of them are used, or all.
    """

    key: str
    uri: str
    size_bytes: int
    boxes: tuple[Box, ...] = ()
    refused: str | None = None
    container: ContainerKind | None = None
    most: int | None = None
    failed: bool = False


def boxes_of(numbers: Sequence[N] | None) -> tuple[tuple[N, N, N, N], ...]:
    """Boxes from four numbers each, one after the other, as tables of a run hold them; none for None."""
    listed = numbers or ()
    return tuple((listed[i], listed[i + 1], listed[i + 2], listed[i + 3]) for i in range(0, len(listed) - 3, 4))


@dataclass(frozen=True)
class Listing:
    """All inputs sorted by key, and how many files were passed over because their names are not those of photos."""

    refs: tuple[PhotoRef, ...]
    ignored_count: int = 0
