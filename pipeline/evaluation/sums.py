"""What a part adds to the numbers of an evaluation: counts, and sums that merge without rounding, whatever the order of the parts.

A sums dict is plain JSON: it lies in the file of its part. Only the intervals need the rows once more.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.evaluation.row import STATUSES, worst
from pipeline.images import LOST, OTHER_PERSON, THRESHOLD
from pipeline.report.outcome import few_reasons, numbers, tally_reasons

Sums = dict[str, Any]
Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Name = tuple[str, str, str]
"""Generator, class and channel of a line."""
ALL = "all"
"""Stands for all classes of a generator; its samples are pairs of photo and class."""
MEASURED = ("l1", "l2", "disrupted", "l2_mask", "mask_share", "floor_l2", "levelled", "local", "lost", "output_ssim", "edit")
"""Measures that are columns of the rows under the same name."""
MEASURES = (*MEASURED[:4], "sr_mask", *MEASURED[4:6], "floor_disrupted", *MEASURED[6:], "disrupted_levelled", "visible")

WITH_PERSON = "with_person"
OF_PEOPLE = ("identity", "identity_clean", "other_person", "other_person_clean")
IDENTITY = (WITH_PERSON, *OF_PEOPLE)
"""Measures of rows with `--identity` alone: the share whose photo shows a person, and the means over these."""


def measures_of(sums: Sums) -> tuple[str, ...]:
    """The measures whose sums these are."""
    return (*MEASURES, *IDENTITY) if sums.get("identity") else MEASURES


def sums_of(rows: pa.Table) -> Sums:
    """The sums of rows, which hold all rows of each of their photos."""
    files = _files(rows)
    psnr = np.array([row["psnr"] for row in files if row["psnr"] is not None])
    finite = psnr[np.isfinite(psnr)]
    measured = measured_of(rows)
    return {
        "rows": rows.num_rows,
        "counts": dict(_statuses(rows)),
        "failed_rows": pc.sum(pc.equal(rows["status"], "failed")).as_py() or 0,
        "reasons": tally_reasons(rows.filter(pc.not_equal(rows["status"], "measured")), STATUSES),
        "flags": dict(Counter(flag for row in files for flag in row["flags"] or ())),
        "psnr": moments(finite),
        "psnr_min": float(finite.min()) if finite.size else None,
        "unchanged": int(np.isposinf(psnr).sum()),
        "ssim": moments([row["ssim"] for row in files if row["ssim"] is not None]),
        "linf_levels": max((row["linf_levels"] for row in files if row["linf_levels"] is not None), default=None),
        "epsilon": max((row["epsilon"] for row in files if row["epsilon"] is not None), default=None),
        "photos": len(measured["key"].unique()),
        "lines": [[*name, *line] for name, line in _lines(measured)],
        "identity": "identity" in rows.column_names,
    }


def merged(every: Iterable[Sums]) -> Sums:
    """The sums of all rows together."""
    total: Sums = {}
    for sums in every:
        total = _merge(total, sums) if total else sums
    return total


def lines_of(sums: Sums) -> dict[Name, tuple[int, int, list[list[float]]]]:
    """Samples, photos and sums of each measure (see `exact`), by the name of the line."""
    return {(one[0], one[1], one[2]): (one[3], one[4], one[5]) for one in sums["lines"]}


def exact(values: Iterable[float]) -> list[float]:
    """A few numbers whose sum is that of the values without any rounding, so that sums of sums are exact too."""
    listed = list(values)
    terms: list[float] = []
    while rest := math.fsum([*listed, *(-term for term in terms)]):
        terms.append(rest)
        if not math.isfinite(rest):
            break
    return terms


def moments(values: Sequence[float] | Floats) -> list[Any]:
    """How many values there are, and their sum."""
    return [len(values), exact(values)]


def mean(count: int, terms: Sequence[float]) -> float:
    """The mean, rounded once; NaN when there are none."""
    return math.fsum(terms) / count if count else math.nan


def measured_of(rows: pa.Table) -> pa.Table:
    """The rows with numbers."""
    return rows.filter(pc.equal(rows["status"], "measured"))


def values_of(measured: pa.Table) -> Floats:
    """(rows, MEASURES, and of rows with `--identity` IDENTITY); NaN where a row lacks one, of IDENTITY 0."""
    as_floats = {name: pc.cast(measured[name], pa.float64()) for name in (*MEASURED, "success_mask")}
    columns = {name: numbers(pc.fill_null(column, math.nan)) for name, column in as_floats.items()}
    columns["sr_mask"] = columns["success_mask"]
    columns["floor_disrupted"] = (columns["floor_l2"] >= THRESHOLD).astype(np.float64)
    columns["disrupted_levelled"] = (columns["levelled"] >= THRESHOLD).astype(np.float64)
    columns["visible"] = (columns["lost"] >= LOST).astype(np.float64)
    names: tuple[str, ...] = MEASURES
    if "identity" in measured.column_names:
        names = (*MEASURES, *IDENTITY)
        columns |= _of_people(*(numbers(pc.fill_null(measured[name], math.nan)) for name in OF_PEOPLE[:2]))
    return np.stack([columns[name] for name in names], axis=1)


def _of_people(identity: Floats, identity_clean: Floats) -> dict[str, Floats]:
    values = (np.isfinite(identity), *map(np.nan_to_num, (identity, identity_clean)))
    others = (one >= OTHER_PERSON for one in (identity, identity_clean))
    return {name: one.astype(np.float64) for name, one in zip(IDENTITY, (*values, *others), strict=True)}


def coded(measured: pa.Table, column: str) -> tuple[Codes, list[str]]:
    """A column of text as the places of its values in the list that comes too, which is in the order of their first rows."""
    texts = measured[column].combine_chunks().dictionary_encode()
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.chunk(0) if texts.num_chunks else pa.array([], pa.string()).dictionary_encode()
    return texts.indices.to_numpy(zero_copy_only=False).astype(np.int64), texts.dictionary.to_pylist()


def _lines(measured: pa.Table) -> Iterator[tuple[Name, tuple[int, int, list[list[float]]]]]:
    """Samples, photos and sums of each line, all classes together too."""
    values, (photo, _) = values_of(measured), coded(measured, "key")
    (generator, generators), (kind, classes), (channel, channels) = (coded(measured, n) for n in ("generator", "class", "channel"))
    for codes, names in ((kind, classes), (np.zeros_like(kind), [ALL])):
        whole = (generator * len(names) + codes) * len(channels) + channel
        order = np.argsort(whole, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(whole[order])) + 1) if len(order) else ():
            at = rows[0]
            name = (generators[generator[at]], names[codes[at]], channels[channel[at]])
            terms = [exact(column) for column in values[rows].T.tolist()]
            yield name, (len(rows), len(np.unique(photo[rows])), terms)


def _merge(a: Sums, b: Sums) -> Sums:
    lines, more = lines_of(a), lines_of(b)
    for name, (samples, photos, terms) in more.items():
        before = lines.get(name, (0, 0, [[] for _ in terms]))
        sums = [exact([*x, *y]) for x, y in zip(before[2], terms, strict=True)]
        lines[name] = (before[0] + samples, before[1] + photos, sums)
    return {
        **{name: a[name] + b[name] for name in ("rows", "failed_rows", "unchanged", "photos")},
        **{name: dict(Counter(a[name]) + Counter(b[name])) for name in ("counts", "flags")},
        **{name: [a[name][0] + b[name][0], exact([*a[name][1], *b[name][1]])] for name in ("psnr", "ssim")},
        **{name: max((v for v in (a[name], b[name]) if v is not None), default=None) for name in ("linf_levels", "epsilon")},
        "psnr_min": min((v for v in (a["psnr_min"], b["psnr_min"]) if v is not None), default=None),
        "reasons": few_reasons([*a["reasons"], *b["reasons"]]),
        "lines": [[*name, *line] for name, line in lines.items()],
        "identity": a.get("identity", False),
    }


def _files(rows: pa.Table) -> list[dict[str, Any]]:
    """One row a pair of files that could be compared, whatever the generators made of it."""
    columns = ["key", "psnr", "ssim", "linf_levels", "epsilon", "flags"]
    compared = rows.filter(pc.is_valid(rows["linf_levels"])).select(columns)
    photo, keys = coded(compared, "key")
    last = np.zeros(len(keys), np.int64)
    last[photo] = np.arange(len(photo))
    files: list[dict[str, Any]] = compared.take(last).to_pylist()
    return files


def _statuses(rows: pa.Table) -> Counter[str]:
    by_key: dict[str, set[str]] = defaultdict(set)
    for key, status in zip(rows["key"].to_pylist(), rows["status"].to_pylist(), strict=True):
        by_key[key].add(status)
    return Counter(worst(found) for found in by_key.values())
