"""What a detection found, for people: a table for the terminal and one self-contained HTML page."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from rich.console import Group
from rich.table import Table
from rich.text import Text

from pipeline.detection.summary import NOT_KNOWN, UNFIT, Summary
from pipeline.report.outcome import number, outcome_table
from pipeline.report.page import MAX_REASONS, as_yaml, template
from pipeline.report.plots import BAD, BINS, GOOD, INK, drawing, histogram
from pipeline.signals.bundle import Bundle

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NO_SIGNAL = "No signal: never signed, or changed until nothing of it is left. Knowing which photos were signed tells the two apart."

UNFIT_MEANS = "colours were changed, or the signal comes from another photo or another secret"

MAPS = 12
"""Maps of changed places that the report shows."""


def write_page(
    summary: Summary, bundle: Bundle, config: Mapping[str, Any], command: str, *, rate: float, versions: Mapping[str, str]
) -> str:
    """The page; ``rate`` is the false-positive rate, ``config`` is shown as YAML. Every text from outside is escaped."""
    text: str = template("detection.html").render(
        summary=summary,
        bundle=bundle,
        rate=rate,
        verdict=_verdict(summary),
        facts=_facts(summary, bundle, rate),
        plots=_plots(summary),
        no_signal=NO_SIGNAL,
        maps=[(str(row["key"]), Markup(_map(row["map"]))) for row in summary.suspicious[:MAPS] if row["map"]],
        max_reasons=MAX_REASONS,
        command=command,
        config=as_yaml(config),
        versions=versions,
    )
    return text.encode("utf-8", "backslashreplace").decode()


def terminal_table(summary: Summary, *, rate: float) -> Group:
    """What ``rich`` prints at the end: what became of the pictures, the decisions, the thresholds, what to make of it."""
    pictures = outcome_table("pictures", "What became of the pictures", summary.counts, summary.reasons)
    if not summary.judged:
        return Group(pictures)
    cases = Table("decision", "count", "%", title="What the detector says", title_justify="left")
    for column in cases.columns[1:]:
        column.justify = "right"
    for case in summary.cases:
        cases.add_row(case.decision, str(case.count), number(100 * case.share, 1))
    return Group(pictures, cases, *map(Text, _lines(summary, rate)))


def _lines(summary: Summary, rate: float) -> list[str]:
    carries = "" if summary.limits.carries is None else f", a signal above a likeness of {summary.limits.carries:.4f}"
    limit = f"manipulated above a probability of {summary.limits.manipulated:.4f}{carries}"
    said = [f"{limit}: false-positive rate {rate:.2g} or less after honest handling, by the bundle's held-out people"]
    if summary.unfit:
        said.append(f"{summary.unfit} carry a signal that does not fit their tints (fit below {UNFIT}): {UNFIT_MEANS}")
    if summary.decisions["no signal"]:
        said.append(NO_SIGNAL)
    return said


def _verdict(summary: Summary) -> str:
    """The detection in one sentence."""
    others = [f"{count:,} {status}" for status, count in summary.counts.items() if count and status != "judged"]
    found = f"{summary.decisions['manipulated']:,} of {summary.judged:,} judged pictures read as manipulated"
    return "; ".join([found, *others]) + "."


def _facts(summary: Summary, bundle: Bundle, rate: float) -> list[tuple[str, str, str]]:
    """(value, what it is, remark) for the row of numbers at the top."""
    if not summary.judged:
        return []
    held_out = f"false-positive rate {rate:.2g} or less, by {len(bundle.scores['untouched']):,} held-out people"
    facts = [
        (_percent(summary, summary.decisions["manipulated"]), "manipulated", f"{summary.decisions['manipulated']:,} pictures"),
        (number(summary.limits.manipulated, 4), "threshold of the probability", held_out),
    ]
    if summary.limits.carries is None:
        return [*facts, ("-", "carry a signal", NOT_KNOWN)]
    carrying = f"{summary.carrying:,} pictures"
    facts.insert(1, (_percent(summary, summary.carrying), "carry a signal", carrying))
    facts.append((number(summary.limits.carries, 4), "threshold of the likeness", "at the same rate, for files without a signal"))
    if summary.unfit is not None:
        facts.append((f"{summary.unfit:,}", "signal of other tints", UNFIT_MEANS))
    return facts


def _map(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _percent(summary: Summary, count: int) -> str:
    return f"{number(100 * summary.share(count), 1)} %"


def _plots(summary: Summary) -> list[tuple[str, Markup]]:
    """(caption, drawing) of what the detector said. The drawings hold numbers and fixed labels only."""
    if not summary.judged:
        return []
    paint = _painter(summary.odds, summary.limits.manipulated)
    drawn = [("Probability that a picture is manipulated; the line is the threshold", drawing(paint, name="odds", size=(4.2, 2.3)))]
    limit = summary.limits.carries
    likeness = histogram(*summary.likenesses, name="like", label="standard deviations", counted="pictures", threshold=limit)
    drawn.append(("Likeness to a signal of the bundle; above the line a picture carries one", likeness))
    return [(caption, Markup(svg)) for caption, svg in drawn if svg]


def _painter(odds: NDArray[np.int64], limit: float) -> Callable[[Axes], None]:
    """Draws how many pictures have which probability, those above ``limit`` in the colour of a warning."""
    borders = np.linspace(0, 1, BINS + 1)
    middles = (borders[1:] + borders[:-1]) / 2

    def paint(axes: Axes) -> None:
        axes.hist([middles, middles], bins=list(borders), weights=list(odds), stacked=True, color=[GOOD, BAD])
        axes.axvline(limit, color=INK, linewidth=1, linestyle=(0, (4, 3)))
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel("probability")
        axes.set_ylabel("pictures")

    return paint
