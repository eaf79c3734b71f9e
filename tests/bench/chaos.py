"""Runs that are disturbed at random and run again until they are over: nothing lost, nothing twice, nothing torn, the same bytes.

``python tests/bench/chaos.py [--runs N] [--seed N] [--log FILE]``, as root on Linux. Three hosts in network namespaces are a Ray
cluster of three cores. A command on the first protects tiny photos, slowly, onto a small disk or an S3 store. When so many parts
are committed, something happens to it (KINDS); a command that ended too early is given again. At the end rows and files are
compared with those of an undisturbed run in the plain loop.

What a run was and how it ended is a line of the log. A seed whose run was the same is not run again, so a stopped series goes on,
and one that differed is repeated: kinds and moments follow from the seed. Prints the log as a table; exit code 1 when one differed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.fast import tiny
from tests.ray import outcome, slow_net
from tests.ray.hosts.ssh_hosts import HERE, ROOT, Machine, Network, missing, ssh_hosts

COUNT, PART_PHOTOS, PAUSE = 160, 8, 0.03
"""Twenty parts, each some seconds for a generator that waits for so many seconds at each call."""
MOST_STARTS, LONGEST_S = 8, 300
KINDS = ("driver", "actor", "raylet", "store", "disk")
"""What is killed, or that the S3 store is away for 15 to 60 s, or that the disk is full for as long."""
STORE = "10.77.0.254:5000"
S3_OPTIONS = f"scheme=http&endpoint_override={STORE}&region=us-east-1"
PORT = 6379


@dataclass(frozen=True)
class Blow:
    """What is done to a run once so many parts are committed, this many seconds later; some things last."""

    kind: str
    parts: int
    later_s: float
    lasts_s: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind} at part {self.parts}" + (f" for {self.lasts_s:.0f} s" if self.lasts_s else "")


def blows_of(seed: int) -> list[Blow]:
    """What is to be done in the run of a seed, in order: one to three blows, and each kind comes first in every fifth run."""
    rng = random.Random(seed)
    first = KINDS[seed % len(KINDS)]
    others = [kind for kind in KINDS if {first, kind} != {"store", "disk"} and kind not in ("store", "disk")]
    kinds = [first, *rng.choices(others, k=rng.randint(0, 2))]
    rng.shuffle(kinds)
    moments = sorted(rng.sample(range(1, COUNT // PART_PHOTOS - 6), len(kinds)))
    return [
        Blow(kind, parts, rng.uniform(0, 2), rng.uniform(15, 60) if kind in ("store", "disk") else 0.0)
        for kind, parts in zip(kinds, moments, strict=True)
    ]


class Place:
    """The output folder of a run on the small disk, or on the store."""

    def __init__(self, folder: Path, network: Network, name: str, *, on_s3: bool, store: psutil.Process) -> None:
        self._folder, self._network, self._store, self.on_s3 = folder, network, store, on_s3
        self._disk, self._name = folder / "disk", name
        self.uri = f"s3://key:secret@bucket/{name}?{S3_OPTIONS}" if on_s3 else str(self._disk / name)

    def parts(self) -> int:
        """How many parts are committed."""
        if not self.on_s3:
            return outcome.parts(self._disk / self._name)
        said = (self._folder / "store.log").read_text().splitlines()
        return len({line for line in said if f"PUT /bucket/{self._name}/manifest/" in line and "503" not in line})

    def away(self, how: str) -> None:
        """The store is silent or refuses, or the disk is full, from now on."""
        if self.on_s3:
            self._store.send_signal(signal.SIGSTOP if how == "silent" else signal.SIGUSR1)
            return
        with suppress(OSError), (self._disk / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def back(self) -> None:
        """The store answers again; the disk has room."""
        if self.on_s3:
            self._store.send_signal(signal.SIGCONT)
            self._store.send_signal(signal.SIGUSR2)
        (self._disk / "filler").unlink(missing_ok=True)

    def as_folder(self) -> Path:
        """All of it as a local folder."""
        if not self.on_s3:
            return self._disk / self._name
        copy = "import sys; from pyarrow import fs; fs.copy_files(sys.argv[1], sys.argv[2])"
        self._network.laptop.run("python", "-c", copy, self.uri, self._folder / self._name)
        return self._folder / self._name

    def clear(self) -> None:
        """Removes it here; the store goes with its process."""
        shutil.rmtree(self._disk / self._name, ignore_errors=True)
        shutil.rmtree(self._folder / self._name, ignore_errors=True)


def environment(host: Machine) -> dict[str, str]:
    """Of Ray and of the command on a host."""
    return host.environment() | {
        "PYTHONPATH": str(ROOT),
        "RAY_AUTH_MODE": "disabled",
        "OMP_NUM_THREADS": "1",
        slow_net.PAUSE: str(PAUSE),
    }


def join_hosts(network: Network) -> None:
    """Each host that has no Ray starts one, the first as the head; Ray gives up after 30 s, which on a busy machine is soon."""
    for host, address in zip(network.hosts, network.addresses, strict=True):
        head = ["--head", f"--port={PORT}", "--include-dashboard=false"] if host is network.hosts[0] else []
        where = head or [f"--address={network.addresses[0]}:{PORT}"]
        sizes = ["--num-cpus=1", "--object-store-memory=100000000"]
        for last in (False, False, False, True):
            if host.processes("raylet/raylet"):
                break
            host.run("ray", "stop", "--force", env=environment(host))  # what the raylet left; it sees this host alone
            host.run("ray", "start", *where, f"--node-ip-address={address}", *sizes, env=environment(host), check=last)


def kill_of(kind: str, network: Network, command: subprocess.Popen[bytes], rng: random.Random) -> bool:
    """Kills the driver, an actor, or the raylet of a host that is not the head; whether there was one."""
    if kind == "driver":  # it came to its host from outside, so it is no child of it
        found = [each for each in psutil.Process(command.pid).children(recursive=True) if "pipeline.cli" in each.cmdline()]
    elif kind == "actor":
        found = [each for host in network.hosts for each in host.processes("MapWorker")]
    else:
        found = [each for host in network.hosts[1:] for each in host.processes("raylet/raylet")]
    if found:
        with suppress(psutil.NoSuchProcess):
            rng.choice(found).kill()
    return bool(found)


@dataclass
class Series:
    """What all runs share: the folder with the photos, the words of the command, the hosts, the store."""

    folder: Path
    words: list[str]
    network: Network
    store: psutil.Process

    def run(self, seed: int) -> dict[str, Any]:
        """One run from its seed to its verdict, as a line of the log."""
        blows, rng, began = blows_of(seed), random.Random(f"more {seed}"), time.monotonic()
        name, on_s3 = f"out{seed}", any(blow.kind == "store" for blow in blows)
        place = Place(self.folder, self.network, name, on_s3=on_s3, store=self.store)
        done: list[str] = []
        codes: list[int | str] = []
        waiting = list(blows)
        back_at = 0.0
        try:
            while len(codes) < MOST_STARTS:
                join_hosts(self.network)
                with self._command(place) as process:
                    started = time.monotonic()
                    while process.poll() is None and time.monotonic() - started < LONGEST_S + 60 * len(blows):
                        if back_at and time.monotonic() > back_at:
                            place.back()
                            back_at = 0.0
                        if waiting and place.parts() >= waiting[0].parts and not back_at:
                            blow = waiting.pop(0)
                            time.sleep(blow.later_s)
                            if blow.lasts_s:
                                place.away(how := rng.choice(["silent", "refusing"]))
                                back_at = time.monotonic() + blow.lasts_s
                                done.append(f"{blow} ({how})" if place.on_s3 else str(blow))
                            elif kill_of(blow.kind, self.network, process, rng):
                                done.append(str(blow))
                        time.sleep(0.05)
                    codes.append("hung" if process.poll() is None else process.returncode)
                if codes[-1] == "hung":
                    break
                if back_at:  # the command ended for it; who gives it again has mended it before
                    time.sleep(max(0.0, back_at - time.monotonic()))
                    place.back()
                    back_at = 0.0
                if codes[-1] == 0:
                    break
        finally:
            place.back()
        verdict = judged(self.folder / "calm", place.as_folder()) if codes[-1] == 0 else {"same": False}
        if verdict["same"]:
            place.clear()
        return {
            "seed": seed,
            "planned": list(map(str, blows)),
            "done": done,
            "codes": codes,
            "seconds": round(time.monotonic() - began),
            **verdict,
        }

    @contextmanager
    def _command(self, place: Place) -> Iterator[subprocess.Popen[bytes]]:
        """The command on the first host; what it prints goes to a log."""
        head = self.network.hosts[0]
        words = [*self.words, "--engine", "ray", "--address", f"{self.network.addresses[0]}:{PORT}", "--actors", "3"]
        command = ["python", "-m", "pipeline.cli", "protect", str(self.folder / "photos"), place.uri, *words]
        with head.running(*command, log=self.folder / "command.log", env=environment(head)) as process:
            yield process


def judged(calm: Path, out: Path) -> dict[str, Any]:
    """How a run differs from an undisturbed one; "torn" are files that are not what their row says, and temporary files."""
    rows, files = outcome.rows(out), outcome.digests(out)
    keys = Counter(row["key"] for row in rows)
    wanted = {row["key"] for row in outcome.rows(calm)}
    written = {row["output"]: row["sha256_out"] for row in rows}
    torn = [name for name, sha in files.items() if written.get(name) != sha]
    found = {
        "lost": len(wanted - keys.keys()) + len(written.keys() - files.keys()),
        "twice": sum(keys.values()) - len(keys),
        "torn": len(torn) + len(list(out.rglob("*.tmp"))),
        "failed": sum(row["status"] != "protected" for row in rows),
    }
    same = rows == outcome.rows(calm) and files == outcome.digests(calm) and not any(found.values())
    return {**found, "same": same}


@contextmanager
def series(folder: Path) -> Iterator[Series]:
    """Photos, an undisturbed run of them, a small disk, hosts and a store."""
    photos = tiny.photo_folder(folder / "photos", {f"p{i:03}.png": i % 7 for i in range(COUNT)})
    words = ["--generator", slow_net.BUILD, "--steps", "6", "--part-photos", str(PART_PHOTOS), "--no-tracking", "--examples", "0"]
    calm = [sys.executable, "-m", "pipeline.cli", "protect", str(photos), str(folder / "calm"), *words, "--engine", "local"]
    subprocess.run(calm, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL, check=True)
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk], check=True)
    with ExitStack() as stack:
        stack.callback(lambda: subprocess.run(["umount", "-l", disk], check=True))
        network = stack.enter_context(ssh_hosts(folder, count=3))
        address, _, port = STORE.partition(":")
        serving = network.laptop.running("python", HERE / "s3_server.py", address, port, log=folder / "store.log")
        store = stack.enter_context(serving)
        while "ready" not in (folder / "store.log").read_text():
            time.sleep(0.1)
        yield Series(folder, words, network, psutil.Process(store.pid).children(recursive=True)[-1])


def table(lines: list[dict[str, Any]]) -> str:
    """The log as Markdown."""
    head = (
        "| seed | what was done | starts | seconds | lost | twice | torn | same bytes and rows |\n|--:|---|--:|--:|--:|--:|--:|---|"
    )
    each = [
        f"| {line['seed']} | {', '.join(line['done']) or 'nothing'} | {len(line['codes'])} | {line['seconds']} "
        f"| {line.get('lost', '')} | {line.get('twice', '')} | {line.get('torn', '')} | {'yes' if line['same'] else 'NO'} |"
        for line in lines
    ]
    return "\n".join([head, *each])


def main() -> int:
    """Run, compare, print."""
    parser = argparse.ArgumentParser(description="Runs that are disturbed at random.")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the first run; the next ones count on")
    parser.add_argument("--log", type=Path, default=Path("chaos.jsonl"))
    given = parser.parse_args()
    if reason := missing():
        sys.exit(reason)
    lines = [json.loads(line) for line in given.log.read_text().splitlines()] if given.log.exists() else []
    good = {line["seed"] for line in lines if line["same"]}
    seeds = [seed for seed in range(given.seed, given.seed + given.runs) if seed not in good]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that no host, mount or folder stays
    if seeds:
        with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as folder, series(Path(folder)) as shared:
            for seed in seeds:
                lines.append(shared.run(seed))
                with given.log.open("a") as file:
                    print(json.dumps(lines[-1]), file=file)
                print(json.dumps(lines[-1]), flush=True)
    print(table(lines))
    last = {line["seed"]: line["same"] for line in lines}
    return 0 if all(last.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
