"""Peak memory of driver and workers as the photos become more. ``python tests/bench/memory.py [--photos 100 500 2000]``.

The generator is tiny, so that memory is the flow's own. "own" is memory that a process does not share with others; Ray's object
store is shared, so what a process has touched of it is counted apart, as the largest share any process sees.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.bench.throughput import ROOT, make_photos

ROLES = ("driver", "actor", "other worker", "object store")


def peaks(photos: Path, out: Path) -> dict[str, int]:
    """The largest memory of one process of each role during a run, in bytes."""
    words = ["--generator", "tests.fast.tiny:build", "--recipe", "fgsm", "--engine", "ray", "--address", "local"]
    command = [sys.executable, "-m", "pipeline.cli", "protect", str(photos), str(out), "--no-tracking", "--examples", "0", *words]
    found: dict[str, int] = defaultdict(int)
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | {"RAY_AUTH_MODE": "disabled"}, stdout=subprocess.DEVNULL) as driver:
        while driver.poll() is None:
            with suppress(psutil.NoSuchProcess):
                me = psutil.Process(driver.pid)
                for process in (me, *me.children(recursive=True)):
                    with suppress(psutil.NoSuchProcess):
                        _note(found, process, is_driver=process == me)
            time.sleep(0.3)
    if driver.returncode not in (0, 1):
        sys.exit(f"{' '.join(command)} returned {driver.returncode}")
    return found


def _note(found: dict[str, int], process: psutil.Process, *, is_driver: bool) -> None:
    title = " ".join(process.cmdline()[:1])
    memory = process.memory_info()
    own = memory.rss - memory.shared
    role = "driver" if is_driver else "actor" if "MapWorker" in title else "other worker" if title.startswith("ray::") else None
    if role:
        found[role] = max(found[role], own)
    found["object store"] = max(found["object store"], memory.shared)


def main() -> None:
    """Run with more and more photos, print the table."""
    parser = argparse.ArgumentParser(description="Peak memory of the flow.")
    parser.add_argument("--photos", type=int, nargs="+", default=[100, 500, 2000])
    parser.add_argument("--side", type=int, default=128)
    given = parser.parse_args()
    table = Table(title=f"peak memory in MB, photos of {given.side} px, one actor")
    for column in ("photos", *(f"{role}, own" if role != "object store" else "largest shared" for role in ROLES)):
        table.add_column(column, justify="right")
    with tempfile.TemporaryDirectory() as folder:
        for count in given.photos:
            found = peaks(make_photos(Path(folder, f"in{count}"), count, given.side), Path(folder, f"out{count}"))
            table.add_row(str(count), *(f"{found[role] / 1e6:.0f}" for role in ROLES))
    Console().print(table)


if __name__ == "__main__":
    main()
