"""The manifest that a protection run left, as those who measure its files read it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.ledger.errors import LedgerError
from pipeline.ledger.layout import CONFIG, MANIFEST_FILE
from pipeline.ledger.parts import committed, read_part, read_parts, read_sums
from pipeline.ledger.plan import planned, read_plan
from pipeline.storage import Folder

COLUMNS = ["key", "output", "status", "reason", "sha256_in", "sha256_out", "epsilon", "region", "boxes"]


def read_manifest(protected: str) -> list[dict[str, Any]] | None:
    """The rows of the protection run that wrote this folder, with COLUMNS; None when there is no manifest.

    They come from its parts, and from the one file where only that was kept.
    """
    folder = Folder(protected)
    if not folder.is_folder():
        return None
    if parts := sorted(committed(folder)):
        return [row for table in read_parts(folder, parts, COLUMNS) for row in table.to_pylist()]
    if not folder.exists(MANIFEST_FILE):
        return None
    rows: list[dict[str, Any]] = _read_one(folder, COLUMNS).to_pylist()
    return rows


def _read_one(folder: Folder, columns: list[str]) -> pa.Table:
    try:
        return pq.read_table(pa.BufferReader(folder.read(MANIFEST_FILE)), columns=columns)
    except (OSError, pa.ArrowException, KeyError) as error:
        advice = "Run the same disrupt protect again to have it made anew."
        raise LedgerError(f"{folder.at(MANIFEST_FILE)} cannot be read: {error}. {advice}") from error


def steps_of(protected: str) -> tuple[float, int] | None:
    """How many steps of the ascent the photos of a run took, on average and at most; None where that is not on record."""
    folder, count, total, most = Folder(protected), 0, 0.0, 0
    try:
        for sums in read_sums(folder, sorted(committed(folder))):
            own, taken = sums.get("steps") or (0, 0)
            count, total, most = count + int(own), total + float(taken), max(most, int(sums.get("steps_most") or 0))
    except (ValueError, TypeError, AttributeError):
        return None
    return (total / count, most) if count else None


def outputs_of(folder: Folder) -> Iterator[tuple[str, int]]:
    """Name and size of every file that the protection run of this folder wrote; none where there is no manifest of one.

    Raises LedgerError for a manifest that cannot be read.
    """
    columns = ["output", "bytes_out"]
    if folder.exists(CONFIG):
        tables: Iterable[pa.Table] = read_parts(folder, sorted(committed(folder)), columns)
    elif folder.exists(MANIFEST_FILE):
        tables = [_read_one(folder, columns)]
    else:
        return
    for table in tables:
        pairs = zip(table["output"].to_pylist(), table["bytes_out"].to_pylist(), strict=True)
        yield from ((name, size) for name, size in pairs if name and size)


def parts_of_containers(protected: str) -> dict[str, str]:
    """The part of the manifest that speaks of the photos of each container, by its key; none where photos were protected."""
    folder = Folder(protected)
    if not folder.is_folder():
        return {}
    done, found = committed(folder), {}
    for part in read_plan(folder).parts:
        (first, *_) = planned(folder, part).to_pylist()
        if not first.get("container"):
            return {}
        if part in done:
            found[first["key"]] = part
    return found


def manifest_of_part(folder: Folder, part: str) -> dict[str, dict[str, Any]]:
    """The rows of a part by their keys, with COLUMNS."""
    return {row["key"]: row for row in read_part(folder, part, COLUMNS).to_pylist()}
