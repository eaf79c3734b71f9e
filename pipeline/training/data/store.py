"""Pictures that do not fit memory: decoded once into files in the folder of the training, and read from there one by one.

A part is what is decoded together: a container, or some files of a folder. Its record, written last, says that it is whole, so a
training that was stopped decodes only what is missing. A batch is the same as from memory, whichever process makes it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from pipeline.containers.errors import ContainerError
from pipeline.containers.find import walk_photos
from pipeline.containers.listing import PhotoRef
from pipeline.containers.samples import labelled_photos
from pipeline.ledger.layout import OWN
from pipeline.photos.photo import PhotoBrokenError, PhotoRefusedError
from pipeline.storage import Folder, open_storage, scheme_of
from pipeline.training.data.pictures import Fit, decode_picture, load_bytes, read_pictures
from pipeline.training.options import TrainError

FOLDER = f"{OWN}/pictures"
"""Where the files lie, below the folder of the training."""
FILES_A_PART = 1000
DECODED = "upright"
"""How pictures are decoded: another way makes other parts."""


@dataclass(frozen=True)
class Part:
    """Pictures that are decoded together, and where to: a container with the labels ``columns``, or ``files``."""

    folder: Path
    fit: Fit
    files: tuple[str, ...] = ()
    container: PhotoRef | None = None
    image: str | None = None
    columns: tuple[str, ...] = ()
    stamps: tuple[tuple[int, int], ...] = ()
    """Size and time of change of what is read: another file is another part."""

    @property
    def name(self) -> str:
        """16 hex digits of all that decides its content."""
        container = (self.container.key, self.container.uri) if self.container else None
        facts = (DECODED, self.fit, self.files, container, self.image, self.columns, self.stamps)
        return hashlib.sha256(repr(facts).encode("utf-8", "surrogatepass")).hexdigest()[:16]

    @property
    def pixels(self) -> Path:
        """The file of its pictures, (N, 3, H, W) uint8."""
        return self.folder / f"{self.name}.u8"

    @property
    def record(self) -> Path:
        """The file that says what the pictures are."""
        return self.folder / f"{self.name}.json"


@dataclass(frozen=True)
class PictureFiles:
    """Pictures (N, 3, H, W) uint8 in files: ``pictures[index]`` reads those of the index, as if it were a tensor."""

    paths: tuple[Path, ...]
    ends: tuple[int, ...]
    """Of each file the number of pictures up to its end."""
    size: tuple[int, int]
    rows: Tensor
    """Which pictures of all files these are."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, 3, H, W)."""
        return (len(self), 3, *self.size)

    def take(self, index: Sequence[int]) -> PictureFiles:
        """Some of the pictures, in the order of the index."""
        return PictureFiles(self.paths, self.ends, self.size, self.rows[torch.tensor(index, dtype=torch.int64)])

    def __getitem__(self, index: Tensor | int) -> Tensor:
        rows = self.rows[index]
        numbers = [int(row) for row in rows.reshape(-1)]
        u8_NCHW = np.empty((len(numbers), 3, *self.size), np.uint8)
        with ExitStack() as stack:
            files: dict[int, Any] = {}
            for number, picture in zip(numbers, u8_NCHW, strict=True):
                at = int(np.searchsorted(self.ends, number, side="right"))
                try:
                    file = files[at] if at in files else stack.enter_context(self.paths[at].open("rb", buffering=0))
                    files[at] = file
                    file.seek((number - (self.ends[at - 1] if at else 0)) * picture.nbytes)
                    if file.readinto(picture.data) != picture.nbytes:
                        raise OSError("the file is cut short")
                except OSError as error:
                    raise TrainError(f"{self.paths[at]}: {error}; run the same command again to decode it anew") from error
        return torch.from_numpy(u8_NCHW).reshape(*rows.shape, 3, *self.size)


Pixels = Tensor | PictureFiles
"""Pictures (N, 3, H, W) uint8, in memory or in files."""


Decode = Callable[[Sequence[Part]], Iterator[Part]]
"""Decodes parts, in any order; yields each when it is whole."""


