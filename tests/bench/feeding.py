"""Peak memory of a training as it reads a set of faces from memory or from files. ``python tests/bench/feeding.py``.

The largest RSS of one process of each role, sampled five times a second: the one that was started, Ray's tasks that make batches,
and its workers that train. ``--code`` names the checkout whose code is run, ``--data`` a set made before.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import random
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from pipeline.training.data.batches import shuffled

ATTRIBUTES = ("Black_Hair", "Brown_Hair", "Male", "Smiling", "Young")
SHARDS = 20


def make(folder: Path, count: int, side: int) -> None:
    """Smooth random pictures as ``folder/faces`` with labels.csv and as ``folder/tars`` with the same labels."""
    rng = np.random.default_rng(0)
    for name in ("faces", "tars"):
        (folder / name).mkdir(parents=True)
    with (folder / "faces" / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file", "licence", "split", *ATTRIBUTES])
        for shard in range(SHARDS):
            with tarfile.open(folder / "tars" / f"shard-{shard:03}.tar", "w") as tar:
                for i in range(shard * count // SHARDS, (shard + 1) * count // SHARDS):
                    coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
                    data = io.BytesIO()
                    coarse.resize((side, side), Image.Resampling.BICUBIC).save(data, "JPEG", quality=90)
                    (folder / "faces" / f"f{i:06}.jpg").write_bytes(data.getvalue())
                    labels = {name: i >> k & 1 for k, name in enumerate(ATTRIBUTES[1:])} | {"Black_Hair": 1 - (i & 1)}
                    own = {"licence": "MIT", "split": "val" if i % 100 == 0 else "train"} | {n: labels[n] for n in ATTRIBUTES}
                    table.writerow([f"f{i:06}.jpg", *own.values()])
                    for suffix, content in (("jpg", data.getvalue()), ("json", json.dumps(own).encode())):
                        header = tarfile.TarInfo(f"f{i:06}.{suffix}")
                        header.size = len(content)
                        tar.addfile(header, io.BytesIO(content))


def peaks(code: Path, words: list[str]) -> dict[str, float]:
    """The largest RSS of each role in MB, and the seconds of the whole command."""
    found: dict[str, float] = defaultdict(float)
    began = time.monotonic()
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(code)}
    command = [sys.executable, "-m", "pipeline.cli", "train", *words, "--no-tracking", "--threads", "1", "--address", "local"]
    with subprocess.Popen(command, cwd=code, env=environment, stdout=subprocess.PIPE, text=True) as driver:
        me = psutil.Process(driver.pid)
        while driver.poll() is None:
            with suppress(psutil.NoSuchProcess):
                for process in (me, *me.children(recursive=True)):
                    with suppress(psutil.NoSuchProcess, IndexError):
                        title = "driver" if process == me else process.cmdline()[0]
                        role = (
                            "worker"
                            if "RayTrainWorker" in title
                            else "feeding"
                            if title.startswith(("ray::Map", "ray::_make"))
                            else title
                        )
                        if role in {"driver", "worker", "feeding"}:
                            found[role] = max(found[role], process.memory_info().rss / 1e6)
            time.sleep(0.2)
        print(driver.stdout.read() if driver.stdout else "", file=sys.stderr)
    if driver.returncode:
        sys.exit(f"{' '.join(command)} returned {driver.returncode}")
    return {"seconds": time.monotonic() - began} | found


def same_shard(order: Sequence[int], a_shard: int, batch: int) -> float:
    """The share of pairs of pictures of a batch that come from the same shard."""
    shards_SB = np.asarray(order)[: len(order) // batch * batch].reshape(-1, batch) // a_shard
    pairs = (shards_SB[:, :, None] == shards_SB[:, None, :]).sum((1, 2)) - batch
    return float(pairs.mean() / (batch * (batch - 1)))


def buffered(count: int, a_shard: int, buffer: int) -> list[int]:
    """One epoch of a loader that reads shards in random order and draws from a buffer: what trainings here do not do."""
    rng, held, order = random.Random(0), list[int](), list[int]()
    for shard in rng.sample(range(count // a_shard), count // a_shard):
        for picture in range(shard * a_shard, (shard + 1) * a_shard):
            held.append(picture)
            if len(held) > buffer:
                order.append(held.pop(rng.randrange(len(held))))
    rng.shuffle(held)
    return order + held


def print_order(count: int, batch: int = 16) -> None:
    """How well an epoch is mixed: that of a training, and those of loaders with buffers."""
    a_shard = count // SHARDS
    ours = torch.cat([shuffled(0, step, batch=batch, count=count, about="faces") for step in range(count // batch)]).tolist()
    orders = {"a training": ours} | {f"buffer of {n}": buffered(count, a_shard, n) for n in (100, 1000, 5000)}
    for name, order in orders.items():
        print(f"{name}: {same_shard(order, a_shard, batch):.3f} of the pairs of a batch are from the same of {SHARDS} shards")


def main() -> None:
    """Make the set, train a few steps on it in each way, print what that took."""
    parser = argparse.ArgumentParser(description="Peak memory of feeding a training.")
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--code", type=Path, default=Path(__file__).resolve().parents[2])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--order", action="store_true", help="only print how well the order of an epoch is mixed")
    parser.add_argument("--make", action="store_true", help="only make the set")
    parser.add_argument("--ways", nargs="+", default=["faces --memory-mb 100000", "tars"], help="the set and options of each run")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1])
    given = parser.parse_args()
    if given.order:
        print_order(given.pictures)
        return
    with tempfile.TemporaryDirectory() as temporary:
        data = given.data or Path(temporary, "data")
        if not data.exists():
            make(data, given.pictures, given.side)
        if given.make:
            return
        for workers in given.workers:
            for number, way in enumerate(given.ways):
                name, *options = way.split()
                out = Path(temporary, f"out-{workers}-{number}")
                words = [
                    "--steps",
                    str(given.steps),
                    "--conv-dim",
                    "4",
                    "--d-conv-dim",
                    "4",
                    "--grid-every",
                    "0",
                    "--every",
                    "100000",
                ]
                found = peaks(given.code, [str(data / name), str(out), *words, *options, "--workers", str(workers)])
                print(f"{way}, {workers} workers: {', '.join(f'{role} {value:.0f}' for role, value in found.items())}", flush=True)


if __name__ == "__main__":
    main()
