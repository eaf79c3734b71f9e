"""A run of many tiny photos from listing to report. ``python tests/bench/scale.py [--photos N ...] [--actors N]``.

The photos are hard links to a few generated PNG files of 16 px. Printed for each size: seconds to the plan, to the first committed
part and to the end; photos per second; driver memory; the same for the command given again, which has nothing to do. With
``--finished`` the first run is made up: its rows and outputs are written without looking at the photos.

With ``--driver N`` no photo is touched: actors answer at once with the sums of parts of 1,024 photos, N of them, so that all there
is to do is the driver's: handing out names, taking sums, merging them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from rich.console import Console
from rich.table import Table

from pipeline.signals.bundle import write_bundle

ROOT = Path(__file__).resolve().parents[2]
SIDE, DIFFERENT, IN_A_FOLDER = 16, 64, 10_000


def make_photos(folder: Path, count: int) -> Path:
    """A folder of ``count`` names for a few photos."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    few = []
    for i in range(DIFFERENT):
        few.append(folder.with_name(f"{folder.name}-{i}.png"))
        Image.fromarray(rng.integers(40, 216, (SIDE, SIDE, 3), dtype=np.uint8)).save(few[-1])
    for i in range(count):
        if i % IN_A_FOLDER == 0:
            (folder / f"{i // IN_A_FOLDER:05}").mkdir()
        os.link(few[i % DIFFERENT], folder / f"{i // IN_A_FOLDER:05}" / f"p{i:08}.png")
        if i % 60_000 == 59_999:  # a file takes no more names
            for path in few:
                shutil.copy(path, copy := path.with_suffix(".copy"))
                copy.replace(path)
    return folder


def make_bundle(folder: Path) -> Path:
    """Four random signals of 16 px."""
    signals = np.random.default_rng(1).normal(0, 3, (4, 3, SIDE, SIDE)).astype(np.float32).clip(-3, 3)
    return write_bundle(folder / "b.safetensors", signals_nCHW=signals, budget=3.0, detector={}, width=8, scores={}, card={})


