"""The rows of a detection: one for each picture, with what the detector says of it or why it says nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import pyarrow as pa

Status = Literal["judged", "skipped", "failed"]
Decision = Literal["untouched", "manipulated"]
STATUSES: tuple[str, ...] = get_args(Status)
DECISIONS: tuple[str, ...] = get_args(Decision)

DETECTION = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        ("stage", pa.string()),
        ("reason", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("signal", pa.int32()),
        ("likeness", pa.float64()),
        ("carries", pa.bool_()),
        ("manipulated", pa.float64()),
        ("decision", pa.string()),
        ("expected", pa.int32()),
        ("matches", pa.bool_()),
    ]
)
"""Sizes in pixels as the picture is shown; likeness from -1 to 1; manipulated is a probability."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionRow:
    """What is known of a picture; None where it is not. The fields are DETECTION's columns.

    ``signal`` is the index of the signal that the picture is most like, by ``likeness``; ``carries`` says whether that is enough.
    ``manipulated`` is the probability, ``decision`` what follows from it. ``expected`` is the signal that the picture's name
    stands for, ``matches`` whether it is the one that the picture carries; None where it carries none.
    """

    key: str
    status: Status
    stage: str | None = None
    reason: str | None = None
    width: int | None = None
    height: int | None = None
    signal: int | None = None
    likeness: float | None = None
    carries: bool | None = None
    manipulated: float | None = None
    decision: Decision | None = None
    expected: int | None = None
    matches: bool | None = None


def as_table(rows: Iterable[DetectionRow]) -> pa.Table:
    """The rows as a table of the DETECTION schema, by key."""
    seen = list(rows)
    return ordered(pa.table({name: [_plain(getattr(row, name)) for row in seen] for name in DETECTION.names}, schema=DETECTION))


def joined(tables: Sequence[pa.Table]) -> pa.Table:
    """All tables as one, by key; the empty table when there are none."""
    return ordered(pa.concat_tables([DETECTION.empty_table(), *tables]).combine_chunks())


def ordered(table: pa.Table) -> pa.Table:
    """The rows in an order that does not depend on how they came."""
    return table.sort_by([(name, "ascending") for name in ("key", "stage", "reason")])


def _plain(value: object) -> object:
    """A value that Arrow takes: text that is no valid Unicode is written as escapes."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
