"""Which photos a table measures: held-out ones, in an order that stays the same when more are asked for."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path

from pipeline.containers.find import find_photos
from pipeline.containers.naming import LEAVES_FOLDER, unsafe_reason
from pipeline.storage import open_storage
from pipeline.tables.cells import Photos
from pipeline.tables.config import TableError

LABELS = "labels.csv"


def measured_photos(folder: Path, work: Path, limit: int) -> Photos:
    """The first ``limit`` photos that a generator has not seen: split test of labels.csv, or all of a folder without one."""
    names = listed(folder, "test")
    limit = min(limit, len(names))
    return Photos(_table(names, work), limit, f"{limit} of {len(names)} photos{_of_split(folder, 'test')}")


def training_photos(folder: Path, work: Path, limit: int, *, measured: int) -> Photos:
    """Up to ``limit`` photos to train on, none of which is measured: split train, or what comes after those measured."""
    has_labels = (folder / LABELS).is_file()
    names = listed(folder, "train") if has_labels else listed(folder, "test")[measured:]
    if not names:
        raise TableError(f"{folder}: no photos are left to fine-tune on; give a folder with more than {measured}, or labels.csv")
    limit = min(limit, len(names))
    return Photos(_table(names, work), limit, f"{limit} photos{_of_split(folder, 'train')}")


def listed(folder: Path, split: str) -> list[Path]:
    """The photos of a split, or of a folder without labels.csv, in the order of the hashes of their names.

    That order mixes persons and sources, and a longer list begins with the shorter one. Raises TableError when there are none.
    """
    if not folder.is_dir():
        raise TableError(f"{folder}: no such folder; give a folder of photos")
    labels = folder / LABELS
    if labels.is_file():
        names = _of(labels, split)
    else:
        names = [Path(open_storage(ref.uri)[1]) for ref in find_photos(folder).refs if not ref.refused]
    if not names:
        raise TableError(f"{labels}: no row of split {split}")
    return sorted(names, key=lambda path: (hashlib.sha256(path.name.encode()).digest(), path))


def _of(labels: Path, split: str) -> list[Path]:
    with labels.open(newline="", encoding="utf-8") as handle:
        rows = csv.DictReader(handle)
        if not {"file", "split"} <= set(rows.fieldnames or ()):
            raise TableError(f"{labels}: expected the columns file and split, found {', '.join(rows.fieldnames or ())}")
        names = [row["file"] for row in rows if row["split"] == split]
    outside = [name for name in names if unsafe_reason(name) == LEAVES_FOLDER]
    if outside:
        raise TableError(f"{labels}: {outside[0]!r} lies outside the folder")
    return [labels.parent / name for name in names]


def _of_split(folder: Path, split: str) -> str:
    return f" of split {split}" if (folder / LABELS).is_file() else ""


def _table(names: Sequence[Path], work: Path) -> Path:
    """A table of these photos for protect, named by what it holds."""
    lines = ["path,key", *(f'"{path.resolve()}","{rank:05d}-{path.name}"' for rank, path in enumerate(names))]
    text = "\n".join(lines) + "\n"
    place = work / "photos" / f"{hashlib.sha256(text.encode()).hexdigest()[:12]}.csv"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    return place.resolve()
