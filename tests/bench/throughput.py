"""Photos per second of the Ray flow against the plain loop, in steady state. ``python tests/bench/throughput.py [--photos N]``.

Steady state: time runs from the commit of the A-th part (A actors) to that of the last one, and only photos committed in between
count, so neither the start of Ray nor the loading of the networks does. Each run is a process of its own with one thread an actor.
Processor time of the same span is that of the processes that do parts, and of all others of the run; on a machine with other work
it says more than photos/s. ``--signals`` is the lane of signals alone, as in ``--signals --side 16 --photos 6000 --part 256``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
from PIL import Image
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
LOOK_SECONDS = 0.1
SETTINGS = {"RAY_AUTH_MODE": "disabled", "DISRUPT_SIGNAL_KEY": "0123456789abcdef0123456789abcdef"}


@dataclass(frozen=True)
class Look:
    """Processor seconds so far of the processes that do parts, and of all others."""

    at: float
    workers: float
    others: float


def make_photos(folder: Path, count: int, side: int) -> Path:
    """A folder of random smooth photos, as PNG."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(folder / f"p{i:05}.png")
    return folder


def protect(photos: Path, out: Path, words: Sequence[str]) -> list[Look]:
    """One run of ``disrupt protect`` from its start to its end, looked at again and again."""
    command = [sys.executable, "-m", "pipeline.cli", "protect", str(photos), str(out), "--no-tracking", "--examples", "0", *words]
    looks: list[Look] = []
    spent: dict[int, tuple[bool, float]] = {}
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | SETTINGS, stdout=subprocess.DEVNULL) as run:
        while run.poll() is None:
            with suppress(psutil.NoSuchProcess):
                for process in (me := psutil.Process(run.pid), *me.children(recursive=True)):
                    with suppress(psutil.NoSuchProcess):
                        used = process.cpu_times()
                        works = "local" in words[:2] if process == me else "MapWorker" in "".join(process.cmdline()[:1])
                        spent[process.pid] = works, used.user + used.system
            looks.append(Look(time.time(), *(sum(used for works, used in spent.values() if works is so) for so in (True, False))))
            time.sleep(LOOK_SECONDS)
    if run.returncode not in (0, 1):
        sys.exit(f"{' '.join(command)} returned {run.returncode}")
    return looks


def steady(out: Path, actors: int, looks: Sequence[Look]) -> tuple[float, float, float, float]:
    """Between the commits of the ``actors``-th part and the last: photos/s, ms a photo of workers and of others; seconds before."""
    parts = sorted((out / "manifest").glob("*.parquet"), key=lambda part: part.stat().st_mtime_ns)
    photos: int = sum(pq.read_metadata(part).num_rows for part in parts[actors:])
    begin, end = (parts[at].stat().st_mtime_ns / 1e9 for at in (actors - 1, -1))
    at = [look.at for look in looks]
    used = (np.interp([begin, end], at, [getattr(look, name) for look in looks]) for name in ("workers", "others"))
    workers, others = (1000 * float(after - before) / photos for before, after in used)
    return photos / (end - begin), workers, others, begin - (out / ".disrupt" / "plan.json").stat().st_mtime


def main() -> None:
    """Run the loop and the flow, print the table."""
    parser = argparse.ArgumentParser(description="The Ray flow against the plain loop.")
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--part", type=int, default=4, help="photos a part")
    parser.add_argument("--generator", default="stargan-faces")
    parser.add_argument("--signals", action="store_true", help="the shipped signals alone")
    given = parser.parse_args()
    what = ["--generator", given.generator, "--recipe", "pgd", "--steps", str(given.steps)]
    what = ["--recipe", "none", "--signals", "shipped"] if given.signals else what
    words = [*what, "--part-photos", str(given.part), "--threads", "1"]
    runs = [("local", 1), ("ray", 1), ("ray", 2)]
    table = Table(title=f"{given.photos} photos of {given.side} px, {' '.join(what)}, {os.cpu_count()} cores")
    for column in ("engine", "actors", "photos/s", "against the loop", "ms of workers", "of others", "s to the first parts"):
        table.add_column(column, justify="right")
    base = 0.0
    with tempfile.TemporaryDirectory() as folder:
        photos = make_photos(Path(folder, "photos"), given.photos, given.side)
        for engine, actors in runs:
            out = Path(folder, f"{engine}{actors}")
            looks = protect(photos, out, ["--engine", engine, "--address", "local", "--actors", str(actors), *words])
            rate, workers, others, before = steady(out, actors, looks)
            base = base or rate
            cells = f"{rate:.2f}", f"{rate / base:.2f}", f"{workers:.2f}", f"{others:.2f}", f"{before:.1f}"
            table.add_row(engine, str(actors), *cells)
    console = Console()
    console.print(table)
    console.print("asked for: at least 0.90 with one actor; 1.70 with two on two free cores", highlight=False)


if __name__ == "__main__":
    main()