def decode_here(parts: Sequence[Part], tell: Callable[[], None] = lambda: None) -> Iterator[Part]:
    """Decode the parts in this process, one after the other; yields each when it is whole, and calls ``tell`` for each picture."""
    for part in parts:
        decode_part(part, tell)
        yield part


@dataclass(frozen=True)
class Store:
    """Where decoded pictures stay: in memory up to ``most_bytes`` a set, else in files of ``folder``.

    ``decode`` decodes missing parts. ``image`` is the column of tables, or the suffix in tars, where there are several.
    """

    folder: Path
    most_bytes: float = float("inf")
    decode: Decode = decode_here
    image: str | None = None

    def files(self, files: Sequence[str | Path], fit: Fit) -> tuple[Pixels, tuple[int, ...]]:
        """The readable ones of some files, and their numbers among these; raises TrainError when there is none."""
        if len(files) * fit.nbytes <= self.most_bytes:
            pictures = read_pictures(files, fit)
            return pictures.u8_NCHW, pictures.rows
        names = [str(file) for file in files]
        groups = [tuple(names[i : i + FILES_A_PART]) for i in range(0, len(names), FILES_A_PART)]
        parts = [Part(self.folder, fit, files=group, stamps=tuple(map(_stamp, group))) for group in groups]
        records = self._finish(parts)
        rows = [FILES_A_PART * number + row for number, record in enumerate(records) for row in record["entries"]]
        if not rows:
            raise TrainError(f"none of {len(names)} pictures can be read; {records[0]['reason']}")
        return _open(parts, records), tuple(rows)

    def containers(self, refs: Sequence[PhotoRef], fit: Fit, columns: Sequence[str] = ()) -> Contents:
        """What some containers hold, with the labels ``columns`` where they have them.

        Raises TrainError for a link and when no picture can be read, ContainerError for a container that is cut or damaged.
        """
        for ref in refs:
            if ref.refused:
                raise TrainError(f"{ref.uri}: {ref.refused}")
        parts = [
            Part(self.folder, fit, container=ref, image=self.image, columns=tuple(columns), stamps=(_stamp(ref.uri, distant=True),))
            for ref in refs
        ]
        records = self._finish(parts)
        entries = [entry for record in records for entry in record["entries"]]
        skipped, reason = sum(record["skipped"] for record in records), next(filter(None, (r["reason"] for r in records)), "")
        if not entries:
            raise TrainError(f"none of the {skipped} pictures in {refs[0].uri} can be read; {reason or 'there is none'}")
        names, labels = zip(*entries, strict=True)
        return Contents(_open(parts, records), names, labels, skipped)

    def first(self, refs: Sequence[PhotoRef], fit: Fit, *, count: int) -> Tensor:
        """The first readable pictures of some containers, (count, 3, H, W), fewer where there are fewer."""
        images: list[Tensor] = []
        photos = chain.from_iterable(labelled_photos(ref, image=self.image, columns=()) for ref in refs)
        while len(images) < count and (photo := next(photos, None)):
            with suppress(PhotoRefusedError, PhotoBrokenError):
                images.append(torch.tensor(decode_picture(photo.load(), fit)[0]).permute(2, 0, 1))
        return torch.stack(images)

    def held(self, pictures: PictureFiles) -> Pixels:
        """The pictures in memory where they fit it, else as they are."""
        return in_memory(pictures) if _nbytes(pictures) <= self.most_bytes else pictures

    def _finish(self, parts: Sequence[Part]) -> list[dict[str, Any]]:
        missing = [part for part in parts if not _is_whole(part)]
        for _ in self.decode(missing) if missing else ():
            pass
        return [json.loads(part.record.read_bytes()) for part in parts]


IN_MEMORY = Store(Path())
"""Keeps the pictures of files in memory, however many."""


@dataclass(frozen=True)
class Contents:
    """The readable pictures of containers, their names and labels (None where they have none), and how many cannot be read."""

    pictures: PictureFiles
    names: tuple[str, ...]
    labels: tuple[Sequence[Any], ...]
    skipped: int


