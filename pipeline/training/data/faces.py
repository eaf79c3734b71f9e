"""Faces with labels, or photos without, as batches: a folder becomes tensors of squares in 8 bits, and these become batches."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.containers.find import find_photos
from pipeline.containers.listing import PhotoRef
from pipeline.containers.naming import LEAVES_FOLDER, unsafe_reason
from pipeline.training.data.batches import crop_flip_resize, mirror, resized, shuffled, stream_of
from pipeline.training.data.labels import HAIR
from pipeline.training.data.pictures import Fit
from pipeline.training.data.store import IN_MEMORY, Pixels, Store, in_memory
from pipeline.training.options import TrainError
from pipeline.training.systems.system import Batch

TABLE = "labels.csv"
HELD_OUT = 10
"""One photo in so many is held out where no table says so."""
SHOWN = 8
"""Faces of a sample picture."""
SIDE = 128
"""Pixels of faces as they are kept."""


@dataclass(frozen=True)
class Faces:
    """Images (N, 3, S, S) uint8, labels (N, K) in [0, 1] and known (N, K) 0/1; an unlabelled hair colour is not known."""

    names: tuple[str, ...]
    u8_NCHW: Pixels
    labels_NK: Tensor
    known_NK: Tensor
    skipped: int = 0
    """Images that could not be read and were left out."""
    unlabelled: int = 0
    """Images of a container without labels, left out too."""

    identities: tuple[str, ...] = ()
    """Who is in each image, where labels.csv says so in a column identity."""

    @property
    def people(self) -> tuple[str, ...]:
        """Who is in each image; where nothing says so, each image is of somebody else."""
        return self.identities or self.names

    @property
    def in_memory(self) -> Tensor:
        """All images as one tensor."""
        return in_memory(self.u8_NCHW)

    def batch(self, index_B: Tensor, images_BCHW: Tensor) -> Batch:
        """The images with the labels of the faces ``index_B``."""
        return {"image": images_BCHW, "labels": self.labels_NK[index_B], "known": self.known_NK[index_B]}


@dataclass(frozen=True)
class FacesSource:
    """Faces with their labels: batches of ``image`` (B, 3, S, S) in [-1, 1], ``labels`` and ``known`` (B, K)."""

    train: Faces
    val: Faces
    size: int
    count: int
    """Images in a batch."""
    seed: int
    balanced: bool = True
    """Draws rare combinations of labels more often, cropped and lit at random; else each face once an epoch, as published."""

    @cached_property
    def _weights(self) -> Tensor:
        return balanced_weights(self.train.labels_NK)

    @property
    def skipped(self) -> int:
        """Unreadable images in both parts."""
        return self.train.skipped + self.val.skipped

    @property
    def pictures(self) -> list[Pixels]:
        """The images of both parts."""
        return [self.train.u8_NCHW, self.val.u8_NCHW]

    def batch(self, step: int) -> Batch:
        """The faces of a step, half of them mirrored."""
        rng = stream_of(self.seed, step)
        if self.balanced:
            index_B = torch.multinomial(self._weights, self.count, replacement=True, generator=rng)
            images_BCHW = crop_flip_resize(self.train.u8_NCHW[index_B], self.size, rng)
        else:
            index_B = shuffled(self.seed, step, batch=self.count, count=len(self.train.names), about="faces")
            images_BCHW = resized(self.train.u8_NCHW[index_B], self.size)
            images_BCHW = mirror(images_BCHW, torch.rand(self.count, generator=rng) < 0.5)
        return self.train.batch(index_B, images_BCHW)

    def held_out(self) -> Batch:
        """Faces at even distances in the list, as they are."""
        pick = torch.linspace(0, len(self.val.names) - 1, min(SHOWN, len(self.val.names))).long()
        return self.val.batch(pick, resized(self.val.u8_NCHW[pick], self.size))


def load_faces(
    folder: Path,
    *,
    attributes: Sequence[str],
    split: str,
    licences: Sequence[str] | None,
    size: int = SIDE,
    store: Store = IN_MEMORY,
) -> Faces:
    """The rows of ``folder/labels.csv`` in ``split`` whose licence is one of ``licences`` (all if None).

    Images that cannot be read are skipped and counted. Raises TrainError, with file and row, for a label that is missing or outside
    0 to 1, for a file outside ``folder``, and when no row is left.
    """
    table = folder / TABLE
    rows = [(i, r) for i, r in label_rows(table, ("file", "split", "licence", *attributes)) if r["split"] == split]
    rows = [(i, r) for i, r in rows if licences is None or r["licence"] in licences]
    if not rows:
        raise TrainError(f"no row of {table} is in split {split!r} with licence in {licences}")
    for i, row in rows:
        if row["file"] and unsafe_reason(row["file"]) == LEAVES_FOLDER:
            raise TrainError(f"{table}, line {i}: {row['file']!r} lies outside the folder; expected a file in {folder}")
    labels = [[_label(r[a], a, f"{table}, line {i} ({r['file']})") for a in attributes] for i, r in rows]
    known = [[a not in HAIR or any(r[h] == "1" for h in HAIR if h in r) for a in attributes] for _, r in rows]
    names = [row["file"] for _, row in rows]
    u8_NCHW, readable = store.files([folder / name for name in names], Fit(size, size, square=True))
    return Faces(
        names=tuple(names[i] for i in readable),
        u8_NCHW=u8_NCHW,
        labels_NK=torch.tensor([labels[i] for i in readable]),
        known_NK=torch.tensor([known[i] for i in readable], dtype=torch.float32),
        skipped=len(rows) - len(readable),
        identities=tuple(rows[i][1].get("identity") or names[i] for i in readable),
    )


def load_labelled(
    refs: Sequence[PhotoRef],
    *,
    attributes: Sequence[str],
    split: str,
    licences: Sequence[str] | None,
    size: int = SIDE,
    store: Store = IN_MEMORY,
    one_class: bool = False,
) -> Faces:
    """The photos of containers in ``split`` (train or val), with the labels that stand beside them.

    ``split`` and ``licence`` are labels as the attributes are; where no photo has a split, a tenth is val: see `load_squares`. With
    ``one_class`` a number ``cls`` may say which of the attributes is 1. Photos that cannot be read, or have no label, are left out
    and counted. Raises TrainError for a label that is missing beside others or outside 0 to 1, and when no photo is left.
    """
    hair = [name for name in HAIR if name not in attributes]
    columns = ("split", "licence", "cls", *attributes, *hair)
    contents = store.containers(refs, Fit(size, size, square=True), columns)
    names, rows = contents.names, contents.labels
    if one_class:
        rows = tuple(_of_class(row, len(attributes), name) for name, row in zip(names, rows, strict=True))
    own = slice(3, 3 + len(attributes))
    labelled = [i for i, row in enumerate(rows) if not attributes or any(value is not None for value in row[own])]
    if not labelled:
        wanted = ", ".join(attributes)
        raise TrainError(f"{refs[0].uri}: no photo has a label ({wanted}) in a column, or in a member KEY.json of its sample")
    if any(rows[i][0] is not None for i in labelled):
        chosen = [i for i in labelled if (rows[i][0] or "train") == split]
    else:
        by_hash = sorted(labelled, key=lambda i: _hash(names[i]))
        few = -(-len(by_hash) // HELD_OUT)
        chosen = sorted(by_hash[few:] if split == "train" else by_hash[:few])
    chosen = [i for i in chosen if licences is None or rows[i][1] in licences]
    if not chosen:
        raise TrainError(f"{refs[0].uri}: no photo with labels is in split {split!r} with licence in {licences}")
    labels = [[_label(value, a, names[i]) for a, value in zip(attributes, rows[i][own], strict=True)] for i in chosen]
    known = [[a not in HAIR or _has_hair(columns, rows[i]) for a in attributes] for i in chosen]
    return Faces(
        names=tuple(names[i] for i in chosen),
        u8_NCHW=store.held(contents.pictures.take(chosen)),
        labels_NK=torch.tensor(labels),
        known_NK=torch.tensor(known, dtype=torch.float32),
        skipped=contents.skipped if split == "train" else 0,
        unlabelled=len(names) - len(labelled) if split == "train" else 0,
    )


def _of_class(row: Sequence[Any], count: int, name: str) -> Sequence[Any]:
    """The row with the label of its class set, as it is without a class."""
    if row[2] is None:
        return row
    if not (isinstance(row[2], int) and 0 <= row[2] < count):
        raise TrainError(f"{name}: cls is {row[2]}; expected a number from 0 to {count - 1}")
    return [*row[:3], *(int(i == row[2]) for i in range(count)), *row[3 + count :]]


def _has_hair(columns: Sequence[str], row: Sequence[Any]) -> bool:
    return any(value in (1, "1") for name, value in zip(columns, row, strict=True) if name in HAIR)


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()


def load_squares(place: str | Path, *, split: str, licences: Sequence[str] | None, size: int, store: Store = IN_MEMORY) -> Faces:
    """The photos of ``split`` (train, val or test) of a folder, pattern or table, each its largest centred square, without labels.

    A ``labels.csv`` with the columns file, split and licence says which photo is in which split; without one a tenth of the
    photos, those whose names have the lowest hashes, is val and test alike. Photos that cannot be read are skipped and counted.
    Raises TrainError when none is left.
    """
    table = Path(place, TABLE)
    if table.is_file():
        return load_faces(table.parent, attributes=(), split=split, licences=licences, size=size, store=store)
    if licences is not None:
        raise TrainError(f"--licence needs {table} with the columns file, split and licence")
    by_hash = sorted(find_photos(place).refs, key=lambda ref: _hash(ref.key))
    few = -(-len(by_hash) // HELD_OUT)
    refs = sorted(by_hash[few:] if split == "train" else by_hash[:few], key=lambda ref: ref.key)
    readable = [ref for ref in refs if ref.refused is None]
    if not readable:
        raise TrainError(f"no photo of split {split!r} below {place} can be read; give more photos, or {TABLE} that names splits")
    u8_NCHW, rows = store.files([ref.uri for ref in readable], Fit(size, size, square=True))
    count = len(rows)
    names = tuple(readable[i].key for i in rows)
    return Faces(names, u8_NCHW, torch.zeros(count, 0), torch.zeros(count, 0), skipped=len(refs) - count)


def label_rows(table: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """The rows of the table with their line numbers; the header is line 1."""
    if not table.is_file():
        raise TrainError(f"{table} is missing; expected a table with the columns {', '.join(columns)}")
    with table.open(newline="", encoding="utf-8") as handle:
        reader = csv.DictReader(handle)
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            raise TrainError(f"{table} has no column {', '.join(missing)}")
        return [(reader.line_num, row) for row in reader]


def _label(cell: Any, attribute: str, where: str) -> float:
    text = "" if cell is None else str(cell)
    try:
        value = float(cell)
    except (TypeError, ValueError):
        value = float("nan")
    if not 0 <= value <= 1:
        problem = f"is {text!r}" if text else "is missing"
        raise TrainError(f"{where}: {attribute} {problem}; expected a number from 0 to 1")
    return value


def balanced_weights(labels_NK: Tensor, power: float = 0.5) -> Tensor:
    """Sampling weight per image, the inverse count of its combination of labels to ``power``; sums to 1. Shape (N,).

    Labels between 0 and 1 count as the nearer of both.
    """
    if labels_NK.shape[1] == 0:
        return torch.full((len(labels_NK),), 1 / len(labels_NK), dtype=torch.float64)
    _, cell_N, counts = torch.unique(labels_NK.round(), dim=0, return_inverse=True, return_counts=True)
    weights_N = counts.double()[cell_N] ** -power
    normalised_N: Tensor = weights_N / weights_N.sum()
    return normalised_N
