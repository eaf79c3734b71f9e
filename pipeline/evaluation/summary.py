"""The numbers of an evaluation: by generator, class and channel, with intervals; the same for any cut into parts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, product

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.evaluation.bootstrap import AT_ONCE, NONE, Floats, Interval, interval, ratio, resampled
from pipeline.evaluation.row import STATUSES, in_order
from pipeline.evaluation.sums import (
    ALL,
    IDENTITY,
    MEASURES,
    OF_PEOPLE,
    WITH_PERSON,
    Name,
    Sums,
    coded,
    lines_of,
    mean,
    measured_of,
    measures_of,
    sums_of,
    values_of,
)
from pipeline.ledger.rows import csv_text
from pipeline.report.outcome import Reason, tell_reasons

CLEAN = "clean"
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
        """One of MEASURES, OVER_EDIT or RELATIVE; with `--identity` also of IDENTITY."""
        return self.means[name]

    def interval(self, name: str) -> Interval:
        """Its 95 % interval."""
        return self.intervals.get(name, NONE)


@dataclass(frozen=True)
class Summary:
    """The numbers of an evaluation. ``counts`` and ``flags`` count photos; PSNR (dB) leaves out the ``unchanged`` files.

    ``steps`` of the ascent took the photos of the protection run, on average and at most; None where that is not on record.
    ``identity`` says that lines hold the measures of people too.
    """

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
    steps: tuple[float, int] | None = None
    identity: bool = False

    @property
    def total(self) -> int:
        """Photos and files without a partner."""
        return sum(self.counts.values())

    def line(self, generator: str, channel: str, class_name: str = ALL) -> Line | None:
        """The line of a generator, channel and class; None when nothing of it was measured."""
        wanted = (generator, class_name, channel)
        return next((line for line in self.lines if (line.generator, line.class_name, line.channel) == wanted), None)


def summarise(
    sums: Sums,
    rows: Iterable[pa.Table],
    *,
    generators: Sequence[str],
    channels: Sequence[str],
    classes: Iterable[str],
    bootstrap: int,
    seed: int,
) -> Summary:
    """The summary of sums; its lines come in the order of these names, all classes of a generator last.

    ``rows`` are all rows once more, for the intervals: tables sorted by key, of which one at a time is in memory.
    """
    lines = lines_of(sums)
    found = [name for name in product(generators, [*dict.fromkeys(classes), ALL], channels) if name in lines]
    photos = sums["photos"]
    measures = measures_of(sums)
    by_photo = _by_photo(rows, found, len(measures))
    again = resampled(by_photo, photos, times=bootstrap, seed=seed) if bootstrap and photos > 1 else None
    return Summary(
        counts={status: sums["counts"].get(status, 0) for status in STATUSES},
        failed_rows=sums["failed_rows"],
        reasons=tell_reasons(sums["reasons"], STATUSES),
        flags=dict(sorted(sums["flags"].items())),
        lines=tuple(_lines(sums, found, measures, again)),
        generators=tuple(generators),
        channels=tuple(channels),
        psnr_mean=mean(*sums["psnr"]),
        psnr_min=math.nan if sums["psnr_min"] is None else sums["psnr_min"],
        ssim_mean=mean(*sums["ssim"]),
        linf_levels=sums["linf_levels"],
        unchanged=sums["unchanged"],
        epsilon=sums["epsilon"],
        identity=measures != MEASURES,
    )


def summarise_table(
    rows: pa.Table, *, generators: Sequence[str], channels: Sequence[str], classes: Iterable[str], bootstrap: int, seed: int
) -> Summary:
    """The summary of rows that are in memory, in any order."""
    rows = in_order([rows], rows.schema)
    names = {"generators": generators, "channels": channels}
    return summarise(sums_of(rows), [rows], **names, classes=classes, bootstrap=bootstrap, seed=seed)


def as_csv(summary: Summary) -> str:
    """One line for each generator, class and channel: counts, means, and the ends of the intervals where there are some."""
    names = (*MEASURES, OVER_EDIT, RELATIVE, *(IDENTITY if summary.identity else ()))
    head = [part for name in names for part in (name, f"{name}_low", f"{name}_high")]
    rows = []
    for line in summary.lines:
        values = [value for name in names for value in (line.mean(name), *line.interval(name))]
        shown = ["" if math.isnan(value) else f"{value:.6g}" for value in values]
        rows.append([line.generator, line.class_name, line.channel, line.photos, line.samples, *shown])
    return csv_text(["generator", "class", "channel", "photos", "samples", *head], rows)


def _lines(sums: Sums, found: Sequence[Name], measures: Sequence[str], again: Floats | None) -> Iterator[Line]:
    """These lines; ``again`` holds the sums of each draw, (draws, lines x (1 + measures))."""
    lines = lines_of(sums)
    means = {name: _means(lines[name][0], dict(zip(measures, lines[name][2], strict=True))) for name in found}
    drawn = {name: _drawn(again, i, measures) for i, name in enumerate(found)}
    for name in found:
        generator, class_name, channel = name
        samples, photos, _ = lines[name]
        intervals = {measure: interval(values) for measure, values in drawn[name].items()}
        relative, clean = math.nan, (generator, class_name, CLEAN)
        if clean in means and means[clean]["disrupted"]:
            relative = means[name]["disrupted"] / means[clean]["disrupted"]
            intervals[RELATIVE] = interval(ratio(drawn[name]["disrupted"], drawn[clean]["disrupted"])) if drawn[name] else NONE
        intervals[OVER_EDIT] = interval(ratio(drawn[name]["l2"], drawn[name]["edit"])) if drawn[name] else NONE
        edit = means[name]["edit"]
        over = means[name]["l2"] / edit if edit > 0 else math.nan
        yield Line(generator, class_name, channel, photos, samples, means[name] | {RELATIVE: relative, OVER_EDIT: over}, intervals)


def _means(samples: int, terms: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The means by measure; those of people over the samples that show one."""
    people = round(math.fsum(terms.get(WITH_PERSON, ())))
    return {name: mean(people if name in OF_PEOPLE else samples, values) for name, values in terms.items()}


