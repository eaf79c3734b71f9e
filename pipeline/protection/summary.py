"""The numbers of a run, from its manifest, and how they look in a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from rich.console import Group
from rich.table import Table
from rich.text import Text

from pipeline.ledger.schema import STATUSES

THRESHOLD = 0.05  # as in metrics.effect, which needs torch
EXAMPLE_KEYS = 20
MOST = 5
"""Reasons of one status that the terminal shows."""


@dataclass(frozen=True)
class ClassEffect:
    """What the disruption did to one class: number of samples, mean L1, mean L2, share of samples with L2 >= 0.05."""

    name: str
    samples: int
    l1: float
    l2: float
    disrupted: float


@dataclass(frozen=True)
class Reason:
    """Why inputs ended as they did: how many share the reason, and the first few of their keys."""

    status: str
    stage: str
    text: str
    count: int
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Summary:
    """The numbers of a run. Means are over what was measured on written files and NaN where nothing was.

    ``everything`` counts (photo, class) samples. PSNR is in dB and leaves out the ``unchanged`` files, whose PSNR is infinite;
    ``linf_levels`` is the largest change of any pixel. ``seconds`` is compute time summed over photos; ``images_per_second`` is
    None when the wall-clock time is not known. ``signals`` are the ids of the bundles whose signals the files carry.
    """

    total: int
    counts: dict[str, int]
    reasons: tuple[Reason, ...]
    classes: tuple[ClassEffect, ...]
    everything: ClassEffect
    psnr_mean: float
    psnr_min: float
    ssim_mean: float
    linf_levels: int | None
    epsilon: int | None
    unchanged: int
    seconds: float
    seconds_mean: float
    images_per_second: float | None
    bytes_in: int
    bytes_out: int
    generators: tuple[str, ...]
    recipes: tuple[str, ...]
    signals: tuple[str, ...]
    signatures: tuple[str, ...]

    @property
    def measured(self) -> bool:
        """Whether any file was written and measured."""
        return self.linf_levels is not None

    @property
    def disrupts(self) -> bool:
        """Whether any file was measured on a generator; not when signals alone were added."""
        return self.everything.samples > 0


def summarise(rows: pa.Table, *, wall_seconds: float | None = None) -> Summary:
    """The summary of a manifest table; ``wall_seconds`` is how long the run took by the clock."""
    counted = {item["values"]: item["counts"] for item in pc.value_counts(rows["status"]).to_pylist()}
    psnr = numbers(rows["psnr"])
    finite = psnr[np.isfinite(psnr)]
    seconds = numbers(rows["seconds"])
    return Summary(
        total=rows.num_rows,
        counts={status: counted.get(status, 0) for status in STATUSES},
        reasons=_reasons(rows),
        classes=_classes(rows),
        everything=_effect("all classes", numbers(_flat(rows["class_l1"])), numbers(_flat(rows["class_l2"]))),
        psnr_mean=_mean(finite),
        psnr_min=float(finite.min()) if finite.size else math.nan,
        ssim_mean=_mean(numbers(rows["ssim"])),
        linf_levels=pc.max(rows["linf_levels"]).as_py(),
        epsilon=pc.max(rows["epsilon"]).as_py(),
        unchanged=int(np.isposinf(psnr).sum()),
        seconds=float(seconds.sum()),
        seconds_mean=_mean(seconds),
        images_per_second=rows.num_rows / wall_seconds if wall_seconds else None,
        bytes_in=pc.sum(rows["bytes_in"]).as_py() or 0,
        bytes_out=pc.sum(rows["bytes_out"]).as_py() or 0,
        generators=_distinct(rows["generator"]),
        recipes=_distinct(rows["recipe"]),
        signals=_distinct(rows["signals"]),
        signatures=_distinct(rows["signature"]),
    )


def outcome_table(
    head: str, title: str, counts: Mapping[str, int], reasons: Sequence[Reason], *, rest: str = "in the report"
) -> Table:
    """How many ended with each status, and their most frequent reasons; ``rest`` says where the others are."""
    table = Table(head, "count", "why", title=title, title_justify="left")
    table.columns[1].justify = "right"
    for status, count in counts.items():
        own = [reason for reason in reasons if reason.status == status]
        lines = [f"{reason.count} x {reason.text} ({reason.keys[0]})" for reason in own[:MOST]]
        lines += [f"and {len(own) - MOST} other reasons, {rest}"] if len(own) > MOST else []
        table.add_row(status.replace("_", " "), str(count), Text("\n".join(lines)))
    return table


def terminal_table(summary: Summary) -> Group:
    """What ``rich`` prints at the end of a run: what became of the inputs, why not, the effect by class, the quality."""
    inputs = outcome_table("inputs", "What became of the photos", summary.counts, summary.reasons, rest="in the manifest")
    inputs.add_row("all", str(summary.total), "")

    quality = [_quality_line(summary)] if summary.measured else []
    if not summary.disrupts:
        return Group(inputs, *quality)
    effect = Table(
        "class", "samples", "L1", "L2", "% dis.", title="Effect on the generator, from the written files", title_justify="left"
    )
    for column in effect.columns[1:]:
        column.justify = "right"
    for row in [*summary.classes, summary.everything]:
        effect.add_row(Text(row.name), str(row.samples), number(row.l1), number(row.l2), number(100 * row.disrupted, 1))
    return Group(inputs, effect, *quality)


def number(value: float | None, digits: int = 3) -> str:
    """``value`` with that many decimals; a dash where there is none."""
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def numbers(column: pa.ChunkedArray | pa.Array) -> NDArray[np.float64]:
    """The known values of a column."""
    return np.asarray(pc.cast(column.drop_null(), pa.float64()).to_numpy(zero_copy_only=False))


def _quality_line(summary: Summary) -> str:
    rate = "" if summary.images_per_second is None else f", {summary.images_per_second:.2f} inputs/s"
    signals = f"; signals {', '.join(summary.signals)}" if summary.signals else ""
    return (
        f"PSNR {number(summary.psnr_mean, 1)} dB on average, {number(summary.psnr_min, 1)} dB at least; "
        f"SSIM {number(summary.ssim_mean, 4)}; largest change {summary.linf_levels} of {summary.epsilon} levels; "
        f"{number(summary.seconds_mean, 2)} s of compute a photo{rate}{signals}"
    )


def _classes(rows: pa.Table) -> tuple[ClassEffect, ...]:
    """The effect on each class, in the order in which the manifest names them first."""
    names, l1, l2 = (_flat(rows[column]) for column in ("classes", "class_l1", "class_l2"))
    if not len(names):
        return ()
    return tuple(
        _effect(name, numbers(l1.filter(pick)), numbers(l2.filter(pick)))
        for name in _distinct(names)
        for pick in [pc.equal(names, name)]
    )


def _effect(name: str, l1: NDArray[np.float64], l2: NDArray[np.float64]) -> ClassEffect:
    return ClassEffect(
        name=name, samples=len(l2), l1=_mean(l1), l2=_mean(l2), disrupted=_mean((l2 >= THRESHOLD).astype(np.float64))
    )


def _reasons(rows: pa.Table) -> tuple[Reason, ...]:
    """Why inputs were not protected, or protected with a remark: failures first, then by how often."""
    why = pc.fill_null(pc.coalesce(rows["reason"], rows["note"]), "no reason recorded")
    table = pa.table({"key": rows["key"], "status": rows["status"], "stage": pc.fill_null(rows["stage"], ""), "why": why})
    table = table.filter(pc.or_(pc.not_equal(rows["status"], "protected"), pc.is_valid(rows["note"])))
    groups = table.group_by(["status", "stage", "why"]).aggregate([("key", "list")]).to_pylist()
    order = {status: place for place, status in enumerate(("failed", "not_disrupted", "skipped", "protected"))}
    found = [_reason(group) for group in groups]
    return tuple(sorted(found, key=lambda reason: (order[reason.status], -reason.count, reason.text, reason.stage)))


def _reason(group: dict[str, Any]) -> Reason:
    keys = group["key_list"]
    return Reason(group["status"], group["stage"], group["why"], len(keys), tuple(sorted(keys)[:EXAMPLE_KEYS]))


def _flat(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The items of a column of lists, one after the other."""
    return pc.list_flatten(column)


def _distinct(column: pa.ChunkedArray) -> tuple[str, ...]:
    return tuple(pc.unique(column.drop_null()).to_pylist())


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else math.nan
