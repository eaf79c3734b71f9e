"""What a search found, for people: a table for the terminal and one self-contained HTML page with plots."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup
from rich.box import SIMPLE_HEAD
from rich.table import Table

from pipeline.report.outcome import Reason, number
from pipeline.report.page import MAX_REASONS, as_yaml, template
from pipeline.report.plots import BAD, FAINT, GOOD, INK, drawing
from tune.config import SearchConfig
from tune.space import SEARCHED, Space
from tune.trials import STATUSES, TrialRow, best_of, best_options

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Shares = Mapping[str, tuple[float, float]]
"""Importance and rank correlation by name, largest first."""
SHOWN = 8
"""Rows of the table in the terminal."""


@dataclass(frozen=True)
class Summary:
    """How many trials ended in which way, and the remarks on them."""

    total: int
    counts: dict[str, int]
    reasons: tuple[Reason, ...]


def write_page(
    rows: Sequence[TrialRow],
    shares: Shares,
    config: SearchConfig,
    options: Mapping[str, Any],
    command: str,
    *,
    versions: Mapping[str, str],
) -> str:
    """The page; ``options`` are shown as YAML, ``command`` as it is typed."""
    best, space = best_of(rows), config.space()
    text: str = template("search.html").render(
        summary=summarise(rows),
        verdict=_verdict(rows, best),
        facts=_facts(rows, best),
        plots=_plots(rows, best, space, shares),
        rows=ranked(rows),
        best=best,
        best_yaml=best_options(config, best) if best else "",
        shares=shares,
        space=space,
        searched=SEARCHED,
        statuses=STATUSES,
        photos=config.photos,
        held_out=config.held_out_generator,
        trained_on=config.generator,
        least_psnr=config.least_psnr,
        grace=config.grace,
        command=command,
        config=as_yaml(options),
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


def ranked(rows: Sequence[TrialRow]) -> list[TrialRow]:
    """The rows from the best to the worst: by how far they came, then by score."""
    return sorted(rows, key=lambda row: (row.ap > 0, row.step, row.ap if row.ap > 0 else 0.0), reverse=True)


def terminal_table(rows: Sequence[TrialRow]) -> Table:
    """What ``rich`` prints at the end: the best trials with the values that were searched, those that all share left out."""
    table = Table("trial", "status", "steps", "AP", "PSNR", "values", box=SIMPLE_HEAD, pad_edge=False)
    table.title, table.title_justify = f"The best of {len(rows)} trials", "left"
    for column in (*table.columns[:1], *table.columns[2:5]):
        column.justify, column.no_wrap = "right", True
    names = [name for name in SEARCHED if len({row.values[name] for row in rows}) > 1]
    for row in ranked(rows)[:SHOWN]:
        values = " ".join(f"{name}={row.values[name]:.3g}" for name in names)
        table.add_row(str(row.number), row.status, str(row.step), number(row.ap), number(row.psnr, 1), values)
    return table


def _verdict(rows: Sequence[TrialRow], best: TrialRow | None) -> str:
    if best is None:
        return f"{len(rows)} trials, none with a score."
    return f"{len(rows)} trials; the best, number {best.number}, has an average precision of {best.ap:.3f} after {best.step} steps."


def _facts(rows: Sequence[TrialRow], best: TrialRow | None) -> list[tuple[str, str, str]]:
    """(value, what it is, remark) for the row of numbers at the top."""
    if best is None:
        return []
    first = next((row for row in rows if row.number == 1), None)
    start = f"{number(first.ap)} with the values that a training starts with (trial 1, {first.step} steps)" if first else ""
    seconds = [row.seconds for row in rows if not math.isnan(row.seconds)]
    return [
        (number(best.ap), "AP of the best trial", start),
        (f"{number(best.psnr, 1)} dB", "its mean PSNR", f"lowest {number(best.psnr_least, 1)} dB"),
        (f"{sum(row.step for row in rows):,}", "steps in all", f"{number(sum(seconds) / 60, 0)} minutes of all trials together"),
    ]


def _plots(rows: Sequence[TrialRow], best: TrialRow | None, space: Space, shares: Shares) -> list[tuple[str, Markup]]:
    if not rows:
        return []
    caption = "Each line is a trial. Thick: the best; green: the better half; orange: with a remark (too visible, broke off)."
    drawn = [(caption, Markup(drawing(_coordinates(rows, best, space), name="coordinates", size=(9.0, 3.4))))]
    if shares:
        size = (7.0, 0.8 + 0.26 * len(shares))
        drawn.append(("Importance for the early AP", Markup(drawing(_bars(shares), name="importance", size=size))))
    return drawn


def _coordinates(rows: Sequence[TrialRow], best: TrialRow | None, space: Space) -> Any:
    """Draws an axis for each searched value and for the scores, and each trial as a line across them."""
    names = [name for name, each in space.items() if each.is_open]
    median = sorted(row.ap_early for row in rows if not math.isnan(row.ap_early))
    half = median[len(median) // 2] if median else math.inf

    def paint(axes: Axes) -> None:
        for row in [*(row for row in rows if row is not best), *([best] if best else [])]:
            ends = [row.ap_early, row.ap]
            heights = [space[name].share(row.values[name]) for name in names] + [0.0 if math.isnan(end) else end for end in ends]
            colour = INK if row is best else BAD if row.reason else GOOD if row.ap_early >= half else FAINT
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


def _bars(shares: Shares) -> Any:
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
