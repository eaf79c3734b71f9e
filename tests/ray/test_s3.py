"""A run from S3 to S3 on Ray: away for a while, killed, and run again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from tests.bench.scale import make_bundle, make_photos
from tests.conftest import ROOT
from tests.ray import outcome
from tests.ray.s3_server import BUCKET, Server, s3_server
from tests.verbs import protect

COUNT, PART = 240, 30  # eight parts, four for each actor
AWAY_SECONDS = 4.0


def start(server: Server, words: list[str]) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "pipeline.cli", "protect", server.uri("in"), server.uri("out"), *words]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait(process: subprocess.Popen[str], reached: Callable[[], bool]) -> None:
    """Returns when the run has reached something."""
    deadline = time.monotonic() + 200
    while not reached():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "too slow"
        time.sleep(0.05)


def disturb(server: Server, words: list[str], count: int) -> None:
    """A run whose store is away after a quarter of the photos and that is killed after a half, and another to the end."""
    process = start(server, words)
    try:
        wait(process, lambda: server.counts("out/0")["PUT"] >= count // 4)
        server.is_away = True
        time.sleep(AWAY_SECONDS)
        server.is_away = False
        wait(process, lambda: server.counts("out/0")["PUT"] >= count // 2)
    finally:
        family = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        _, alive = psutil.wait_procs(family, timeout=30)
        for each in alive:
            with suppress(psutil.NoSuchProcess):
                each.kill()
    assert not alive, f"Ray outlives its driver: {[each.name() for each in alive]}"
    again = start(server, words)
    try:
        _, said = again.communicate(timeout=200)
    finally:
        if again.poll() is None:
            os.killpg(again.pid, signal.SIGKILL)
    assert (again.returncode, said) == (0, "")


def from_s3_to_s3(folder: Path, count: int) -> Server:
    """The server after so many photos were protected in a disturbed run and another.

    AssertionError when anything differs from what a calm run makes of the same photos in a local folder.
    """
    photos, bundle, key = make_photos(folder / "photos", count), make_bundle(folder), folder / "key"
    key.write_bytes(b"0123456789abcdef")
    words = ["--recipe", "none", "--signals", str(bundle), "--key-file", str(key), "--no-tracking", "--examples", "0"]
    assert protect([str(photos), str(folder / "calm"), "--engine", "local", *words]) == 0
    with s3_server() as server:
        for path in photos.rglob("*.png"):
            server.put(f"in/{path.relative_to(photos)}", path.read_bytes())
        disturb(server, [*words, "--engine", "ray", "--address", "local", "--actors", "2"], count)
    assert {name: server.get(f"out/{name}") for name in server.names("out", ".png")} == {
        path.relative_to(folder / "calm").as_posix(): path.read_bytes() for path in (folder / "calm").rglob("*.png")
    }
    rows = pq.read_table(pa.BufferReader(server.get("out/manifest.parquet"))).to_pylist()
    assert [{k: v for k, v in row.items() if k not in outcome.BY_CHANCE} for row in rows] == outcome.rows(folder / "calm")
    assert len(outcome.statuses(folder / "calm")) == count
    assert not server.objects.list_multipart_uploads(BUCKET)
    return server


def test_a_store_that_was_away_and_a_killed_run_cost_no_photo_and_few_requests(tmp_path: Path) -> None:
    server = from_s3_to_s3(tmp_path, COUNT)
    assert server.away > 0
    for kind, folder in (("GET", "in/0"), ("PUT", "out/0")):
        times = server.times(kind, folder)
        assert len(times) == COUNT
        assert max(times.values()) <= 2
        assert sum(count > 1 for count in times.values()) <= 2 * PART, "only what was in the works was done again"
        others = server.counts()[kind] - sum(times.values()) - server.counts("out/.disrupt/lock")[kind]
        assert others <= 10 * COUNT / PART, "a few requests a part"
