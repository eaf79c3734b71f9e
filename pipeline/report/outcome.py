"""How many photos ended how, and why; numbers as text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

EXAMPLE_KEYS = 20
"""Keys that a reason keeps as examples."""
MOST = 5
"""Reasons of one status that the terminal shows."""


@dataclass(frozen=True)
class Reason:
    """Why inputs ended as they did: how many share the reason, and the first few of their keys."""

    status: str
    stage: str
    text: str
    count: int
    keys: tuple[str, ...]


def reasons_of(rows: pa.Table, order: Sequence[str]) -> tuple[Reason, ...]:
    """The reasons of rows with key, status, stage and reason: by status in this ``order``, then by how many keys share one."""
    columns = [pc.fill_null(rows[name], "") for name in ("status", "stage", "reason")]
    table = pa.table([rows["key"], *columns], ["key", "status", "stage", "reason"])
    groups = table.group_by(["status", "stage", "reason"]).aggregate([("key", "distinct")]).to_pylist()
    reasons = [
        Reason(group["status"], group["stage"], group["reason"], len(keys), tuple(sorted(keys)[:EXAMPLE_KEYS]))
        for group in groups
        for keys in [group["key_distinct"]]
    ]
    return tuple(sorted(reasons, key=lambda reason: (order.index(reason.status), -reason.count, reason.text, reason.stage)))


def outcome_table(
    head: str, title: str, counts: Mapping[str, int], reasons: Sequence[Reason], *, rest: str = "in the report"
) -> Table:
    """How many ended with each status, and their most frequent reasons; ``rest`` says where the others are."""
    table = Table(head, "count", "why", title=title, title_justify="left")
    table.columns[1].justify = "right"
    for status, count in counts.items():
        own = [reason for reason in reasons if reason.status == status]
        lines = [f"{reason.count} x {reason.text} ({reason.keys[0]})" for reason in own[:MOST]]
        lines += [f"and {len(own) - MOST} other reasons, {rest}"] if len(own) > MOST else []
        table.add_row(status.replace("_", " "), str(count), Text("\n".join(lines)))
    return table


def number(value: float | None, digits: int = 3) -> str:
    """``value`` with that many decimals; a dash where there is none."""
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def numbers(column: pa.ChunkedArray | pa.Array) -> NDArray[np.float64]:
    """The known values of a column."""
    return np.asarray(pc.cast(column.drop_null(), pa.float64()).to_numpy(zero_copy_only=False))
