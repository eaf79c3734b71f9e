"""The plot of a table: a bar for each result, with its interval; published figures in a lighter shade."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from pipeline.tables.numbers import RELATIVE, Result
from pipeline.tables.table import NAMES, PUBLISHED, Layout

BARS_MOST = 120
COLOURS = ("#1b6ca8", "#d9822b", "#3a923a", "#8c56a8", "#a8323e", "#5f6b73", "#c2b02f", "#27a3a3", "#7a5230")


def draw(path: Path, title: str, layout: Layout, results: Sequence[Result]) -> bool:
    """Write the plot as PNG; False when there is nothing to draw."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    known = [result for result in results if not math.isnan(result.mean(layout.drawn))][:BARS_MOST]
    if not known:
        return False
    factor = 100 if layout.drawn in ("disrupted", RELATIVE) else 1
    series = list(dict.fromkeys(result.labels.get(layout.columns, "") for result in known))
    with rc_context({"font.size": 8}):
        figure = Figure(figsize=(8, 1.2 + 0.24 * len(known)), layout="constrained", dpi=120)
        axes = figure.add_subplot()
        for place, result in enumerate(known):
            colour = COLOURS[series.index(result.labels.get(layout.columns, "")) % len(COLOURS)]
            mean = factor * result.mean(layout.drawn)
            axes.barh(place, mean, color=colour, alpha=0.45 if result.status == PUBLISHED else 1)
            low, high = (factor * end for end in result.estimates[layout.drawn].interval)
            if not math.isnan(low):
                axes.plot([low, high], [place, place], color="black", linewidth=1)
        axes.set_yticks(range(len(known)), [_label(layout, result) for result in known])
        axes.invert_yaxis()
        axes.set_xlabel(f"{NAMES[layout.drawn]}{' (%)' if factor == 100 and '%' not in NAMES[layout.drawn] else ''}")
        axes.margins(y=0.01)
        figure.suptitle(title, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(path, format="png", metadata={"Software": None})
    return True


def _label(layout: Layout, result: Result) -> str:
    names = [*layout.lines, *([layout.columns] if layout.columns else [])]
    return ", ".join(result.labels[name] for name in names if result.labels[name]).replace("$", r"\$")