def _drawn(again: Floats | None, line: int, measures: Sequence[str]) -> dict[str, Floats]:
    """The means of each draw, by measure."""
    if again is None:
        return {}
    count, *values = again[:, line * (1 + len(measures)) : (line + 1) * (1 + len(measures))].T
    sums = dict(zip(measures, values, strict=True))
    return {name: ratio(sums[name], sums[WITH_PERSON] if name in OF_PEOPLE else count) for name in measures}


def _by_photo(tables: Iterable[pa.Table], found: Sequence[Name], measures: int) -> Iterator[Floats]:
    """(photos, lines x (1 + measures)) for a few photos at a time: their samples in each line, and the sums of their values."""
    width = len(found) * (1 + measures)
    most = max(1, AT_ONCE // max(1, width))
    for table in tables:
        measured = measured_of(table)
        photo, keys = coded(measured, "key")
        ends = np.searchsorted(photo, np.arange(0, len(keys) + most, most))
        for number, (start, end) in enumerate(pairwise(ends)):
            rows = measured.slice(start, end - start)
            yield _few_photos(rows, photo[start:end] - number * most, found).reshape(-1, width)


def _few_photos(rows: pa.Table, photo: NDArray[np.int64], found: Sequence[Name]) -> Floats:
    """(photos, lines, 1 + measures)."""
    (generator, generators), (kind, classes), (channel, channels) = (coded(rows, n) for n in ("generator", "class", "channel"))
    place = {name: i for i, name in enumerate(found)}
    samples = np.column_stack([np.ones(len(photo)), values_of(rows)])
    sums = np.zeros((int(photo[-1]) + 1, len(found), samples.shape[1]))
    for codes, names in ((kind, classes), (np.zeros_like(kind), [ALL])):
        lines = np.array([[[place.get((g, c, h), -1) for h in channels] for c in names] for g in generators])
        line = lines[generator, codes, channel]
        np.add.at(sums, (photo[line >= 0], line[line >= 0]), samples[line >= 0])
    return sums
