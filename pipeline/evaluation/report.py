"""What an evaluation found, for people: a table for the terminal and one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from pipeline.evaluation.summary import CLEAN, OVER_EDIT, RELATIVE, Line, Summary
from pipeline.evaluation.sums import ALL, WITH_PERSON
from pipeline.images import LOST, OTHER_PERSON, THRESHOLD
from pipeline.report.outcome import number, outcome_table
from pipeline.report.page import MAX_REASONS, as_yaml, template
from pipeline.report.plots import FAINT, GOOD, INK, drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def write_page(
    summary: Summary, config: Mapping[str, Any], command: str, *, attacked: Sequence[str], versions: Mapping[str, str]
) -> str:
    """The page; ``attacked`` are the generators the files were protected against, ``config`` is shown as YAML."""
    text: str = template("evaluation.html").render(
        summary=summary,
        verdict=_verdict(summary),
        facts=_facts(summary),
        all_classes=[line for line in summary.lines if line.class_name == ALL],
        by_class=[line for line in summary.lines if line.class_name != ALL],
        plots=_plots(summary),
        attacked=attacked,
        span=span,
        ALL=ALL,
        RELATIVE=RELATIVE,
        OVER_EDIT=OVER_EDIT,
        max_reasons=MAX_REASONS,
        command=command,
        config=as_yaml(config),
        versions=versions,
        threshold=THRESHOLD,
        other_person=OTHER_PERSON,
        identities=identity_lines(summary),
        lost=LOST,
    )
    return text.encode("utf-8", "backslashreplace").decode()


def terminal_table(summary: Summary) -> Group:
    """What ``rich`` prints at the end: what became of the pairs, the effect by generator and channel, the quality."""
    pairs = outcome_table("pairs", "What became of the pairs", summary.counts, summary.reasons)
    for flag, count in summary.flags.items():
        pairs.add_row("remark", str(count), Text(flag))
    effects = [_effect_table(summary, generator) for generator in summary.generators]
    return Group(pairs, *effects, *identity_lines(summary), _quality_line(summary)) if summary.lines else Group(pairs)


def identity_lines(summary: Summary) -> list[str]:
    """For each generator how far the outputs for the files as they are lie from the person in the photo, where measured."""
    lines = [summary.line(generator, CLEAN) for generator in summary.generators if summary.identity]
    return [_identity_line(line) for line in lines if line]


def _identity_line(line: Line) -> str:
    nobody = round(line.samples * (1 - line.mean(WITH_PERSON)))
    return (
        f"identity, {line.generator}: distance to the photo {number(line.mean('identity_clean'))} of clean and "
        f"{number(line.mean('identity'))} of broken outputs; another person (at least {OTHER_PERSON}) in "
        f"{number(100 * line.mean('other_person_clean'), 1)} and {number(100 * line.mean('other_person'), 1)} %"
        + (f"; no face found in the photo of {nobody:,} of {line.samples:,} pairs" if nobody else "")
    )


def _effect_table(summary: Summary, generator: str) -> Table:
    lines = [line for line in summary.lines if line.generator == generator and line.class_name == ALL]
    samples = max((line.samples for line in lines), default=0)
    title = Text(f"Effect on {generator}, {samples} pairs of photo and class, from the files; noise: L2 of random noise")
    heads = ("channel", "L2", "% dis.", "95 %", "of clean", "% vis.", "levelled", "SR_mask", "noise")
    table = Table(*heads, title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(table.columns):
        column.justify, column.no_wrap = ("right" if i else "left"), True
    for line in lines:
        table.add_row(Text(line.channel), *_cells(line))
    return table


def span(line: Line, name: str, *, times: float = 1.0, digits: int = 3) -> str:
    """The 95 % interval of a measure as ``low to high``; empty where there is none, or every drawing gave the same."""
    low, high = line.interval(name)
    return "" if np.isnan(low) or low == high else f"{times * low:.{digits}f} to {times * high:.{digits}f}"


def _cells(line: Line) -> tuple[str, ...]:
    return (
        number(line.mean("l2")),
        number(100 * line.mean("disrupted"), 1),
        span(line, "disrupted", times=100, digits=1),
        number(100 * line.mean(RELATIVE), 1),
        number(100 * line.mean("visible"), 1),
        number(line.mean("levelled")),
        number(100 * line.mean("sr_mask"), 1),
        number(line.mean("floor_l2"), 4),
    )


def _quality_line(summary: Summary) -> str:
    steps = f"; protected in {number(summary.steps[0], 1)} steps on average, {summary.steps[1]} at most" if summary.steps else ""
    return (
        f"PSNR {number(summary.psnr_mean, 1)} dB on average, {number(summary.psnr_min, 1)} dB at least; "
        f"SSIM {number(summary.ssim_mean, 4)}; largest change {summary.linf_levels} levels; "
        f"noise of {summary.epsilon} levels{steps}"
    )


def _verdict(summary: Summary) -> str:
    """The evaluation in one sentence."""
    others = [f"{count:,} {status}" for status, count in summary.counts.items() if count and status != "measured"]
    return (
        f"{summary.counts['measured']:,} of {summary.total:,} pairs measured" + (f"; {', '.join(others)}" if others else "") + "."
    )


def _facts(summary: Summary) -> list[tuple[str, str, str]]:
    """(value, what it is, remark) for the row of numbers at the top."""
    facts = []
    for generator in summary.generators:
        line = summary.line(generator, CLEAN)
        if line:
            interval = span(line, "disrupted", times=100, digits=1)
            remark = f"{generator}{f', 95 %: {interval}' if interval else ''}"
            facts.append((f"{number(100 * line.mean('disrupted'), 1)} %", "disrupted, files as they are", remark))
    if not facts:
        return []
    unchanged = f"; {summary.unchanged:,} files unchanged" if summary.unchanged else ""
    if summary.steps:
        facts.append((number(summary.steps[0], 1), "mean steps of the protection", f"at most {summary.steps[1]}"))
    return [
        *facts,
        (f"{number(summary.psnr_mean, 1)} dB", "mean PSNR", f"lowest {number(summary.psnr_min, 1)} dB{unchanged}"),
        (number(summary.ssim_mean, 4), "mean SSIM", "1 is identical"),
        (f"{summary.linf_levels} levels", "largest change", f"noise of {summary.epsilon} levels to compare with"),
    ]


def _plots(summary: Summary) -> list[tuple[str, Markup]]:
    """(generator, drawing of % dis. by channel); with one channel there is nothing to draw."""
    drawn = []
    for i, generator in enumerate(summary.generators):
        lines = [line for line in summary.lines if line.generator == generator and line.class_name == ALL]
        if len(lines) > 1:
            size = (7.0, 0.8 + 0.26 * len(lines))
            drawn.append((generator, Markup(drawing(_painter(lines), name=f"channels{i}", size=size))))
    return drawn


def _painter(lines: Sequence[Line]) -> Any:
    """Draws a bar of % dis. for each line, its interval, and a tick where noise of the same size comes to."""

    def paint(axes: Axes) -> None:
        places = range(len(lines))
        shares = [100 * line.mean("disrupted") for line in lines]
        axes.barh(places, shares, height=0.7, color=GOOD)
        for place, line in zip(places, lines, strict=True):
            low, high = (100 * end for end in line.interval("disrupted"))
            if not np.isnan(low):
                axes.plot([low, high], [place, place], color=INK, linewidth=1.2)
            floor = 100 * line.mean("floor_disrupted")
            axes.plot([floor, floor], [place - 0.4, place + 0.4], color=INK, linewidth=1, linestyle=(0, (2, 1)))
        axes.set_yticks(places, [line.channel.replace("$", r"\$") for line in lines])
        axes.invert_yaxis()
        axes.set_xlim(0, 100)
        axes.set_xlabel("% dis.")
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color=FAINT, linewidth=0.5)
        axes.set_axisbelow(True)

    return paint
