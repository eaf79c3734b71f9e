"""The numbers of a run, from its manifest."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.images import THRESHOLD
from pipeline.ledger.schema import STATUSES
from pipeline.report.outcome import Reason, numbers, reasons_of


@dataclass(frozen=True)
class ClassEffect:
    """What the disruption did to one class: number of samples, mean L1, mean L2, share of samples with L2 >= 0.05."""

    name: str
    samples: int
    l1: float
    l2: float
    disrupted: float


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
    """Why inputs were not protected, or protected with a remark."""
    why = pc.fill_null(pc.coalesce(rows["reason"], rows["note"]), "no reason recorded")
    table = rows.set_column(rows.schema.get_field_index("reason"), "reason", why)
    table = table.filter(pc.or_(pc.not_equal(rows["status"], "protected"), pc.is_valid(rows["note"])))
    return reasons_of(table, ("failed", "not_disrupted", "skipped", "protected"))


def _flat(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The items of a column of lists, one after the other."""
    return pc.list_flatten(column)


def _distinct(column: pa.ChunkedArray) -> tuple[str, ...]:
    return tuple(pc.unique(column.drop_null()).to_pylist())


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else math.nan
