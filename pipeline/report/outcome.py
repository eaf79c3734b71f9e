"""How many photos ended how, and why; numbers as text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

EXAMPLE_KEYS = 20
"""Keys that a reason keeps as examples."""
MOST_REASONS = 1000
"""Reasons that are told apart; all others are counted as one."""
OTHER_REASONS = "another reason: see the rows"
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
    return tell_reasons(map(astuple, reasons), order)


def tally_reasons(rows: pa.Table, order: Sequence[str]) -> list[list[Any]]:
    """The same as plain values that merge with `few_reasons`: [status, stage, text, count, first keys]."""
    return few_reasons([[one.status, one.stage, one.text, one.count, list(one.keys)] for one in reasons_of(rows, order)])


def few_reasons(reasons: list[list[Any]]) -> list[list[Any]]:
    """Each reason once; the rarest as one where they are too many."""
    groups: dict[tuple[str, str, str], tuple[int, list[str]]] = {}
    for status, stage, text, count, keys in reasons:
        before, known = groups.get((status, stage, text), (0, []))
        groups[status, stage, text] = (before + count, sorted({*known, *keys})[:EXAMPLE_KEYS])
    ranked: list[list[Any]] = [[*names, *of] for names, of in groups.items()]
    ranked.sort(key=lambda one: (-one[3], one[:3]))
    if len(ranked) <= MOST_REASONS:
        return ranked
    rest = [[one[0], "", OTHER_REASONS, *one[3:]] for one in ranked[MOST_REASONS // 2 :]]
    return few_reasons([*ranked[: MOST_REASONS // 2], *rest])


def tell_reasons(tally: Iterable[Sequence[Any]], order: Sequence[str]) -> tuple[Reason, ...]:
    """The reasons of a tally, in the order of `reasons_of`."""
    reasons = [Reason(status, stage, text, count, tuple(keys)) for status, stage, text, count, keys in tally]
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


def duration(seconds: float | None) -> str:
    """Seconds with two decimals, milliseconds below a tenth of one; a dash where there are none."""
    if seconds is None or math.isnan(seconds):
        return "-"
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{1000 * seconds:.1f} ms"


def numbers(column: pa.ChunkedArray | pa.Array) -> NDArray[np.float64]:
    """The known values of a column."""
    return np.asarray(pc.cast(column.drop_null(), pa.float64()).to_numpy(zero_copy_only=False))
