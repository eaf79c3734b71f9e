"""The plan: which photos are done together, written down in the run folder before any work, so that no process holds them all.

A file of the plan holds the photos of one part. The number of a part is its name in the plan, among the parts of the manifest and
while it is in the works. ``plan.json``, written last, says how many there are; what it does not count is not planned.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Protocol, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.ledger.errors import LedgerError
from pipeline.ledger.layout import PARTS_BEFORE, PLAN, PLAN_FILE
from pipeline.ledger.results import write_result, write_table
from pipeline.storage import Folder


class Keyed(Protocol):
    """What the plan needs to know of a photo."""

    @property
    def key(self) -> str:
        """The name that identifies it in the run."""
        ...


T = TypeVar("T", bound=Keyed)
MOST = 1024
"""Most photos of a part, unless an option says so."""
AT_HAND = 65_536
"""So many photos are looked at together, to cut a small run into parts that its processes can share."""


@dataclass(frozen=True)
class Plan:
    """What is planned: photos in each part, the ``limit`` they were cut to, and how many other files were passed over."""

    counts: tuple[int, ...] = ()
    limit: int | None = None
    ignored: int = 0

    @property
    def total(self) -> int:
        """Photos in all parts."""
        return sum(self.counts)

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts, in order."""
        return tuple(map(part_name, range(len(self.counts))))

    def count(self, name: str) -> int:
        """Photos in a part."""
        return self.counts[int(name)]


def part_name(number: int) -> str:
    """The name of a part."""
    return f"{number:06d}"


def read_plan(folder: Folder) -> Plan:
    """The plan of a run folder; an empty one where nothing is planned. Raises LedgerError for one that cannot be used."""
    if not folder.exists(PLAN_FILE):
        if folder.exists(PARTS_BEFORE):
            raise LedgerError(f"{folder.path} was written by an older version and cannot be continued: give a new output folder.")
        return Plan()
    try:
        stored = json.loads(folder.read(PLAN_FILE))
        return Plan(tuple(map(int, stored["counts"])), stored["limit"], int(stored["ignored"]))
    except (ValueError, KeyError, TypeError) as error:
        raise LedgerError(f"{folder.at(PLAN_FILE)} is damaged: give another output folder") from error


def extend_plan(
    folder: Folder, before: Plan, photos: Iterable[T], as_table: Callable[[Sequence[T]], pa.Table], *, most: int, shares: int
) -> Plan:
    """The plan with these photos too, in parts of at most ``most``; a small run has at least ``shares`` parts.

    The files of the plan are written; `commit_plan` makes it count.
    """
    counts = list(before.counts)
    for group in _cut(photos, most, shares):
        write_table(folder, f"{PLAN}/{part_name(len(counts))}.parquet", as_table(group))
        counts.append(len(group))
    return replace(before, counts=tuple(counts))


def rewrite_plan(folder: Folder, name: str, table: pa.Table) -> None:
    """Replaces the file of one part."""
    write_table(folder, f"{PLAN}/{name}.parquet", table)


def commit_plan(folder: Folder, plan: Plan) -> None:
    """From now on this is the plan of the folder."""
    write_result(folder, PLAN_FILE, json.dumps(asdict(plan)).encode())


def planned(folder: Folder, name: str, columns: list[str] | None = None) -> pa.Table:
    """The photos of a part. Raises LedgerError when the file cannot be read."""
    try:
        return pq.ParquetFile(pa.BufferReader(folder.read(f"{PLAN}/{name}.parquet"))).read(columns=columns, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise LedgerError(f"{folder.at(PLAN)}/{name}.parquet cannot be read: {error}. Give another output folder.") from error


def _cut(photos: Iterable[T], most: int, shares: int) -> Iterator[list[T]]:
    rest = iter(photos)
    first = list(itertools.islice(rest, AT_HAND))
    size = most if len(first) == AT_HAND else max(1, min(most, -(-len(first) // shares)))
    every = itertools.chain(sorted(first, key=lambda photo: photo.key), rest)
    while group := list(itertools.islice(every, size)):
        yield group
