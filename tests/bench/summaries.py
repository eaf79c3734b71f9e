"""Peak memory and time of the summaries of a million photos. ``python tests/bench/summaries.py [--photos 100000 1000000]``.

The rows are made up, in parts of 1024 photos: for evaluate five classes each, for detect one row each.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from pipeline.detection import summary as detection
from pipeline.detection.row import DETECTION
from pipeline.evaluation.row import EVALUATION
from pipeline.evaluation.summary import summarise
from pipeline.evaluation.sums import merged, sums_of
from pipeline.ledger.parts import commit_part, read_parts, read_sums
from pipeline.ledger.plan import part_name
from pipeline.ledger.results import write_tables
from pipeline.signals.bundle import Thresholds
from pipeline.storage import Folder

PART = 1024
CLASSES = ("Blond", "Brown", "Male", "Smile", "Young")
MANIPULATED, CARRIES = 0.75, 0.5
LIMITS = Thresholds(MANIPULATED, CARRIES)


def evaluation_part(keys: list[str], rng: np.random.Generator) -> pa.Table:
    """Rows of photos and classes."""
    count = len(keys) * len(CLASSES)
    numbers = {name: rng.random(count) / 5 for name in ("l1", "l2", "l2_mask", "mask_share", "floor_l2")}
    files = {name: np.repeat(rng.random(len(keys)), len(CLASSES)) for name in ("psnr", "ssim")}
    texts: dict[str, Any] = {"key": [key for key in keys for _ in CLASSES], "class": list(CLASSES) * len(keys)}
    texts |= {"generator": ["g"] * count, "channel": ["clean"] * count, "status": ["measured"] * count, "flags": [[]] * count}
    above = {"disrupted": numbers["l2"] > 0.05, "success_mask": numbers["l2_mask"] > 0.05}
    levels = {"linf_levels": [6] * count, "epsilon": [6] * count}
    columns: dict[str, Any] = numbers | files | texts | above | levels
    arrays = [pa.array(columns.get(field.name, [None] * count), field.type) for field in EVALUATION]
    return pa.Table.from_arrays(arrays, schema=EVALUATION)


def detection_part(keys: list[str], rng: np.random.Generator) -> pa.Table:
    """Rows of pictures."""
    numbers = {"manipulated": rng.random(len(keys)), "likeness": rng.random(len(keys))}
    columns: dict[str, Any] = numbers | {"key": keys, "status": ["judged"] * len(keys), "signal": [1] * len(keys)}
    columns |= {"carries": numbers["likeness"] > CARRIES, "width": [500] * len(keys), "height": [500] * len(keys)}
    columns["decision"] = ["manipulated" if value > MANIPULATED else "untouched" for value in numbers["manipulated"]]
    arrays = [pa.array(columns.get(field.name, [None] * len(keys)), field.type) for field in DETECTION]
    return pa.Table.from_arrays(arrays, schema=DETECTION)


def make(folder: Folder, photos: int, verb: str) -> None:
    """Commits parts of made-up rows."""
    rng = np.random.default_rng(0)
    for number, start in enumerate(range(0, photos, PART)):
        keys = [f"{at:09d}.jpg" for at in range(start, min(start + PART, photos))]
        table = evaluation_part(keys, rng) if verb == "evaluate" else detection_part(keys, rng)
        commit_part(folder, part_name(number), table, sums_of(table) if verb == "evaluate" else {})


def conclude(folder: Folder, photos: int, verb: str) -> None:
    """What the driver does once all parts are committed, less the page."""
    names = [part_name(number) for number in range(-(-photos // PART))]
    if verb == "evaluate":
        lines = {"generators": ["g"], "channels": ["clean"], "classes": CLASSES}
        summarise(merged(read_sums(folder, names)), read_parts(folder, names), **lines, bootstrap=1000, seed=0)
        write_tables(folder, "rows.parquet", read_parts(folder, names), EVALUATION)
        return
    total = detection.sums_of(DETECTION.empty_table(), LIMITS)
    for table in read_parts(folder, names):
        total += detection.sums_of(table, LIMITS)
    detection.summarise(total, LIMITS)
    write_tables(folder, "rows.parquet", read_parts(folder, names), DETECTION)


def measure(folder: Folder, photos: int, verb: str, pipe: Any) -> None:
    """Sends seconds, megabytes at the start and at the peak."""
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    conclude(folder, photos, verb)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    pipe.send((time.monotonic() - began, cpu, before.ru_maxrss / 1e3, after.ru_maxrss / 1e3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--verbs", nargs="+", default=["evaluate", "detect"])
    given = parser.parse_args()
    table = Table("verb", "photos", "seconds", "processor s", "MB at the start", "MB at the peak")
    fresh = multiprocessing.get_context("spawn")
    for verb in given.verbs:
        for photos in given.photos:
            with tempfile.TemporaryDirectory() as place:
                folder = Folder(place)
                making = fresh.Process(target=make, args=(folder, photos, verb))
                making.start()
                making.join()
                here, there = fresh.Pipe()
                work = fresh.Process(target=measure, args=(folder, photos, verb, there))
                work.start()
                table.add_row(verb, f"{photos:,}", *(f"{value:.1f}" for value in here.recv()))
                work.join()
    Console().print(table)


if __name__ == "__main__":
    main()
