"""A protection run for people: a table for the terminal and one self-contained HTML page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from pipeline.images import LOST, OTHER_PERSON, THRESHOLD
from pipeline.protection.summary import EVERYTHING, Summary, summarise
from pipeline.protection.sums import Sums, values_of
from pipeline.report.examples import Example, amplification
from pipeline.report.outcome import duration, number, outcome_table
from pipeline.report.page import MAX_REASONS, as_yaml, size, template
from pipeline.report.plots import histogram

MAX_EXAMPLES = 12
NOT_MEASURED = "What this does to a network was not measured on these files. disrupt evaluate does."


def terminal_table(summary: Summary) -> Group:
    """What ``rich`` prints at the end of a run: what became of the inputs, why not, the effect by class, the quality."""
    inputs = outcome_table("inputs", "What became of the photos", summary.counts, summary.reasons, rest="in the manifest")
    inputs.add_row("all", str(summary.total), "")

    limits = [line] if (line := limits_line(summary)) else []
    quality = [_quality_line(summary), *limits, f"files: {_files_line(summary)}"] if summary.measured else []
    if not summary.disrupts:
        return Group(inputs, *quality, *([line] if (line := measured_line(summary)) else []))
    heads = ("class", "samples", "L1", "L2", "% dis.", "lost", "% vis.", "% lev.")
    title = "Effect on the generator, from the written files; lost: share of lines and texture; lev.: after auto levels"
    effect = Table(*heads, title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for column in effect.columns[1:]:
        column.justify = "right"
    for row in [*summary.classes, summary.everything]:
        seen = (number(row.lost), number(100 * row.visible, 1))
        breakage = (*seen, number(100 * row.disrupted_levelled, 1))
        l1_l2 = (number(row.l1), number(row.l2), number(100 * row.disrupted, 1))
        effect.add_row(Text(row.name), str(row.samples), *l1_l2, *breakage)
    some = [line] if (line := measured_line(summary)) else []
    identity = [line] if (line := identity_line(summary)) else []
    return Group(inputs, effect, _region_line(summary), *identity, *_steps_lines(summary), *quality, *some)


def measured_line(summary: Summary) -> str:
    """On how many files the effect was measured, where that is not all of them; else nothing, as where signals alone were added."""
    if not summary.disrupts:
        return NOT_MEASURED if summary.measured and (summary.universals or summary.generators) else ""
    measured = summary.everything.samples // max(1, len(summary.classes))
    return f"The effect was measured on {measured:,} of {_many(summary.written, 'file')}." if measured < summary.written else ""


def identity_line(summary: Summary) -> str:
    """How far outputs are from the person in the photo, where that was measured; else nothing."""
    if (found := summary.identities.get(EVERYTHING)) is None:
        return ""
    nobody = summary.everything.samples - found.samples
    return (
        f"identity: distance to the photo {number(found.mean_clean)} of clean and {number(found.mean)} of broken outputs; "
        f"another person (at least {OTHER_PERSON}) in {number(100 * found.other_clean, 1)} and {number(100 * found.other, 1)} %"
        + (f"; no face found in the photo of {nobody:,} of {summary.everything.samples:,} samples" if nobody else "")
    )


def limits_line(summary: Summary) -> str:
    """How far photos and their pixels could be changed, where that was not the same for all; else nothing."""
    varies = summary.measured and summary.epsilon_mean != summary.epsilon
    mean = f"epsilon {number(summary.epsilon_mean, 1)} levels on average" if varies else ""
    mask = "" if math.isnan(summary.mask_mean) else f"the mask allowed {number(summary.mask_mean, 1)} levels on average"
    return "; ".join(part for part in (mean, mask) if part)


def _region_line(summary: Summary) -> str:
    """What the generators saw, and of faces how many are broken."""
    regions = ", ".join(f"{name} of {_many(count, 'photo')}" for name, count in summary.regions.items())
    if not summary.faces:
        return f"region: {regions}"
    return f"region: {regions}; {_many(summary.faces, 'face')}, {_faces_broken(summary)}"


def _faces_broken(summary: Summary) -> str:
    share = 100 * summary.face_pairs_broken / summary.face_pairs if summary.face_pairs else 0
    return f"{number(share, 1)} % of {summary.face_pairs:,} pairs of face and class broken"


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def _steps_lines(summary: Summary) -> list[str]:
    """How many steps of the ascent the photos took; nothing where that is not on record."""
    most = summary.steps_most
    return [] if most is None else [f"steps of the ascent: {number(summary.steps_mean, 1)} on average, {most} at most"]


def _files_line(summary: Summary) -> str:
    """Bytes in and out, how much larger files are than their photos, and a format that would take less."""
    growth = "" if math.isnan(summary.growth) else f", {number(summary.growth, 1)} times as large"
    return f"{size(summary.bytes_in)} in, {size(summary.bytes_out)} out{growth}{_smaller_format(summary)}"


def _smaller_format(summary: Summary) -> str:
    """That lossless WebP takes less room, where it did on the files that were tried."""
    tried, png, webp = summary.as_webp or (0, 0, 0)
    if webp >= png:
        return ""
    return f"; --format webp is {number(100 * (1 - webp / png), 0)} % smaller, lossless too (tried on {_many(tried, 'file')})"


def _quality_line(summary: Summary) -> str:
    rate = "" if summary.images_per_second is None else f", {summary.images_per_second:.2f} inputs/s"
    signals = f"; signals {', '.join(summary.signals)}" if summary.signals else ""
    return (
        f"PSNR {number(summary.psnr_mean, 1)} dB on average, {number(summary.psnr_min, 1)} dB at least; "
        f"SSIM {number(summary.ssim_mean, 4)}; largest change {summary.linf_levels} of {summary.epsilon} levels; "
        f"{duration(summary.seconds_mean)} of compute a photo{rate}{signals}"
    )


def write_report(
    sums: Sums,
    config: Mapping[str, Any],
    examples: Sequence[Example],
    command: str,
    *,
    wall_seconds: float | None = None,
    versions: Mapping[str, str] | None = None,
) -> str:
    """The page for the sums of a run.

    ``config`` is shown as YAML, ``command`` as it is typed, ``versions`` beside them. The first 12 examples are shown, from the
    weakest effect to the strongest. Every text from outside is escaped.
    """
    summary = summarise(sums, wall_seconds=wall_seconds)
    shown = sorted(examples[:MAX_EXAMPLES], key=lambda example: example.l2)
    text: str = template("protection.html").render(
        summary=summary,
        verdict=_verdict(summary),
        facts=_facts(summary),
        plots=_plots(sums),
        examples=shown,
        measured={row["key"]: row for row in sums["samples"]},
        amplification=amplification(summary.epsilon or 1),
        max_reasons=MAX_REASONS,
        command=command,
        config=as_yaml(config),
        versions=versions or {},
        threshold=THRESHOLD,
        lost=LOST,
        other_person=OTHER_PERSON,
        identity=identity_line(summary),
        some_measured=measured_line(summary),
    )
    return text.encode("utf-8", "backslashreplace").decode()


def _verdict(summary: Summary) -> str:
    """The run in one sentence."""
    done = summary.counts["protected"]
    others = [
        f"{count:,} {status.replace('_', ' ')}" for status, count in summary.counts.items() if count and status != "protected"
    ]
    return f"{done:,} of {summary.total:,} photos protected" + (f"; {', '.join(others)}" if others else "") + "."


def _facts(summary: Summary) -> list[tuple[str, str, str]]:
    """(value, what it is, remark) for the row of numbers at the top."""
    if not summary.measured:
        return []
    limits = [line] if (line := limits_line(summary)) else []
    unchanged = f"; {summary.unchanged:,} files unchanged" if summary.unchanged else ""
    rate = f"; {summary.images_per_second:.2f} inputs/s by the clock" if summary.images_per_second is not None else ""
    return [
        *_effect_facts(summary),
        (f"{number(summary.psnr_mean, 1)} dB", "mean PSNR", f"lowest {number(summary.psnr_min, 1)} dB{unchanged}"),
        (number(summary.ssim_mean, 4), "mean SSIM", "1 is identical"),
        (f"{summary.linf_levels} levels", "largest change", "; ".join([f"allowed {summary.epsilon} of 255", *limits])),
        (size(summary.bytes_out), "files", _files_line(summary)),
        (duration(summary.seconds_mean), "compute a photo", f"{number(summary.seconds, 0)} s in all{rate}"),
    ]


def _effect_facts(summary: Summary) -> list[tuple[str, str, str]]:
    """What the disruption did; nothing where no generator was measured."""
    if not summary.disrupts:
        return []
    effect = summary.everything
    return [
        (f"{number(100 * effect.disrupted, 1)} %", "disrupted", f"{effect.samples:,} samples of photo and class"),
        (number(effect.l2), "mean L2", f"mean L1 {number(effect.l1)}"),
        (f"{number(100 * effect.visible, 1)} %", "visibly broken", f"mean share of lines and texture lost {number(effect.lost)}"),
        (f"{number(100 * effect.disrupted_levelled, 1)} %", "disrupted after auto levels", f"mean {number(effect.levelled)}"),
        *(
            [(number(summary.steps_mean, 1), "mean steps", f"at most {summary.steps_most}")]
            if summary.steps_most is not None
            else []
        ),
        *_region_facts(summary),
    ]


def _region_facts(summary: Summary) -> list[tuple[str, str, str]]:
    """What the generators saw: faces, and how many of them are broken, or another region."""
    others = [f"{name} of {_many(count, 'photo')}" for name, count in summary.regions.items() if name != "faces"]
    if not summary.faces:
        return [(", ".join(summary.regions), "region seen by the generator", ", ".join(others))]
    found = f"in {_many(summary.regions['faces'], 'photo')}" + "".join(f"; {other}" for other in others)
    return [(_many(summary.faces, "face"), "found", f"{found}; {_faces_broken(summary)}")]


def _plots(sums: Sums) -> list[tuple[str, Markup]]:
    """(caption, drawing) for what was measured. The drawings hold numbers and fixed labels only."""
    plots = [
        ("class_l2", f"L2 of each photo and class; the line is the threshold, {THRESHOLD}", "L2 (mean square)", "samples"),
        ("psnr", "PSNR of each protected file", "PSNR (dB)", "photos"),
        ("seconds", "Compute time of each photo", "seconds", "photos"),
    ]
    drawn = []
    for name, caption, label, counted in plots:
        values, counts = values_of(sums, name)
        threshold = THRESHOLD if name == "class_l2" else None
        drawn.append((caption, histogram(values, counts, name=name, label=label, counted=counted, threshold=threshold)))
    return [(caption, Markup(svg)) for caption, svg in drawn if svg]
