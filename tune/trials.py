"""The results of trials: one row each, the best of them, what decides their score, and the tables and options written from them."""

from __future__ import annotations

import io
import json
import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Literal

import optuna
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from optuna.distributions import BaseDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from scipy.stats import ConstantInputWarning, spearmanr

from pipeline.ledger.rows import csv_text
from pipeline.training.options import Manipulations
from tune.objective import Report
from tune.options import SearchConfig, training_options
from tune.space import PARAMETERS, SIGNALS, Space

Status = Literal["done", "stopped", "pruned", "failed"]
STATUSES: dict[Status, str] = {
    "done": "trained to its last step",
    "stopped": "stopped early, being among the worse half or out of time",
    "pruned": "could not be trained on",
    "failed": "its process failed again and again",
}
FEWEST = 6
"""Trials with a score from which on importances are computed."""


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


_ARROW = {"int": pa.int64(), "float": pa.float64()}
SCHEMA = pa.schema(
    [(each.name, _ARROW.get(str(each.type), pa.string())) for each in fields(TrialRow) if each.name != "values"]
    + [(name, pa.int64() if name == SIGNALS else pa.float64()) for name in PARAMETERS]
)
"""The columns of trials.parquet and trials.csv: the fields of a row, then one for each searched value."""


def row_of(
    number: int, trial_id: str, values: Mapping[str, float], reports: Sequence[Report], *, config: SearchConfig, error: str
) -> TrialRow:
    """The row of a trial from its reports and why its process failed (empty if it did not)."""
    last = reports[-1] if reports else Report(step=0, ap=math.nan, reason="no score by the end of the search", seconds=math.nan)
    measured = next((report.measured for report in reversed(reports) if report.measured), {})
    early = [report.ap for report in reports if report.broken or report.step >= config.grace]
    return TrialRow(
        number=number,
        id=trial_id,
        status="failed" if error else "pruned" if last.broken else "done" if last.step >= config.steps else "stopped",
        reason=error or last.reason,
        step=last.step,
        ap=last.ap,
        ap_early=early[0] if early else math.nan,
        roc_auc=measured.get("roc_auc", math.nan),
        psnr=measured.get("psnr", math.nan),
        psnr_least=measured.get("psnr_least", math.nan),
        seconds=last.seconds,
        values=dict(values),
    )


def best_of(rows: Sequence[TrialRow]) -> TrialRow | None:
    """The best trial: of those with the most steps the one with the highest score, the less visible one of equals.

    A trial without a score, or with one of 0, is never the best; None when there is no other.
    """
    scored = [row for row in rows if row.ap > 0 and row.status in ("done", "stopped")]
    return max(scored, key=lambda row: (row.step, row.ap, row.psnr), default=None)


def importances(rows: Sequence[TrialRow], space: Space, *, seed: int = 0) -> dict[str, tuple[float, float]]:
    """For each searched value, largest first: its share in the variance of the early score, and its rank correlation with it.

    Shares by functional ANOVA of a random forest (Hutter et al. 2014), summing to 1; the correlation is Spearman's, NaN for a value
    that is the same in all trials. Empty when there are too few trials with a score, or all have the same.
    """
    searched: dict[str, BaseDistribution] = {name: values for name, values in space.items() if not values.single()}
    scored = [row for row in rows if not math.isnan(row.ap_early)]
    early = [row.ap_early for row in scored]
    if len(scored) < FEWEST or len(set(early)) == 1:
        return {}
    logger = logging.getLogger("optuna")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        study = optuna.create_study(direction="maximize")
        for row in scored:
            params = {name: row.values[name] for name in searched}
            study.add_trial(optuna.trial.create_trial(params=params, distributions=searched, value=row.ap_early))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            warnings.simplefilter("ignore", ConstantInputWarning)
            shares = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed))
            ranks = {name: float(spearmanr([row.values[name] for row in scored], early).statistic) for name in shares}
    finally:
        logger.setLevel(level)
    return {name: (share, ranks[name]) for name, share in shares.items()}


def as_table(rows: Sequence[TrialRow]) -> pa.Table:
    """The rows as a table of `SCHEMA`."""
    return pa.Table.from_pylist([{**asdict(row), **row.values} for row in rows], SCHEMA)


def from_table(table: pa.Table) -> list[TrialRow]:
    """The rows of a table of `as_table`."""
    own = [each.name for each in fields(TrialRow) if each.name != "values"]
    rows = table.to_pylist()
    return [TrialRow(**{name: row[name] for name in own}, values={name: row[name] for name in PARAMETERS}) for row in rows]


def as_parquet(rows: Sequence[TrialRow]) -> bytes:
    """The table as a file."""
    file = io.BytesIO()
    pq.write_table(as_table(rows), file)
    return file.getvalue()


def as_csv(rows: Sequence[TrialRow]) -> str:
    """The table as text, numbers in full."""
    table = as_table(rows)
    return csv_text(table.column_names, (row.values() for row in table.to_pylist()))


def best_options(config: SearchConfig, best: TrialRow) -> str:
    """The options that train the best trial's signals, as a YAML file that ``disrupt train DATA OUT --config`` takes."""
    options = training_options(config, best.values)
    changed = asdict(options.pop("manipulations", Manipulations()))
    options |= {name: value for name, value in changed.items() if value != getattr(Manipulations(), name)}
    if config.final_steps:
        options["steps"] = config.final_steps
    lines = json.loads(json.dumps({name.replace("_", "-"): value for name, value in options.items()}, default=str))
    head = f"# The best trial of a search, number {best.number}: average precision {best.ap:.3f} after {best.step} steps.\n"
    return head + yaml.safe_dump(lines, sort_keys=False)
