"""Distributions as inline SVG in the colours of the page; matplotlib is imported when something is drawn."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 36
INK, FAINT, GOOD, BAD = "#1b1f24", "#d5dae0", "#2a7f62", "#c77700"
"""The page's colours --ink, --line, --good and --warn; on a dark page the style sheet inverts drawings."""


def histogram(
    values: ArrayLike, counts: ArrayLike | None = None, *, name: str, label: str, counted: str, threshold: float | None = None
) -> str:
    """The distribution of the finite ``values``, each as often as ``counts`` says, as an ``<svg>`` element; "" when there are none.

    ``name`` tells the elements of one drawing from those of the next, ``label`` is written under the axis, ``counted`` beside it.
    Values under ``threshold`` have the colour of a warning.
    """
    all_values = np.asarray(values, np.float64)
    known = np.isfinite(all_values)
    finite, weights = all_values[known], (np.ones(len(all_values)) if counts is None else np.asarray(counts))[known]
    if not finite.size:
        return ""

    def paint(axes: Axes) -> None:
        _bars(axes, finite, weights, threshold)
        axes.set_xlabel(label)
        axes.set_ylabel(counted)

    return drawing(paint, name=name, size=(4.2, 2.3))


def drawing(paint: Callable[[Axes], None], *, name: str, size: tuple[float, float]) -> str:
    """What ``paint`` draws on axes, as an ``<svg>`` element of ``size`` in inches; ``name`` as above."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    style: Any = {"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 9, "axes.edgecolor": FAINT, "text.color": INK}
    style |= {"axes.labelcolor": INK, "xtick.color": FAINT, "ytick.color": FAINT, "xtick.labelcolor": INK, "ytick.labelcolor": INK}
    with rc_context(style):
        figure = Figure(figsize=size, layout="constrained")
        paint(figure.add_subplot())
        text = StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _inline(text.getvalue(), name)


def _bars(axes: Axes, values: NDArray[np.float64], weights: NDArray[np.float64], threshold: float | None) -> None:
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    low, high = float(values.min()), float(values.max())
    if threshold is not None:
        low, high = min(low, 0.0), max(high, 2 * threshold)
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = low - 0.5, high + 0.5
    limit = -np.inf if threshold is None else threshold
    weak = values < limit
    parts, sizes = [values[weak], values[~weak]], [weights[weak], weights[~weak]]
    edges = list(np.linspace(low, high, BINS + 1))
    axes.hist(parts, bins=edges, weights=sizes, stacked=True, color=[BAD, GOOD], histtype="stepfilled")
    if threshold is not None:
        axes.axvline(threshold, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.spines[["top", "right"]].set_visible(False)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def _inline(svg: str, name: str) -> str:
    """The bare ``<svg>`` element with ids of its own, and no size but that of its place."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = svg.replace("<svg", '<svg role="img"', 1)
    svg = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"font: [^;\"]*sans-serif", lambda found: _font(found.group()), svg)
    return svg


def _font(declaration: str) -> str:
    """The font size of matplotlib's declaration, in the page's own font."""
    size = re.search(r"[\d.]+px", declaration)
    return f"font: {size.group() if size else '9px'} system-ui, sans-serif"
