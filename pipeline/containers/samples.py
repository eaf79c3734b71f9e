"""The photos of a container, a tar or a table, one after the other; and the same container again with other photos in it."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from io import BufferedReader, RawIOBase
from itertools import islice
from typing import Any, BinaryIO, Literal

import pyarrow as pa

from pipeline.containers.errors import ContainerError
from pipeline.containers.image_table import (
    ADDED_PREFIX,
    NO_IMAGE,
    Group,
    open_table,
    read_group,
    read_rows,
    with_images,
    write_table,
)
from pipeline.containers.listing import PhotoRef
from pipeline.containers.naming import fold_name
from pipeline.containers.tar import NewImage, Sample, read_samples, write_tar
from pipeline.photos.photo import PhotoRefusedError
from pipeline.storage import StorageError, open_storage, while_away

PIECE_BYTES = 8 * 2**20
"""Bytes of a tar that are asked of its store together."""
COLUMNS = {"status": pa.string(), "reason": pa.string(), "l2": pa.float64(), "psnr": pa.float64(), "linf_levels": pa.int32()}
"""What a table says of each photo, in columns `disrupt_*`."""
LOOKED_AT = 5
"""Photos of a tar from whose size their number is guessed."""
UNREADABLE = (ContainerError, OSError, StorageError)


@dataclass(frozen=True)
class Result:
    """What became of a photo: its new bytes, None where it stays as it is, and the record of it."""

    data: bytes | None
    record: Mapping[str, Any]


@dataclass(frozen=True)
class Held:
    """A photo in a container: its key in the run, its bytes, or the reason why it will not be used.

    ``record`` is what an earlier run said of it. One that is not ``whole`` is left out of a container that is written again.
    """

    key: str
    data: bytes | None
    refused: str | None
    record: Mapping[str, Any] | None = None
    whole: bool = True


@dataclass(frozen=True)
class End:
    """Why a container ends without photos, or before its end: the row that it gets itself."""

    status: Literal["skipped", "failed"]
    stage: Literal["list", "read"]
    reason: str


def held_photos(ref: PhotoRef, *, image: str | None, protected: bool = False) -> Iterator[Held]:
    """The photos of a container, in order. Keys are `NAME/KEY` for a sample of a tar, `NAME/000000` for a row of a table.

    ``image`` names the column of a table, or the suffix of the photo where the samples of a tar hold several. A container that was
    ``protected`` is refused unless that is said. Raises ContainerError, for a cut tar after the samples before the cut, and OSError
    where the storage fails.
    """
    if ref.container == "tar":
        for key, sample in _samples(ref, image, protected):
            if _is_photo(sample):
                yield Held(key, _data(sample), sample.refused, sample.record, sample.whole)
        return
    for keys, _, group in _groups(ref, image, protected):
        yield from map(Held, keys, group.images, group.refused, _records(group.table))


@dataclass(frozen=True)
class Labelled:
    """A photo in a container with what is said of it: ``load`` gives its bytes, or raises PhotoRefusedError with the reason."""

    key: str
    load: Callable[[], bytes]
    labels: Mapping[str, Any]


def labelled_photos(ref: PhotoRef, *, image: str | None, columns: Sequence[str]) -> Iterator[Labelled]:
    """The photos of a container as `held_photos` gives them, each with those of the ``columns`` that it has.

    They are columns of a table, or keys of the JSON object in `KEY.json` of a sample; ``cls`` is the number in `KEY.cls`. A member
    that is no such thing says nothing. Of a table no more than a few photos are in memory, whatever its row groups.
    """
    if ref.container == "tar":
        for key, sample in _samples(ref, image):
            if _is_photo(sample):
                labels = {name: value for name, value in _labels(sample).items() if name in columns}
                yield Labelled(key, _loader(sample.data, sample.refused), labels)
        return
    with _opened(ref) as file:
        table = open_table(file, ref.uri, column=image, buffer_bytes=PIECE_BYTES)
        for number, (data, refused, labels) in enumerate(read_rows(table, columns)):
            yield Labelled(f"{ref.key}/{number:06d}", _loader(data, refused), labels)


def _labels(sample: Sample) -> dict[str, Any]:
    members = {name.rpartition("/")[2].partition(".")[2].lower(): data for name, data in sample.others}
    labels: dict[str, Any] = {}
    with suppress(ValueError, RecursionError):
        found = json.loads(members.get("json", b"{}"))
        labels |= found if isinstance(found, dict) else {}
    with suppress(ValueError):
        labels |= {"cls": int(members["cls"])} if "cls" in members else {}
    return {name: value for name, value in labels.items() if isinstance(value, str | int | float)}


def _loader(data: bytes | None, refused: str | None) -> Callable[[], bytes]:
    def load() -> bytes:
        if refused is not None or data is None:
            raise PhotoRefusedError(refused or NO_IMAGE)
        return data

    return load


def photos_inside(ref: PhotoRef, *, image: str | None, protected: bool = False) -> Iterator[Held | End]:
    """The same; a container that cannot be read to its end, or holds no photo, ends with the reason."""
    any_photo = False
    try:
        for held in held_photos(ref, image=image, protected=protected):
            any_photo = True
            yield held
    except UNREADABLE as error:
        yield End("failed", "read", f"cannot be read: {error}")
        return
    if not any_photo:
        yield End("skipped", "list", "it holds no photos")


def limit_photos(refs: Iterable[PhotoRef], limit: int | None, *, image: str | None) -> Iterator[PhotoRef]:
    """As many of these inputs as hold the first ``limit`` photos; of the last container ``most`` are used.

    So many photos of tars are read to be counted. Of a damaged container those before the damage count.
    """
    left = limit
    for ref in refs:
        if left is None:
            yield ref
            continue
        if left <= 0:
            return
        count = _count(ref, image, left + 1) if _opens(ref) else 1
        yield replace(ref, most=left) if count > left else ref
        left -= count


def about_photos(refs: Iterable[PhotoRef], *, image: str | None, enough: int) -> int:
    """How many photos these inputs hold, those of a tar guessed from the size of its first ones; not all are asked for more than
    ``enough``."""
    count = 0
    for ref in refs:
        count += _guess(ref, image) if _opens(ref) else 1
        if count >= enough:
            break
    return count


def rewrite(
    file: BinaryIO, ref: PhotoRef, result: Callable[[str, bytes | None], Result], *, image: str | None, suffix: str
) -> None:
    """Writes the container again with the ``result`` of each photo, asked for with its key and bytes; new photos end in ``suffix``.

    Photos that stay as they are keep their bytes. Samples of a tar that are not whole (links, names that come twice) are left out.
    """
    if ref.container == "tar":
        write_tar(file, _new_samples(ref, result, image, suffix))
    else:
        write_table(file, _new_groups(ref, result, image, suffix))


def _new_samples(
    ref: PhotoRef, result: Callable[[str, bytes | None], Result], image: str | None, suffix: str
) -> Iterator[tuple[Sample, NewImage | None]]:
    for key, sample in _samples(ref, image):
        new = result(key, _data(sample)) if _is_photo(sample) else None
        if not sample.whole:
            continue
        if new is None or sample.refused or sample.image is None:
            yield replace(sample, refused=None), None
        elif new.data is None:
            yield sample, NewImage(sample.data, posixpath.splitext(sample.image)[1], new.record)
        else:
            yield sample, NewImage(new.data, suffix, new.record)


def _new_groups(ref: PhotoRef, result: Callable[[str, bytes | None], Result], image: str | None, suffix: str) -> Iterator[pa.Table]:
    for keys, column, group in _groups(ref, image):
        results = list(map(result, keys, group.images))
        added = {ADDED_PREFIX + name: pa.array([each.record[name] for each in results], kind) for name, kind in COLUMNS.items()}
        yield with_images(group.table, column, [each.data for each in results], added, suffix=suffix)


def _samples(ref: PhotoRef, image: str | None, protected: bool = False) -> Iterator[tuple[str, Sample]]:
    with _opened(ref) as file:
        stream = BufferedReader(_Patient(file, ref.uri), PIECE_BYTES)
        samples = read_samples(stream, ref.uri, image_suffix=image, protected=protected)
        photos = 0
        for key, sample in _with_own_keys((f"{ref.key}/{sample.key}", sample) for sample in samples):
            photos += _is_photo(sample)
            if ref.most is not None and photos > ref.most:
                return
            yield key, sample


def _is_photo(sample: Sample) -> bool:
    return bool(sample.image or sample.refused)


def _data(sample: Sample) -> bytes | None:
    return sample.data if sample.image else None


def _with_own_keys(samples: Iterable[tuple[str, Sample]]) -> Iterator[tuple[str, Sample]]:
    """A key that came before, capitals or not, gets a `~` at its end."""
    seen: set[str] = set()
    for key, sample in samples:
        own = key
        while fold_name(own) in seen:
            own += "~"
        seen.add(fold_name(own))
        yield own, sample


def _groups(ref: PhotoRef, image: str | None, protected: bool = False) -> Iterator[tuple[list[str], str, Group]]:
    with _opened(ref) as file:
        table, row = open_table(file, ref.uri, column=image, protected=protected), 0
        for number in range(table.group_count):
            if ref.most is not None and row >= ref.most:
                return
            group = read_group(table, number)
            if ref.most is not None:
                group = group.first(ref.most - row)
            yield [f"{ref.key}/{row + i:06d}" for i in range(len(group.images))], table.column, group
            row += len(group.images)


def _records(table: pa.Table) -> list[Mapping[str, Any] | None]:
    """What an earlier run said of each row of a table."""
    names = [ADDED_PREFIX + name for name in ("status", "reason")]
    if not set(names) <= set(table.column_names):
        return [None] * table.num_rows
    return [{"status": row[names[0]], "reason": row[names[1]]} for row in table.select(names).to_pylist()]


def _opens(ref: PhotoRef) -> bool:
    """Whether it is a container that will be read."""
    return ref.container is not None and ref.refused is None


def _count(ref: PhotoRef, image: str | None, most: int) -> int:
    """How many photos a container holds, at most ``most``."""
    count = 0
    with suppress(*UNREADABLE):
        if ref.container == "parquet":
            return min(most, _row_count(ref, image))
        for _ in islice(held_photos(ref, image=image, protected=True), most):
            count += 1
    return count


def _guess(ref: PhotoRef, image: str | None) -> int:
    """About how many photos a container holds."""
    with suppress(*UNREADABLE):
        if ref.container == "parquet":
            count = _row_count(ref, image)
        else:
            first = list(islice(held_photos(ref, image=image, protected=True), LOOKED_AT))
            size = sum(len(held.data or b"") for held in first)
            count = max(len(first), ref.size_bytes * len(first) // size if size else 0)
        return count if ref.most is None else min(count, ref.most)
    return 1


def _row_count(ref: PhotoRef, image: str | None) -> int:
    with _opened(ref) as file:
        return open_table(file, ref.uri, column=image, protected=True).row_count


@contextmanager
def _opened(ref: PhotoRef) -> Iterator[Any]:
    fs, path = open_storage(ref.uri)
    with while_away(lambda: fs.open_input_file(path), ref.uri) as file:
        yield file


class _Patient(RawIOBase):
    """A file from front to back that waits while its store is away."""

    def __init__(self, file: Any, place: str) -> None:
        self._file, self._place = file, place

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = while_away(lambda: self._file.read(len(buffer)), self._place)
        buffer[: len(data)] = data
        return len(data)
