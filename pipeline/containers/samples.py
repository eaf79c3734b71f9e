"""The photos of a container, a tar or a table, one after the other; and the same container again with other photos in it."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from io import BufferedReader, RawIOBase
from typing import Any, BinaryIO

import pyarrow as pa

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
from pipeline.storage import open_storage, while_away

PIECE_BYTES = 8 * 2**20
"""Bytes of a tar that are asked of its store together."""
COLUMNS = {"status": pa.string(), "reason": pa.string(), "l2": pa.float64(), "psnr": pa.float64(), "linf_levels": pa.int32()}
"""What a table says of each photo, in columns `disrupt_*`."""


@dataclass(frozen=True)
class Result:
    """What became of a photo: its new bytes, None where it stays as it is, and the record of it."""

    data: bytes | None
    record: Mapping[str, Any]


@dataclass(frozen=True)
class Held:
    """A photo in a container: its key in the run, its bytes, or the reason why it will not be used."""

    key: str
    data: bytes | None
    refused: str | None


def held_photos(ref: PhotoRef, *, image: str | None) -> Iterator[Held]:
    """The photos of a container, in order. Keys are `NAME/KEY` for a sample of a tar, `NAME/000000` for a row of a table.

    ``image`` names the column of a table, or the suffix of the photo where the samples of a tar hold several. Raises
    ContainerError, for a cut tar after the samples before the cut, and OSError where the storage fails.
    """
    if ref.container == "tar":
        for key, sample in _samples(ref, image):
            if sample.image or sample.refused:
                yield Held(key, sample.data if sample.image else None, sample.refused)
        return
    for keys, _, group in _groups(ref, image):
        for key, data, refused in zip(keys, group.images, group.refused, strict=True):
            yield Held(key, data, refused)


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
            if sample.image or sample.refused:
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


def rewrite(file: BinaryIO, ref: PhotoRef, result: Callable[[str], Result], *, image: str | None, suffix: str) -> None:
    """Writes the container again with the ``result`` of each photo; new photos are files that end in ``suffix``.

    Photos that stay as they are keep their bytes. Samples of a tar that are not whole (links, names that come twice) are left out.
    """
    if ref.container == "tar":
        write_tar(file, (_new_sample(key, sample, result, suffix) for key, sample in _samples(ref, image) if sample.whole))
    else:
        write_table(file, _new_groups(ref, result, image, suffix))


def _new_sample(key: str, sample: Sample, result: Callable[[str], Result], suffix: str) -> tuple[Sample, NewImage | None]:
    if sample.refused or sample.image is None:
        return replace(sample, refused=None), None
    new = result(key)
    if new.data is None:
        return sample, NewImage(sample.data, posixpath.splitext(sample.image)[1], new.record)
    return sample, NewImage(new.data, suffix, new.record)


def _new_groups(ref: PhotoRef, result: Callable[[str], Result], image: str | None, suffix: str) -> Iterator[pa.Table]:
    for keys, column, group in _groups(ref, image):
        results = [result(key) for key in keys]
        added = {ADDED_PREFIX + name: pa.array([each.record[name] for each in results], kind) for name, kind in COLUMNS.items()}
        yield with_images(group.table, column, [each.data for each in results], added, suffix=suffix)


def _samples(ref: PhotoRef, image: str | None) -> Iterator[tuple[str, Sample]]:
    with _opened(ref) as file:
        samples = read_samples(BufferedReader(_Patient(file, ref.uri), PIECE_BYTES), ref.uri, image_suffix=image)
        yield from _with_own_keys((f"{ref.key}/{sample.key}", sample) for sample in samples)


def _with_own_keys(samples: Iterable[tuple[str, Sample]]) -> Iterator[tuple[str, Sample]]:
    """A key that came before, capitals or not, gets a `~` at its end."""
    seen: set[str] = set()
    for key, sample in samples:
        own = key
        while fold_name(own) in seen:
            own += "~"
        seen.add(fold_name(own))
        yield own, sample


def _groups(ref: PhotoRef, image: str | None) -> Iterator[tuple[list[str], str, Group]]:
    with _opened(ref) as file:
        table, row = open_table(file, ref.uri, column=image), 0
        for number in range(table.group_count):
            group = read_group(table, number)
            yield [f"{ref.key}/{row + i:06d}" for i in range(len(group.images))], table.column, group
            row += len(group.images)


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
