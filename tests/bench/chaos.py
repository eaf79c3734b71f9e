"""Runs that are disturbed at random and run again until they are over: nothing lost, nothing twice, the same bytes.

``python tests/bench/chaos.py [--runs N] [--seed N]``. Each run protects tiny photos on a Ray of its own with two actors. At random
moments the driver, an actor, all actors or the raylet dies by SIGKILL, or an output is deleted between two starts. At the end rows
and files are compared with those of an undisturbed run in the plain loop. Prints a line a run; exit code 1 when one differs.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

from tests.fast import tiny
from tests.ray import outcome, slow_net

ROOT = Path(__file__).resolve().parents[2]
COUNT, MOST_STARTS = 48, 12
WORDS = ["--generator", slow_net.BUILD, "--steps", "6", "--part-photos", "6", "--no-tracking", "--examples", "0"]
KINDS = ("driver", "actor", "actors", "raylet", "output")


def start(photos: Path, out: Path, engine: list[str]) -> subprocess.Popen[bytes]:
    """The command in a process group of its own."""
    command = [sys.executable, "-m", "pipeline.cli", "protect", str(photos), str(out), *WORDS, *engine]
    environment = os.environ | {"PYTHONPATH": str(ROOT), slow_net.PAUSE: "0.03"}
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=quiet, stderr=quiet, start_new_session=True)


def disturb(process: subprocess.Popen[bytes], kind: str, rng: random.Random) -> bool:
    """Kill what is to die; whether there was anything to kill."""
    if kind == "driver":
        os.killpg(process.pid, signal.SIGKILL)
        return True
    family = [each for each in psutil.Process(process.pid).children(recursive=True) if each.status() != psutil.STATUS_ZOMBIE]
    wanted = "raylet/raylet" if kind == "raylet" else "MapWorker"
    found = []
    for each in family:
        with suppress(psutil.NoSuchProcess):
            found += [each] if wanted in " ".join(each.cmdline()) else []
    for each in found if kind == "actors" else rng.sample(found, min(1, len(found))):
        with suppress(psutil.NoSuchProcess):
            each.kill()
    return bool(found)


def one_run(photos: Path, out: Path, rng: random.Random) -> tuple[list[str], int]:
    """What was done to a run, and how often it was started until it was over."""
    done: list[str] = []
    for number in range(MOST_STARTS):
        process = start(photos, out, ["--engine", "ray", "--address", "local", "--actors", "2"])
        disturbances = rng.randint(1, 2) if number < 3 else 0
        while process.poll() is None and disturbances:
            with suppress(subprocess.TimeoutExpired):
                process.wait(rng.uniform(2, 14))
            kind = rng.choice(KINDS)
            if process.poll() is None and kind == "output":
                for path in rng.sample(files := sorted(out.glob("*.png")), min(1, len(files))):
                    path.unlink()
                    done.append(kind)
            elif process.poll() is None and disturb(process, kind, rng):
                done.append(kind)
            disturbances -= 1
        with suppress(subprocess.TimeoutExpired):
            process.wait(240)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        end_of_ray(process.pid)
        if process.wait() == 0 and len(list(out.glob("*.png"))) == COUNT:
            return done, number + 1
    return done, MOST_STARTS


def end_of_ray(group: int) -> None:
    """Wait until nothing of the session of a run is left."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        alive = []
        for each in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                alive += [each] if os.getsid(each.pid) == group and each.status() != psutil.STATUS_ZOMBIE else []
        if not alive:
            return
        time.sleep(0.5)


def main() -> int:
    """Run, compare, print."""
    parser = argparse.ArgumentParser(description="Runs that are disturbed at random.")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        photos = tiny.photo_folder(Path(folder, "photos"), {f"p{i:02}.png": i % 7 for i in range(COUNT)})
        calm = Path(folder, "calm")
        if start(photos, calm, ["--engine", "local"]).wait():
            sys.exit("the undisturbed run failed")
        for number in range(given.runs):
            out = Path(folder, f"out{number}")
            began = time.monotonic()
            done, starts = one_run(photos, out, random.Random(given.seed * 1000 + number))
            same = outcome.digests(out) == outcome.digests(calm) and outcome.rows(out) == outcome.rows(calm)
            torn = list(out.rglob("*.tmp"))
            bad += not same or bool(torn)
            verdict = "same rows and bytes" if same and not torn else f"DIFFERS ({len(torn)} temporary files)"
            print(
                f"run {number}: {', '.join(done) or 'nothing'}; {starts} starts, {time.monotonic() - began:.0f} s; {verdict}",
                flush=True,
            )
    print(f"{given.runs - bad} of {given.runs} runs ended as undisturbed ones do")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
