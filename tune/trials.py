"""What became of the trials: one row each, the best of them, and the tables and options that are written down."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from tune.config import SearchConfig, training_options
from tune.objective import Report
from tune.space import SEARCHED, SIGNALS

Status = Literal["done", "stopped", "pruned", "failed"]
STATUSES: dict[Status, str] = {
    "done": "trained to its last step",
    "stopped": "stopped early, being among the worse half or out of time",
    "pruned": "could not be trained on",
    "failed": "its process failed again and again",
}


@dataclass(frozen=True)
class TrialRow:
    """A trial: its number in the order of the search, its values, and its last score; NaN for what was not measured.

    ``ap_early`` is the score at its first report at or after the steps of grace, which compares trials of any length.
    """

    number: int
    id: str
    status: Status
    reason: str
    step: int
    ap: float
    ap_early: float
    roc_auc: float
    psnr: float
    psnr_least: float
    seconds: float
    values: Mapping[str, float]


def row_of(
    number: int, trial_id: str, values: Mapping[str, float], reports: Sequence[Report], *, config: SearchConfig, error: str
) -> TrialRow:
    """The row of a trial from its reports and why its process failed (empty if it did not)."""
    last = reports[-1] if reports else None
    measured = next((report.measured for report in reversed(reports) if report.measured), {})
    early = [report.ap for report in reports if report.broken or report.step >= config.grace]
    return TrialRow(
        number=number,
        id=trial_id,
        status=_status(last, error, config.steps),
        reason=error or (last.reason if last else "") or ("no score by the end of the search" if last is None else ""),
        step=last.step if last else 0,
        ap=last.ap if last else math.nan,
        ap_early=early[0] if early else math.nan,
        roc_auc=measured.get("roc_auc", math.nan),
        psnr=measured.get("psnr", math.nan),
        psnr_least=measured.get("psnr_least", math.nan),
        seconds=last.seconds if last else math.nan,
        values=dict(values),
    )


def best_of(rows: Sequence[TrialRow]) -> TrialRow | None:
    """The best trial: of those that came furthest the one with the highest score, the less visible one of equals.

    A trial without a score, or with one of 0, is never the best; None when there is no other.
    """
    scored = [row for row in rows if row.ap > 0 and row.status in ("done", "stopped")]
    return max(scored, key=lambda row: (row.step, row.ap, row.psnr), default=None)


def as_table(rows: Sequence[TrialRow]) -> pa.Table:
    """The rows as a table, one column for each searched value."""
    kinds = {"number": pa.int64(), "id": pa.string(), "status": pa.string(), "reason": pa.string(), "step": pa.int64()}
    measured = ("ap", "ap_early", "roc_auc", "psnr", "psnr_least", "seconds")
    columns = {name: pa.array([getattr(row, name) for row in rows], kind) for name, kind in kinds.items()}
    columns |= {name: pa.array([getattr(row, name) for row in rows], pa.float64()) for name in measured}
    for name in SEARCHED:
        kind = pa.int64() if name == SIGNALS else pa.float64()
        columns[name] = pa.array([int(row.values[name]) if name == SIGNALS else row.values[name] for row in rows], kind)
    return pa.table(columns)


def from_table(table: pa.Table) -> list[TrialRow]:
    """The rows of a table of `as_table`."""
    return [_row(row) for row in table.to_pylist()]


def as_parquet(rows: Sequence[TrialRow]) -> memoryview:
    """The table as a file."""
    sink = pa.BufferOutputStream()
    pq.write_table(as_table(rows), sink)
    return memoryview(sink.getvalue())


def as_csv(rows: Sequence[TrialRow]) -> str:
    """The table as text, numbers in full."""
    table = as_table(rows)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.column_names)
    writer.writerows(row.values() for row in table.to_pylist())
    return text.getvalue()


def best_options(config: SearchConfig, best: TrialRow) -> str:
    """The options that train the best trial's signals, as a YAML file that ``disrupt train DATA OUT --config`` takes."""
    options = training_options(config, best.values)
    if config.final_steps:
        options["steps"] = config.final_steps
    lines = {name.replace("_", "-"): _plain(value) for name, value in options.items()}
    head = f"# The best trial of a search, number {best.number}: average precision {best.ap:.3f} after {best.step} steps.\n"
    return head + yaml.safe_dump(lines, sort_keys=False)


def _row(cells: dict[str, Any]) -> TrialRow:
    values = {name: float(cells.pop(name)) for name in SEARCHED}
    return TrialRow(**cells, values=values)


def _status(last: Report | None, error: str, steps: int) -> Status:
    if error:
        return "failed"
    if last is not None and last.broken:
        return "pruned"
    return "done" if last is not None and last.step >= steps else "stopped"


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool) else str(value)
