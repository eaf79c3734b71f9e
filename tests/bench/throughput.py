"""Photos per second of the Ray flow against the plain loop, in steady state. ``python tests/bench/throughput.py [--photos N]``.

Steady state: time runs from the commit of the A-th part (A actors) to that of the last one, and only photos committed in between
count, so neither the start of Ray nor the loading of the networks does. Each run is a process of its own with one thread an actor.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]


def make_photos(folder: Path, count: int, side: int) -> Path:
    """A folder of random smooth photos, as PNG."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(folder / f"p{i:05}.png")
    return folder


def protect(photos: Path, out: Path, words: Sequence[str]) -> None:
    """One run of ``disrupt protect`` from its start to its end."""
    command = [sys.executable, "-m", "pipeline.cli", "protect", str(photos), str(out), "--no-tracking", "--examples", "0", *words]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"RAY_AUTH_MODE": "disabled"}, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode not in (0, 1):
        sys.exit(f"{' '.join(command)} returned {done.returncode}")


def steady_rate(out: Path, actors: int) -> float:
    """Photos per second between the commit of the ``actors``-th part and that of the last."""
    parts = sorted((out / "manifest").glob("*.parquet"), key=lambda part: part.stat().st_mtime_ns)
    photos: int = sum(pq.read_metadata(part).num_rows for part in parts[actors:])
    return photos / (parts[-1].stat().st_mtime_ns - parts[actors - 1].stat().st_mtime_ns) * 1e9


def main() -> None:
    """Run the loop and the flow, print the table."""
    parser = argparse.ArgumentParser(description="The Ray flow against the plain loop.")
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--part", type=int, default=4, help="photos a part")
    parser.add_argument("--generator", default="stargan-faces")
    given = parser.parse_args()
    words = ["--generator", given.generator, "--steps", str(given.steps), "--part-photos", str(given.part), "--threads", "1"]
    runs = [("local", 1), ("ray", 1), ("ray", 2)]
    table = Table(title=f"{given.photos} photos of {given.side} px, {given.generator}, {given.steps} steps, {os.cpu_count()} cores")
    for column in ("engine", "actors", "photos/s", "against the loop"):
        table.add_column(column, justify="right")
    base = 0.0
    with tempfile.TemporaryDirectory() as folder:
        photos = make_photos(Path(folder, "photos"), given.photos, given.side)
        for engine, actors in runs:
            out = Path(folder, f"{engine}{actors}")
            protect(photos, out, [*words, "--engine", engine, "--address", "local", "--actors", str(actors)])
            rate = steady_rate(out, actors)
            base = base or rate
            table.add_row(engine, str(actors), f"{rate:.2f}", f"{rate / base:.2f}")
    console = Console()
    console.print(table)
    console.print("asked for: at least 0.90 with one actor; 1.70 with two on two free cores", highlight=False)


if __name__ == "__main__":
    main()
