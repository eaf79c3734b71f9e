"""The report of a run as one HTML file: no scripts, nothing loaded from anywhere, readable offline."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import yaml
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from pipeline.protection.summary import THRESHOLD, Summary, number, numbers, summarise
from pipeline.report.examples import Example, amplification
from pipeline.report.plots import histogram

__all__ = ["Example", "write_report"]

MAX_EXAMPLES = 12
MAX_REASONS = 100


def write_report(
    rows: pa.Table,
    config: Mapping[str, Any],
    examples: Sequence[Example],
    command: str,
    *,
    wall_seconds: float | None = None,
    versions: Mapping[str, str] | None = None,
) -> str:
    """The page for a manifest table.

    ``config`` is shown as YAML, ``command`` as it is typed, ``versions`` beside them. The first 12 examples are shown, from the
    weakest effect to the strongest. Every text from outside is escaped.
    """
    summary = summarise(rows, wall_seconds=wall_seconds)
    shown = sorted(examples[:MAX_EXAMPLES], key=lambda example: example.l2)
    text: str = template("template.html").render(
        summary=summary,
        verdict=_verdict(summary),
        facts=_facts(summary),
        plots=_plots(rows),
        examples=shown,
        measured=_rows_by_key(rows, [example.key for example in shown]),
        amplification=amplification(summary.epsilon or 1),
        max_reasons=MAX_REASONS,
        command=command,
        config=as_yaml(config),
        versions=versions or {},
        threshold=THRESHOLD,
    )
    return text.encode("utf-8", "backslashreplace").decode()


def template(name: str) -> Any:
    """A page of this package to be filled in; every text is escaped, and what is not given is an error."""
    load = FunctionLoader(lambda wanted: files("pipeline.report").joinpath(wanted).read_text(encoding="utf-8"))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=load)
    environment.filters |= {"number": number, "picture": _data_uri, "size": _size}
    return environment.get_template(name)


def as_yaml(config: Mapping[str, Any]) -> str:
    """Options as YAML, paths and the like as text."""
    return yaml.safe_dump(json.loads(json.dumps(dict(config), default=str)), sort_keys=False, allow_unicode=True)


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
    unchanged = f"; {summary.unchanged:,} files unchanged" if summary.unchanged else ""
    rate = f"; {summary.images_per_second:.2f} inputs/s by the clock" if summary.images_per_second is not None else ""
    return [
        *_effect_facts(summary),
        (f"{number(summary.psnr_mean, 1)} dB", "mean PSNR", f"lowest {number(summary.psnr_min, 1)} dB{unchanged}"),
        (number(summary.ssim_mean, 4), "mean SSIM", "1 is identical"),
        (f"{summary.linf_levels} levels", "largest change", f"allowed {summary.epsilon} of 255"),
        (f"{number(summary.seconds_mean, 2)} s", "compute a photo", f"{number(summary.seconds, 0)} s in all{rate}"),
    ]


def _effect_facts(summary: Summary) -> list[tuple[str, str, str]]:
    """What the disruption did; nothing for signals alone."""
    if not summary.disrupts:
        return []
    effect = summary.everything
    return [
        (f"{number(100 * effect.disrupted, 1)} %", "disrupted", f"{effect.samples:,} samples of photo and class"),
        (number(effect.l2), "mean L2", f"mean L1 {number(effect.l1)}"),
    ]


def _plots(rows: pa.Table) -> list[tuple[str, Markup]]:
    """(caption, drawing) for what was measured. The drawings hold numbers and fixed labels only."""
    drawn = [
        (
            f"L2 of each photo and class; the line is the threshold, {THRESHOLD}",
            histogram(
                numbers(pc.list_flatten(rows["class_l2"])),
                name="l2",
                label="L2 (mean square)",
                counted="samples",
                threshold=THRESHOLD,
            ),
        ),
        ("PSNR of each protected file", histogram(numbers(rows["psnr"]), name="psnr", label="PSNR (dB)", counted="photos")),
        ("Compute time of each photo", histogram(numbers(rows["seconds"]), name="seconds", label="seconds", counted="photos")),
    ]
    return [(caption, Markup(svg)) for caption, svg in drawn if svg]


def _rows_by_key(rows: pa.Table, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The manifest rows of the examples."""
    columns = ["key", "width", "height", "mode", "psnr", "linf_levels"]
    found = rows.select(columns).filter(pc.is_in(rows["key"], pa.array(keys, pa.string()))).to_pylist()
    return {row["key"]: row for row in found}


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{b64encode(png).decode('ascii')}"


def _size(count: int) -> str:
    """Bytes for people: ``12.3 MB``."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
