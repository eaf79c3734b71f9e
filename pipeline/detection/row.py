"""The rows of a detection: one for each picture, with what the detector says of it or why it says nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import pyarrow as pa

from pipeline.ledger.rows import join_sorted, schema_of, table_of

Status = Literal["judged", "skipped", "failed"]
Decision = Literal["untouched", "manipulated", "no signal"]
STATUSES: tuple[str, ...] = get_args(Status)
DECISIONS: tuple[str, ...] = get_args(Decision)
ORDER = ("key", "stage", "reason")


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionRow:
    """What is known of a picture; None where it is not. The fields are the columns.

    Sizes are in pixels as the picture is shown.

    ``likeness`` says how well the set's signals fit what the picture carries, in standard deviations of how they fit by chance;
    ``carries`` says whether that is enough. ``fit``, from -1 to 1, says how well it is the signal that the picture's own tints and
    the secret ask for; None without the secret. ``decision`` is
    ``no signal`` for a picture that carries none; else it follows from ``manipulated``, the probability. Of a manipulated picture
    ``map`` is a grey PNG of S / 2 pixels a side over the upright picture, brighter where it was more likely changed, and
    ``changed`` the share of the area (0..1) that is marked there.
    """

    key: str
    status: Status
    stage: str | None = None
    reason: str | None = None
    width: int | None = None
    height: int | None = None
    likeness: float | None = None
    carries: bool | None = None
    fit: float | None = None
    manipulated: float | None = None
    decision: Decision | None = None
    changed: float | None = None
    map: bytes | None = None


DETECTION = schema_of(DetectionRow)


def as_table(rows: Iterable[DetectionRow]) -> pa.Table:
    """The rows as a table, in a fixed order that does not depend on how they came."""
    return in_order([table_of(rows, DETECTION)])


def in_order(tables: Iterable[pa.Table]) -> pa.Table:
    """All rows of these tables as one table in the fixed order."""
    return join_sorted(tables, DETECTION, ORDER)
