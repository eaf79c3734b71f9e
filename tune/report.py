"""The results of a search for people: runs in MLflow, a table for the terminal and one self-contained HTML page with plots."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup
from rich.box import SIMPLE_HEAD
from rich.table import Table

from pipeline.jobs.tracking import Tracking, no_record, open_tracking
from pipeline.ledger.layout import OWN
from pipeline.report.outcome import Reason, number
from pipeline.report.page import MAX_REASONS, as_yaml, template
from pipeline.report.plots import BAD, FAINT, GOOD, INK, drawing
from pipeline.storage import write_uri
from tune.options import SearchConfig
from tune.space import PARAMETERS, Space, position
from tune.trials import STATUSES, TrialRow, best_of, best_options

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Shares = Mapping[str, tuple[float, float]]
"""Importance and rank correlation by name, largest first."""
RUNS_FILE = f"{OWN}/records.json"
SHOWN = 8
"""Rows of the table in the terminal."""


def open_run(
    config: SearchConfig,
    key: str,
    name: str,
    params: Mapping[str, object],
    tags: Mapping[str, str],
    *,
    parent: Tracking | None = None,
) -> Tracking:
    """The run in MLflow whose id OUT knows by ``key``, continued; a new one, inside ``parent``, the first time."""
    if not config.record.tracking or (parent is not None and parent.run_id is None):
        return no_record()
    file = config.output / RUNS_FILE
    ids = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    tags = dict(tags) | ({"mlflow.parentRunId": parent.run_id} if parent and parent.run_id else {})
    run = open_tracking(experiment=config.record.experiment, run_name=name, params=params, tags=tags, run_id=ids.get(key))
    if run.run_id is not None:
        write_uri(file, json.dumps(ids | {key: run.run_id}, indent=1).encode())
    return run


@dataclass(frozen=True)
class Summary:
    """How many trials ended in which way, and the remarks on them."""

    total: int
    counts: dict[str, int]
    reasons: tuple[Reason, ...]


def write_page(rows: Sequence[TrialRow], shares: Shares, config: SearchConfig, command: str, *, versions: Mapping[str, str]) -> str:
    """The page; ``command`` is shown as it is typed."""
    best, space, verdict = best_of(rows), config.space(), ", none with a score"
    if best:
        verdict = f"; the best, number {best.number}, has an average precision of {best.ap:.3f} after {best.step} steps"
    text: str = template("search.html").render(
        summary=summarise(rows),
        verdict=f"{len(rows)} trials{verdict}.",
        facts=_facts(rows, best) if best else [],
        plots=_plots(rows, best, space, shares) if rows else [],
        rows=rank(rows),
        best=best,
        best_yaml=best_options(config, best) if best else "",
        shares=shares,
        space=space,
        parameters=PARAMETERS,
        statuses=STATUSES,
        search=config,
        command=command,
        config=as_yaml(config.what_changes_results()),
        max_reasons=MAX_REASONS,
        versions=versions,
    )
    return text.encode("utf-8", "backslashreplace").decode()


def summarise(rows: Sequence[TrialRow]) -> Summary:
    """The counts and remarks of the rows."""
    remarks = dict.fromkeys((row.status, row.reason) for row in rows if row.reason)
    reasons = []
    for status, text in remarks:
        keys = tuple(f"trial {row.number}" for row in rows if (row.status, row.reason) == (status, text))
        reasons.append(Reason(status, "trial", text, len(keys), keys))
    counts = {str(status): sum(row.status == status for row in rows) for status in STATUSES}
    return Summary(len(rows), counts, tuple(reasons))


def rank(rows: Sequence[TrialRow]) -> list[TrialRow]:
    """The rows from the best to the worst: by how far they came, then by score."""
    return sorted(rows, key=lambda row: (row.ap > 0, row.step, row.ap if row.ap > 0 else 0.0), reverse=True)


def terminal_table(rows: Sequence[TrialRow]) -> Table:
    """The best trials for the terminal, with the values that differ between trials."""
    table = Table("trial", "status", "steps", "AP", "PSNR", "values", box=SIMPLE_HEAD, pad_edge=False)
    table.title, table.title_justify = f"The best of {len(rows)} trials", "left"
    for column in (*table.columns[:1], *table.columns[2:5]):
        column.justify, column.no_wrap = "right", True
    names = [name for name in PARAMETERS if len({row.values[name] for row in rows}) > 1]
    for row in rank(rows)[:SHOWN]:
        values = " ".join(f"{name}={row.values[name]:.3g}" for name in names)
        table.add_row(str(row.number), row.status, str(row.step), number(row.ap), number(row.psnr, 1), values)
    return table


def _facts(rows: Sequence[TrialRow], best: TrialRow) -> list[tuple[str, str, str]]:
    """(value, name, remark) for the row of numbers at the top."""
    first = next((row for row in rows if row.number == 1), None)
    start = f"{number(first.ap)} with the values that a training starts with (trial 1, {first.step} steps)" if first else ""
    seconds = [row.seconds for row in rows if not math.isnan(row.seconds)]
    return [
        (number(best.ap), "AP of the best trial", start),
        (f"{number(best.psnr, 1)} dB", "its mean PSNR", f"lowest {number(best.psnr_least, 1)} dB"),
        (f"{sum(row.step for row in rows):,}", "steps in all", f"{number(sum(seconds) / 60, 0)} minutes of all trials together"),
    ]


def _plots(rows: Sequence[TrialRow], best: TrialRow | None, space: Space, shares: Shares) -> list[tuple[str, Markup]]:
    caption = "Each line is a trial. Thick: the best; green: the better half; orange: with a remark (too visible, broke off)."
    plots = [(caption, Markup(drawing(_coordinates(rows, best, space), name="coordinates", size=(9.0, 3.4))))]
    if shares:
        size = (7.0, 0.8 + 0.26 * len(shares))
        plots.append(("Importance for the early AP", Markup(drawing(_bars(shares), name="importance", size=size))))
    return plots


def _coordinates(rows: Sequence[TrialRow], best: TrialRow | None, space: Space) -> Callable[[Axes], None]:
    """An axis for each searched value and for the scores, and each trial as a line across them."""
    names = [name for name, values in space.items() if not values.single()]
    early = sorted(row.ap_early for row in rows if not math.isnan(row.ap_early))
    median = early[len(early) // 2] if early else math.inf

    def paint(axes: Axes) -> None:
        for row in [*(row for row in rows if row is not best), *([best] if best else [])]:
            heights = [position(space[name], row.values[name]) for name in names]
            heights += [0.0 if math.isnan(ap) else ap for ap in (row.ap_early, row.ap)]
            colour = INK if row is best else BAD if row.reason else GOOD if row.ap_early >= median else FAINT
            width = 2.2 if row is best else 1.0
            axes.plot(range(len(heights)), heights, color=colour, linewidth=width, alpha=1.0 if row is best else 0.8)
        labels = [f"{name}\n{space[name].low:g} to {space[name].high:g}" for name in names] + ["early AP\n0 to 1", "AP\n0 to 1"]
        axes.set_xticks(range(len(labels)), labels)
        axes.set_xlim(-0.1, len(labels) - 0.9)
        axes.set_ylim(-0.02, 1.02)
        axes.set_yticks([])
        axes.grid(axis="x", color=FAINT, linewidth=0.8)
        axes.spines[["top", "right", "left", "bottom"]].set_visible(False)

    return paint


def _bars(shares: Shares) -> Callable[[Axes], None]:
    def paint(axes: Axes) -> None:
        places = range(len(shares))
        axes.barh(places, [share for share, _ in shares.values()], height=0.7, color=GOOD)
        axes.set_yticks(places, list(shares))
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.set_xlabel("share of the variance")
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(axis="y", length=0)

    return paint
