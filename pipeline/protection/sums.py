"""What a part adds to the numbers of a run: counts, sums, histograms and samples that merge, whatever the order of the parts.

A sums dict is plain JSON: it lies in the file of its part, so a million rows are summed up without being read again.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.images import LOST, OTHER_PERSON, THRESHOLD
from pipeline.ledger.schema import IDENTITY
from pipeline.report.outcome import few_reasons, numbers, tally_reasons

Sums = dict[str, Any]
SAMPLES = 64
"""Photos of which some become the examples of the report."""
WORST_FIRST = ("failed", "not_disrupted", "skipped", "protected")
"""Statuses in the order in which their reasons are told."""
BINS = {"class_l2": 0.002, "psnr": 0.1, "seconds": 0.01}
"""Widths of the bins in which values are counted; the threshold of L2 is the border of one."""
CLASS_SUMS = ("class_l1", "class_l2", "class_levelled", "class_local", "class_lost", "class_ssim", "class_edit")
OVER = {"class_l2": THRESHOLD, "class_levelled": THRESHOLD, "class_lost": LOST}
"""Columns of which it is counted how many values reach a threshold."""
BYTES = ("bytes_in", "bytes_of_written", "bytes_out")
"""Bytes of the inputs that were read, of those with a file in OUT, and of these files."""
MOMENTS = ("psnr", "ssim", "seconds", "faces", "steps", "epsilons", "masks")
LARGEST = ("linf_levels", "epsilon", "steps_most")
NAMES = ("generator", "recipe", "signals", "universal", "signature")
SAMPLED = ("key", "output", "shard", "width", "height", "mode", "psnr", "linf_levels", "l2", "region", "boxes")


def sums_of(rows: pa.Table) -> Sums:
    """The sums of some rows of a manifest."""
    counts = _counts(rows["status"])
    psnr = numbers(rows["psnr"])
    finite = psnr[np.isfinite(psnr)]
    measured = rows.filter(pc.is_valid(rows["output"])).select(SAMPLED).to_pylist()
    return {
        "rows": rows.num_rows,
        "counts": counts,
        "reasons": _reasons(rows),
        "classes": _classes(rows),
        "psnr": _moments(finite),
        "psnr_min": float(finite.min()) if finite.size else None,
        "unchanged": int(np.isposinf(psnr).sum()),
        "ssim": _moments(numbers(rows["ssim"])),
        "seconds": _moments(numbers(rows["seconds"])),
        "linf_levels": pc.max(rows["linf_levels"]).as_py(),
        "epsilon": pc.max(rows["epsilon"]).as_py(),
        "epsilons": _moments(numbers(rows.filter(pc.is_valid(rows["output"]))["epsilon"])),
        "masks": _moments(numbers(rows["mask_mean"].drop_null())),
        "bytes_in": _total(rows["bytes_in"].filter(pc.is_valid(rows["sha256_in"]))),
        "bytes_of_written": _total(rows["bytes_in"].filter(pc.is_valid(rows["output"]))),
        "bytes_out": _total(rows["bytes_out"]),
        "steps": _moments(numbers(rows["steps"].drop_null())),
        "steps_most": pc.max(rows["steps"]).as_py(),
        "regions": {name: count for name, count in _counts(rows["region"]).items() if name},
        "faces": _faces(rows.filter(pc.equal(rows["region"], "faces"))),
        "names": {name: sorted(pc.unique(rows[name].drop_null()).to_pylist()) for name in NAMES},
        "bins": {
            "class_l2": _bins("class_l2", pc.list_flatten(rows["class_l2"])),
            **{n: _bins(n, rows[n]) for n in ("psnr", "seconds")},
        },
        "samples": _sampled([{**row, "psnr": _finite(row["psnr"])} for row in measured]),
        **({"identity": _identity(rows)} if IDENTITY[0] in rows.schema.names else {}),
    }


def merged(every: Iterable[Sums]) -> Sums:
    """The sums of all rows together; those of no rows when there are none."""
    total: Sums = {}
    for sums in every:
        total = _merge(total, sums) if total else sums
    return total


def values_of(sums: Sums, name: str) -> tuple[list[float], list[int]]:
    """The middles of the bins of a measure, and how many values lie in each."""
    bins = sorted((int(at), count) for at, count in sums["bins"][name].items())
    return [(at + 0.5) * BINS[name] for at, _ in bins], [count for _, count in bins]


def _merge(a: Sums, b: Sums) -> Sums:
    lowest = [value for value in (a["psnr_min"], b["psnr_min"]) if value is not None]
    return {
        **{name: a[name] + b[name] for name in ("rows", "unchanged", *BYTES)},
        **{name: [x + y for x, y in zip(a[name], b[name], strict=True)] for name in MOMENTS},
        **{name: max((v for v in (a[name], b[name]) if v is not None), default=None) for name in LARGEST},
        "psnr_min": min(lowest, default=None),
        **{name: dict(Counter(a[name]) + Counter(b[name])) for name in ("counts", "regions")},
        "reasons": few_reasons([*a["reasons"], *b["reasons"]]),
        "classes": _merge_classes(a["classes"], b["classes"]),
        "names": {name: sorted({*a["names"][name], *b["names"][name]}) for name in NAMES},
        "bins": {name: dict(Counter(a["bins"][name]) + Counter(b["bins"][name])) for name in BINS},
        "samples": _sampled([*a["samples"], *b["samples"]]),
        **({"identity": _merge_classes(a["identity"], b["identity"])} if "identity" in a else {}),
    }


def _merge_classes(a: dict[str, list[float]], b: dict[str, list[float]]) -> dict[str, list[float]]:
    classes = {name: list(values) for name, values in a.items()}
    for name, values in b.items():
        classes[name] = [x + y for x, y in zip(classes.get(name, [0] * len(values)), values, strict=True)]
    return classes


def _total(column: pa.ChunkedArray) -> int:
    return int(pc.sum(column).as_py() or 0)


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    return {item["values"]: item["counts"] for item in pc.value_counts(column).to_pylist()}


def _faces(rows: pa.Table) -> list[int]:
    """Of rows in which faces were found: how many faces, pairs of face and class, and pairs that are broken."""
    boxes, l2, lost = (pc.list_flatten(rows[name]) for name in ("boxes", "face_l2", "face_lost"))
    return [len(boxes) // 4, len(l2), int(((numbers(l2) >= THRESHOLD) & (numbers(lost) >= LOST)).sum())]


def _reasons(rows: pa.Table) -> list[list[Any]]:
    """[status, stage, text, count, first keys] of inputs that were not protected, or protected with a remark."""
    why = pc.fill_null(pc.coalesce(rows["reason"], rows["note"]), "no reason recorded")
    table = rows.set_column(rows.schema.get_field_index("reason"), "reason", why)
    table = table.filter(pc.or_(pc.not_equal(rows["status"], "protected"), pc.is_valid(rows["note"])))
    return tally_reasons(table, WORST_FIRST)


def _classes(rows: pa.Table) -> dict[str, list[float]]:
    """By class: how many samples, the sum of each of CLASS_SUMS, and how many reach the thresholds of OVER."""
    names, *columns = (pc.list_flatten(rows[column]) for column in ("classes", *CLASS_SUMS))
    sums = {}
    for name in pc.unique(names.drop_null()).to_pylist():
        pick = pc.equal(names, name)
        values = {column: numbers(flat.filter(pick)) for column, flat in zip(CLASS_SUMS, columns, strict=True)}
        over = [int((values[column] >= threshold).sum()) for column, threshold in OVER.items()]
        sums[name] = [len(values["class_l2"]), *(float(column_N.sum()) for column_N in values.values()), *over]
    return sums


def _identity(rows: pa.Table) -> dict[str, list[float]]:
    """By class: how many samples have a person, and of the disrupted and the undisrupted outputs the sum of the distances and how
    many are of another person."""
    names, *columns = (pc.list_flatten(rows[column]) for column in ("classes", *IDENTITY))
    sums = {}
    for name in pc.unique(names.drop_null()).to_pylist():
        values = [numbers(column.filter(pc.equal(names, name))) for column in columns]
        each = [part for values_N in values for part in (float(values_N.sum()), int((values_N >= OTHER_PERSON).sum()))]
        sums[name] = [len(values[0]), *each]
    return sums


def _moments(values: Any) -> list[float]:
    return [len(values), float(values.sum())]


def _bins(name: str, column: pa.ChunkedArray) -> dict[str, int]:
    values = numbers(column)
    bins = np.floor(values[np.isfinite(values)] / BINS[name] + 1e-9).astype(int)
    return {str(at): int(count) for at, count in zip(*np.unique(bins, return_counts=True), strict=True)}


def _sampled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those with the weakest and the strongest effect, and others by the hashes of their keys: the same in any order of parts."""

    def effect(row: dict[str, Any]) -> tuple[float, str]:
        value = row["psnr"] if row["l2"] is None else row["l2"]
        return (math.inf if value is None else value), row["key"]

    by_hash = sorted(rows, key=lambda row: hashlib.blake2b(row["key"].encode("utf-8", "surrogatepass")).digest())
    chosen = {
        row["key"]: row for row in (*by_hash[: SAMPLES - 2], *([min(rows, key=effect), max(rows, key=effect)] if rows else []))
    }
    return sorted(chosen.values(), key=effect)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
