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

from pipeline.storage import Folder
from tests.bench.scale import make_bundle, make_photos
from tests.conftest import ROOT
from tests.ray import outcome
from tests.ray.s3_server import BUCKET, Server, s3_server
from tests.verbs import protect

COUNT = 480
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


def disturbed(server: Server, words: list[str], count: int) -> list[set[str]]:
    """The parts of a run whose store is away after a quarter of the photos and that is killed after a half; those of another."""
    written = f"/{BUCKET}/out/"

    def photos() -> int:
        return sum(kind == "PUT" and path.startswith(written) and path.endswith(".png") for kind, path in list(server.requests))

    process = start(server, words)
    try:
        wait(process, lambda: photos() >= count // 4)
        server.is_away = True
        time.sleep(AWAY_SECONDS)
        server.is_away = False
        wait(process, lambda: photos() >= count // 2)
    finally:
        family = psutil.Process(process.pid).children(recursive=True)
        for each in [process, *family]:  # that Ray ends by itself after its driver is what test_kill.py sees
            with suppress(psutil.NoSuchProcess):
                each.kill()
        process.communicate()
    before = Folder(server.uri("out")).names_in("manifest")
    again = start(server, words)
    try:
        _, said = again.communicate(timeout=300)
    finally:
        if again.poll() is None:
            os.killpg(again.pid, signal.SIGKILL)
    assert again.returncode == 0, said
    return [before, Folder(server.uri("out")).names_in("manifest") - before]


def test_a_store_that_was_away_and_a_killed_run_cost_no_photo_and_few_requests(tmp_path: Path) -> None:
    photos, bundle, key = make_photos(tmp_path / "photos", COUNT), make_bundle(tmp_path), tmp_path / "key"
    key.write_bytes(b"0123456789abcdef")
    words = ["--recipe", "none", "--signals", str(bundle), "--key-file", str(key), "--no-tracking", "--examples", "0"]
    assert protect([str(photos), str(tmp_path / "calm"), "--engine", "local", *words]) == 0
    with s3_server() as server:
        for path in photos.rglob("*.png"):
            server.objects.put_object(BUCKET, f"in/{path.relative_to(photos)}", path.read_bytes())
        on_ray = ["--engine", "ray", "--address", "local", "--actors", "2"]
        before, after = disturbed(server, [*words, *on_ray], COUNT)
        requests = list(server.requests)
        written = {name: server.objects.get_object(BUCKET, f"out/{name}").value for name in outcome.digests(tmp_path / "calm")}
        rows = pq.read_table(pa.BufferReader(server.objects.get_object(BUCKET, "out/manifest.parquet").value)).to_pylist()
        assert not server.objects.list_multipart_uploads(BUCKET)
    assert server.away > 0
    assert before
    assert after
    assert written == {name: (tmp_path / "calm" / name).read_bytes() for name in written}
    assert [{k: v for k, v in row.items() if k not in outcome.BY_CHANCE} for row in rows] == outcome.rows(tmp_path / "calm")
    print(server.away, len(before), len(after), len(requests))
    from collections import Counter

    print(
        Counter(k for k, _ in requests),
        Counter(k for k, p in requests if p.startswith("/bucket/in/")),
        Counter(k for k, p in requests if p.startswith("/bucket/out/") and p.endswith(".png")),
    )
