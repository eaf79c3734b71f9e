"""The numbers of an evaluation: by generator, class and channel, with intervals; the same for any order of the rows."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.evaluation.bootstrap import NONE, Floats, Interval, interval, ratio, resampled
from pipeline.evaluation.row import STATUSES, in_order, worst
from pipeline.images import THRESHOLD
from pipeline.ledger.rows import csv_text
from pipeline.report.outcome import Reason, numbers, reasons_of

ALL = "all"
"""Stands for all classes of a generator; its samples are pairs of photo and class."""
CLEAN = "clean"
MEASURED = ("l1", "l2", "disrupted", "l2_mask", "mask_share", "floor_l2", "levelled", "local", "output_ssim", "edit")
"""Measures that are columns of the rows under the same name."""
MEASURES = (*MEASURED[:4], "sr_mask", *MEASURED[4:6], "floor_disrupted", *MEASURED[6:], "disrupted_levelled")
RELATIVE = "relative"
"""% dis. after a channel as a share of the % dis. of the clean files."""
OVER_EDIT = "over_edit"
"""The mean L2 over the mean L2 of the edit itself."""


@dataclass(frozen=True)
class Line:
    """Means over the samples of one generator, class and channel, and their 95 % intervals by name; NaN where there is none."""

    generator: str
    class_name: str
    channel: str
    photos: int
    samples: int
    means: Mapping[str, float]
    intervals: Mapping[str, Interval] = field(default_factory=dict)

    def mean(self, name: str) -> float:
        """One of MEASURES, OVER_EDIT or RELATIVE."""
        return self.means[name]

    def interval(self, name: str) -> Interval:
        """Its 95 % interval."""
        return self.intervals.get(name, NONE)


@dataclass(frozen=True)
class Summary:
    """The numbers of an evaluation. ``counts`` and ``flags`` count photos; PSNR (dB) leaves out the ``unchanged`` files."""

    counts: Mapping[str, int]
    failed_rows: int
    reasons: tuple[Reason, ...]
    flags: Mapping[str, int]
    lines: tuple[Line, ...]
    generators: tuple[str, ...]
    channels: tuple[str, ...]
    psnr_mean: float
    psnr_min: float
    ssim_mean: float
    linf_levels: int | None
    unchanged: int
    epsilon: int | None

    @property
    def total(self) -> int:
        """Photos and files without a partner."""
        return sum(self.counts.values())

    def line(self, generator: str, channel: str, class_name: str = ALL) -> Line | None:
        """The line of a generator, channel and class; None when nothing of it was measured."""
        wanted = (generator, class_name, channel)
        return next((line for line in self.lines if (line.generator, line.class_name, line.channel) == wanted), None)


def summarise(
    rows: pa.Table, *, generators: Sequence[str], channels: Sequence[str], classes: Iterable[str], bootstrap: int, seed: int
) -> Summary:
    """The summary of a table of rows; its lines come in the order of these names, all classes of a generator last."""
    rows = in_order([rows])
    files = _files(rows)
    psnr = np.array([row["psnr"] for row in files if row["psnr"] is not None])
    finite = psnr[np.isfinite(psnr)]
    statuses = _statuses(rows)
    return Summary(
        counts={status: statuses[status] for status in STATUSES},
        failed_rows=pc.sum(pc.equal(rows["status"], "failed")).as_py() or 0,
        reasons=reasons_of(rows.filter(pc.not_equal(rows["status"], "measured")), STATUSES),
        flags=dict(sorted(Counter(flag for row in files for flag in row["flags"] or ()).items())),
        lines=tuple(_lines(rows, product(generators, [*dict.fromkeys(classes), ALL], channels), times=bootstrap, seed=seed)),
        generators=tuple(generators),
        channels=tuple(channels),
        psnr_mean=_mean(finite),
        psnr_min=float(finite.min()) if finite.size else math.nan,
        ssim_mean=_mean(np.array([row["ssim"] for row in files if row["ssim"] is not None])),
        linf_levels=max((row["linf_levels"] for row in files if row["linf_levels"] is not None), default=None),
        unchanged=int(np.isposinf(psnr).sum()),
        epsilon=max((row["epsilon"] for row in files if row["epsilon"] is not None), default=None),
    )


def as_csv(summary: Summary) -> str:
    """One line for each generator, class and channel: counts, means, and the ends of the intervals where there are some."""
    names = (*MEASURES, OVER_EDIT, RELATIVE)
    head = [part for name in names for part in (name, f"{name}_low", f"{name}_high")]
    rows = []
    for line in summary.lines:
        values = [value for name in names for value in (line.mean(name), *line.interval(name))]
        shown = ["" if math.isnan(value) else f"{value:.6g}" for value in values]
        rows.append([line.generator, line.class_name, line.channel, line.photos, line.samples, *shown])
    return csv_text(["generator", "class", "channel", "photos", "samples", *head], rows)


def _lines(rows: pa.Table, names: Iterable[tuple[str, str, str]], *, times: int, seed: int) -> list[Line]:
    """A line for each of these (generator, class, channel) that something was measured of."""
    measured = rows.filter(pc.equal(rows["status"], "measured"))
    keys, photo = np.unique(np.array(measured["key"].to_pylist(), dtype=object), return_inverse=True)
    columns = {name: np.array(measured[name].to_pylist(), dtype=object) for name in ("generator", "class", "channel")}
    values = _values(measured)
    found: list[tuple[str, str, str]] = []
    sums: list[Floats] = []
    means: list[dict[str, float]] = []
    for generator, class_name, channel in names:
        pick = (columns["generator"] == generator) & (columns["channel"] == channel)
        if class_name != ALL:
            pick &= columns["class"] == class_name
        if pick.any():
            found.append((generator, class_name, channel))
            sums.append(_by_photo(values[pick], photo[pick], len(keys)))
            means.append({name: _mean(values[pick, i]) for i, name in enumerate(MEASURES)})
    again = resampled(sums, times=times, seed=seed)
    place = {name: i for i, name in enumerate(found)}
    drawn = [_drawn(group) for group in again]
    lines = []
    for i, (generator, class_name, channel) in enumerate(found):
        intervals = {measure: interval(values) for measure, values in drawn[i].items()}
        relative = math.nan
        clean = place.get((generator, class_name, CLEAN))
        if clean is not None and means[clean]["disrupted"]:
            relative = means[i]["disrupted"] / means[clean]["disrupted"]
            intervals[RELATIVE] = interval(ratio(drawn[i]["disrupted"], drawn[clean]["disrupted"]))
        intervals[OVER_EDIT] = interval(ratio(drawn[i]["l2"], drawn[i]["edit"]))
        over_edit = means[i]["l2"] / means[i]["edit"] if means[i]["edit"] > 0 else math.nan
        count = sums[i][:, 0]
        found_means = means[i] | {RELATIVE: relative, OVER_EDIT: over_edit}
        lines.append(Line(generator, class_name, channel, int((count > 0).sum()), int(count.sum()), found_means, intervals))
    return lines


def _drawn(again: Floats) -> dict[str, Floats]:
    """The means of each draw, by measure."""
    return {measure: ratio(again[:, 1 + m], again[:, 0]) for m, measure in enumerate(MEASURES)}


def _values(measured: pa.Table) -> Floats:
    """(rows, MEASURES); NaN where a row lacks one."""
    as_floats = {name: pc.cast(measured[name], pa.float64()) for name in (*MEASURED, "success_mask")}
    columns = {name: numbers(pc.fill_null(column, math.nan)) for name, column in as_floats.items()}
    columns["sr_mask"] = columns["success_mask"]
    columns["floor_disrupted"] = (columns["floor_l2"] >= THRESHOLD).astype(np.float64)
    columns["disrupted_levelled"] = (columns["levelled"] >= THRESHOLD).astype(np.float64)
    return np.stack([columns[name] for name in MEASURES], axis=1)


def _by_photo(values: Floats, photo: Any, photos: int) -> Floats:
    """(photos, 1 + MEASURES): how many samples a photo has, and the sums of their values."""
    sums = np.zeros((photos, 1 + values.shape[1]))
    np.add.at(sums, photo, np.column_stack([np.ones(len(values)), values]))
    return sums


def _files(rows: pa.Table) -> list[dict[str, Any]]:
    """One row a pair of files that could be compared, whatever the generators made of it."""
    columns = ["key", "psnr", "ssim", "linf_levels", "epsilon", "flags"]
    compared = rows.filter(pc.is_valid(rows["linf_levels"])).select(columns).to_pylist()
    return list({row["key"]: row for row in compared}.values())


def _statuses(rows: pa.Table) -> Counter[str]:
    by_key: dict[str, set[str]] = defaultdict(set)
    for key, status in zip(rows["key"].to_pylist(), rows["status"].to_pylist(), strict=True):
        by_key[key].add(status)
    return Counter(worst(found) for found in by_key.values())


def _mean(values: Floats) -> float:
    """The mean, rounded once, so that it does not depend on the order; NaN when there are none."""
    return math.fsum(values) / len(values) if len(values) else math.nan