def protect(words: list[str], *, stop: bool = False) -> dict[str, float]:
    """One run in a process of its own: seconds to plan, first new part and end, and its peak memory without Ray's, in MB.

    One that is to ``stop`` is killed at its first new part.
    """
    out = Path(words[1])
    before = parts_in(out)
    command = [sys.executable, __file__, "--child", json.dumps(words)]
    began = time.time()
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True)
    peak = 0.0
    while stop and process.poll() is None and not parts_in(out) - before:
        time.sleep(0.1)
    if stop:
        peak = float(Path(f"/proc/{process.pid}/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024
        process.kill()
    printed, _ = process.communicate()
    if process.returncode not in (0, -signal.SIGKILL):
        sys.exit(f"{' '.join(words)} returned {process.returncode}: {printed[-2000:]}")
    peak = peak if stop else float(printed.rsplit("peak", 1)[1])
    plan = (out / ".disrupt" / "plan.json").stat().st_mtime - began
    first = min((part.stat().st_mtime for part in parts_in(out) - before), default=began) - began
    return {"plan": plan, "first": first, "end": time.time() - began, "MB": peak}


def parts_in(out: Path) -> set[Path]:
    """The committed parts."""
    return set((out / "manifest").glob("*.parquet"))


def finish(words: list[str]) -> None:
    """Makes OUT what it is after the run, in a tenth of the time: all outputs are links to a few files, all rows alike."""
    from pipeline.jobs.settings import parse
    from pipeline.ledger.parts import commit_part
    from pipeline.ledger.plan import planned
    from pipeline.ledger.run import open_run
    from pipeline.ledger.schema import ManifestRow, rows_to_table
    from pipeline.protection.job import prepare
    from pipeline.protection.options import ProtectConfig
    from pipeline.protection.plan import plan_run, works_of
    from pipeline.protection.sums import sums_of

    config = parse(ProtectConfig, words, prog="finish")
    job = prepare(config)
    alike: Any = {"status": "protected", "sha256_out": "0" * 64, "width": SIDE, "height": SIDE, "psnr": 40.0, "ssim": 0.99}
    with open_run(config.output, signature=job.signature, config=job.options) as run:
        _, parts = plan_run(job, run)
        for part in parts:
            works = works_of(planned(run.folder, part), ".png")
            for name in {os.path.dirname(work.output) for work in works}:  # noqa: PTH120 (a million names)
                Path(run.folder.at(name)).mkdir(parents=True, exist_ok=True)
            few = Path(run.folder.at(works[0].output))
            few.write_bytes(b"a file")
            for work in works[1:]:
                os.link(few, run.folder.at(work.output))
            rows = [
                ManifestRow(key=work.key, output=work.output, linf_levels=3, epsilon=3, moved=True, bytes_in=700, **alike)
                for work in works
            ]
            table = rows_to_table(rows, shard=part)
            commit_part(run.folder, part, table, sums_of(table))


class NoWork:
    """Stands for an actor: the sums of a part, at once."""

    def __init__(self, *, job: Any, counter: Any) -> None:
        """Knows the sums that are in the place of the job."""
        self._sums, self._counter = job, counter

    def __call__(self, batch: Any) -> Any:
        """One row of the name, the sums and no error, as an actor gives them."""
        self._counter.add.remote({"protected": 1024}, 0.0)
        return {"name": [str(batch["part"][0])], "sums": [self._sums], "error": pa.array([b""], pa.binary())}


def drive(count: int, actors: int) -> None:
    """Prints what a part costs the driver."""
    from pipeline.jobs import ray_data
    from pipeline.jobs.options import Compute
    from pipeline.jobs.progress import Progress
    from pipeline.jobs.ray import connected
    from pipeline.jobs.room import Need
    from pipeline.jobs.tracking import Tracking
    from pipeline.ledger.plan import part_name
    from pipeline.ledger.schema import ManifestRow, rows_to_table
    from pipeline.protection.sums import merged, sums_of

    rng = np.random.default_rng(0)
    alike: Any = {"status": "protected", "sha256_out": "0" * 64, "width": SIDE, "height": SIDE, "linf_levels": 3, "epsilon": 3}
    measured = zip(rng.normal(40, 1, 1024).tolist(), rng.exponential(0.1, 1024).tolist(), strict=True)
    rows = [
        ManifestRow(key=f"p{i:05}.png", output=f"p{i:05}.png", psnr=psnr, ssim=0.99, seconds=seconds, **alike)
        for i, (psnr, seconds) in enumerate(measured)
    ]
    ray_data._Actor = NoWork  # type: ignore[assignment, misc]
    console = Console(quiet=True)
    progress = Progress(console, total=None, tracking=Tracking(None, run_id=None, uri=""))
    job: Any = json.dumps(sums_of(rows_to_table(rows, shard="000000")))
    with connected("local", console, Need([], [], "")):
        total: Any = {}
        began, used, first = time.monotonic(), time.process_time(), 0.0
        for done, sums in enumerate(
            ray_data.run_on_ray([part_name(i) for i in range(count)], job, Compute(actors=actors), progress)
        ):
            if done == actors:
                first, began, used = time.monotonic() - began, time.monotonic(), time.process_time()
            total = merged([total, sums]) if total else sums
        wall, used, count = time.monotonic() - began, time.process_time() - used, count - actors - 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{count} parts of 1024 photos after {first:.1f} s: {count / wall:.0f} parts/s with {actors} actors, "
        f"{1000 * used / count:.2f} ms of the driver's processor a part ({1000 * used / count / 64:.3f} ms for 16 photos), "
        f"so at most {count / used:.0f} parts/s = {1024 * count / used:,.0f} photos/s; {peak:.0f} MB"
    )


def child(words: list[str]) -> None:
    """The run itself; prints the peak memory of this process."""
    from pipeline.cli import main

    try:
        main(["protect", *words])
    finally:
        print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    """Run all sizes, print the table."""
    parser = argparse.ArgumentParser(description="Many tiny photos.")
    parser.add_argument("--photos", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--actors", type=int, default=0, help="on Ray with so many; 0: the plain loop")
    parser.add_argument("--folder", type=Path, help="where the photos and results lie; without it a temporary folder")
    parser.add_argument("--stop", action="store_true", help="stop both runs at their first part: what planning takes, and going on")
    parser.add_argument("--finished", action="store_true", help="the first run is made up; the second one has nothing to do")
    parser.add_argument("--driver", type=int, default=0, metavar="N", help="only what the driver does, for N parts")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(json.loads(given.child))
        return
    if given.driver:
        drive(given.driver, given.actors or 2)
        return
    engine = ["--engine", "ray", "--address", "local", "--actors", str(given.actors)] if given.actors else ["--engine", "local"]
    table = Table(title=f"Signals alone, photos of {SIDE} px, {f'{given.actors} actors' if given.actors else 'the loop'}")
    for column in (
        "photos",
        "plan, s",
        "first part, s",
        "end, s",
        "photos/s",
        "driver, MB",
        "again: first part, s",
        "end, s",
        "MB",
    ):
        table.add_column(column, justify="right")
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        bundle, key = make_bundle(Path(folder)), Path(folder, "key")
        key.write_bytes(b"0123456789abcdef")
        for count in given.photos:
            photos, out = make_photos(Path(folder, f"photos{count}"), count), Path(folder, f"out{count}")
            words = [
                str(photos),
                str(out),
                "--recipe",
                "none",
                "--signals",
                str(bundle),
                "--key-file",
                str(key),
                "--no-tracking",
                *engine,
            ]
            if given.finished:
                finish(words)
                again = protect(words)
                Console().print(f"{count:,} photos are done: {again['end']:.1f} s, {again['MB']:.0f} MB", highlight=False)
                continue
            first, again = (protect(words, stop=given.stop) for _ in range(2))
            rate = count / (first["end"] - first["plan"])
            cells = [first["plan"], first["first"], first["end"], rate, first["MB"], again["first"], again["end"], again["MB"]]
            table.add_row(f"{count:,}", *(f"{cell:.1f}" for cell in cells))
            Console().print(table)
            shutil.rmtree(out)
            shutil.rmtree(photos)


if __name__ == "__main__":
    main()
