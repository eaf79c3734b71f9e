"""Seconds per training step: one worker of Ray Train, fed by Ray Data, against the plain loop. ``python tests/bench/training.py``.

Steady state: the median over steps of a run, less its first steps, so neither the start of Ray nor first-time work in torch counts.
Runs alternate, since a machine's speed wanders; each is a process of its own with one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
WARM_UP = 5
ATTRIBUTES = ("Black_Hair", "Brown_Hair", "Male", "Smiling", "Young")


def make_faces(folder: Path, count: int, side: int) -> Path:
    """A folder of random smooth pictures with labels."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = [",".join(["file", "licence", "split", *ATTRIBUTES])]
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(folder / f"f{i:04}.png")
        labels = [str((i >> k) & 1) for k in range(len(ATTRIBUTES))]
        lines.append(",".join([f"f{i:04}.png", "MIT", "val" if i == 0 else "train", str(1 - int(labels[1])), *labels[1:]]))
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def seconds_per_step(faces: Path, out: Path, words: list[str]) -> float:
    """The median of one run of ``disrupt train``."""
    command = [sys.executable, "-m", "pipeline.cli", "train", str(faces), str(out), "--no-tracking", "--threads", "1", *words]
    environment = os.environ | {"RAY_AUTH_MODE": "disabled"}
    done = subprocess.run(
        [*command, "--address", "local"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} returned {done.returncode}\n{done.stdout}")
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return statistics.median(float(line["s_per_step"]) for line in lines[WARM_UP:])


def main() -> None:
    """Alternate the runs, print the table."""
    parser = argparse.ArgumentParser(description="Ray Train against the plain loop.")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--conv-dim", type=int, default=32)
    given = parser.parse_args()
    words = ["--steps", str(given.steps), "--batch", str(given.batch), "--size", str(given.size), "--conv-dim", str(given.conv_dim)]
    words += ["--every", "1000000", "--grid-every", "0"]
    found: dict[str, list[float]] = {"plain loop": [], "Ray Train, 1 worker": []}
    with tempfile.TemporaryDirectory() as folder:
        faces = make_faces(Path(folder, "faces"), 64, 128)
        for i in range(given.rounds):
            for workers, (name, seconds) in enumerate(found.items()):
                seconds.append(seconds_per_step(faces, Path(folder, f"{name}{i}"), [*words, "--workers", str(workers)]))
    table = Table(title=f"stargan, {given.size} px, batch {given.batch}, {given.steps} steps, {os.cpu_count()} cores, one thread")
    for column in ("engine", "s/step (median of rounds)", "lowest", "highest"):
        table.add_column(column, justify="right")
    for name, seconds in found.items():
        table.add_row(name, f"{statistics.median(seconds):.4f}", f"{min(seconds):.4f}", f"{max(seconds):.4f}")
    console = Console()
    console.print(table)
    plain, ray = found.values()
    pairs = [b / a for a, b in zip(plain, ray, strict=True)]
    console.print(f"Ray Train / plain loop: {statistics.median(pairs):.3f} (asked for: at most 1.05)", highlight=False)


if __name__ == "__main__":
    main()