def decode_part(part: Part, tell: Callable[[], None] = lambda: None) -> None:
    """Write the pictures of a part, then its record. A picture that cannot be read is counted.

    Never more than one picture is in memory. Raises TrainError when the disk is full, ContainerError as `labelled_photos` does.
    """
    record: dict[str, Any] = {"entries": [], "skipped": 0, "reason": ""}

    def fill(file: BinaryIO) -> None:
        for entry, name, load in _entries(part):
            tell()
            try:
                pixels_HWC, _ = decode_picture(load(), part.fit)
            except (PhotoRefusedError, PhotoBrokenError, OSError) as error:
                record["skipped"] += 1
                record["reason"] = record["reason"] or f"{name}: {error}"
                continue
            file.write(np.ascontiguousarray(pixels_HWC.transpose(2, 0, 1)).data)
            record["entries"].append(entry)

    folder = Folder(part.folder)
    try:
        folder.write_with(part.pixels.name, fill)
        folder.write(part.record.name, json.dumps(record).encode())
    except OSError as error:
        raise TrainError(f"cannot keep the decoded pictures in {part.folder}: {error.strerror or error}") from error


def _entries(part: Part) -> Iterator[tuple[Any, str, Callable[[], bytes]]]:
    """What the record says of each picture, its name, and how to get its bytes."""
    if part.container is None:
        yield from ((row, file, partial(load_bytes, file)) for row, file in enumerate(part.files))
        return
    try:
        for photo in labelled_photos(part.container, image=part.image, columns=part.columns):
            yield (photo.key, [photo.labels.get(name) for name in part.columns]), photo.key, photo.load
    except OSError as error:
        raise ContainerError(f"{part.container.uri}: cannot be read: {error}") from error


def containers_in(place: str | Path) -> tuple[PhotoRef, ...]:
    """The containers of a place; none where it holds loose photos. Raises ListingError when it holds neither."""
    walk = walk_photos(place, containers=True)
    first = next(walk, None)
    return (first, *walk) if first is not None and first.container else ()


def in_memory(pictures: Pixels) -> Tensor:
    """All pictures as one tensor."""
    return pictures if isinstance(pictures, Tensor) else pictures[torch.arange(len(pictures))]


def describe(sets: Iterable[Pixels], memory_mb: float) -> str:
    """Where the pictures of a training are, on one line."""
    kinds: dict[bool, list[Pixels]] = {True: [], False: []}
    for pictures in sets:
        kinds[isinstance(pictures, PictureFiles)].append(pictures)
    lines = []
    for in_files, some in kinds.items():
        count, size = sum(map(len, some)), sum(map(_nbytes, some)) / 1e6
        if some and in_files:
            folder = next(one.paths[0].parent for one in some if isinstance(one, PictureFiles))
            lines.append(f"{count} pictures are read from {folder} ({size:.0f} MB, more than --memory-mb {memory_mb:g})")
        elif some:
            lines.append(f"{count} pictures are held in memory ({size:.0f} MB)")
    return ", ".join(lines)


def _is_whole(part: Part) -> bool:
    if not (part.record.is_file() and part.pixels.is_file()):
        return False
    return part.pixels.stat().st_size == len(json.loads(part.record.read_bytes())["entries"]) * part.fit.nbytes


def _open(parts: Sequence[Part], records: Sequence[Mapping[str, Any]]) -> PictureFiles:
    ends = tuple(accumulate(len(record["entries"]) for record in records))
    size = (parts[0].fit.height, parts[0].fit.width)
    return PictureFiles(tuple(part.pixels for part in parts), ends, size, torch.arange(ends[-1]))


def _nbytes(pictures: Pixels) -> int:
    return int(np.prod(pictures.shape))


def _stamp(place: str, *, distant: bool = False) -> tuple[int, int]:
    """Size in bytes and time of change in ns, -1 where they are not known: a store is asked only if ``distant``."""
    if scheme_of(place) != "file" and not distant:
        return -1, -1
    try:
        fs, path = open_storage(place)
        info = fs.get_file_info(path)
    except OSError:
        return -1, -1
    return (-1 if info.size is None else info.size), (-1 if info.mtime_ns is None else info.mtime_ns)
