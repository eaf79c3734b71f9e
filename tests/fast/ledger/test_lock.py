"""The lock: one job at a time, and only a dead or silent one loses it."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.ledger import lock as lock_module
from pipeline.ledger.errors import LedgerError
from pipeline.ledger.lock import STALE_SECONDS, Lock, lock_folder
from pipeline.storage import Folder

ROOT = Path(__file__).parents[3]


def held(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / ".disrupt/lock.json").read_text())
    return found


def leave_lock(folder: Path, *, silent: float = 0.0, **changes: Any) -> None:
    """The lock of another job on this machine that runs (our parent), not heard of for `silent` seconds, changed as told."""
    lock_folder(Folder(folder)).release()
    now = time.time()
    owner = {"id": "other", "host": socket.gethostname(), "space": lock_module._space(), "pid": os.getppid()}
    (folder / ".disrupt/lock.json").write_text(json.dumps(owner | {"started": now, "beat": now - silent} | changes))


def test_a_held_folder_is_refused_with_the_name_of_its_owner_and_free_after_release(tmp_path: Path) -> None:
    lock = lock_folder(Folder(tmp_path))
    with pytest.raises(LedgerError, match=rf"in use by another job: process {os.getpid()} on {socket.gethostname()}, started 20"):
        lock_folder(Folder(tmp_path))
    lock.release()
    lock.release()
    lock_folder(Folder(tmp_path)).release()
    assert not (tmp_path / ".disrupt/lock.json").exists()


@pytest.mark.parametrize(
    "owner",
    [
        {},
        {"host": "elsewhere", "pid": 2**22 + 1},
        {"space": "another container", "pid": 2**22 + 1},
        {"silent": STALE_SECONDS - 30},
        {"started": 0.0},
    ],
    ids=["running here", "another machine", "another container", "a little late", "long at work"],
)
def test_an_owner_that_may_be_alive_keeps_the_folder(tmp_path: Path, owner: dict[str, Any]) -> None:
    leave_lock(tmp_path, **owner)
    with pytest.raises(LedgerError, match="in use"):
        lock_folder(Folder(tmp_path))
    assert held(tmp_path)["id"] == "other"


@pytest.mark.parametrize(
    "owner",
    [{"silent": STALE_SECONDS + 1}, {"silent": STALE_SECONDS + 1, "host": "elsewhere"}, {"pid": 2**22 + 1}],
    ids=["silent", "silent elsewhere", "dead here"],
)
def test_a_dead_or_silent_owner_loses_the_folder(tmp_path: Path, owner: dict[str, Any]) -> None:
    leave_lock(tmp_path, **owner)
    lock = lock_folder(Folder(tmp_path))
    assert held(tmp_path)["id"] == lock.owner.id
    lock.release()


def test_a_killed_process_that_nobody_waited_for_counts_as_dead(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    leave_lock(tmp_path, pid=child.pid)
    with pytest.raises(LedgerError, match="in use"):
        lock_folder(Folder(tmp_path))
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and still in the table of processes
    lock_folder(Folder(tmp_path)).release()
    child.communicate()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"id": 1}'])
def test_a_lock_that_cannot_be_understood_is_respected_while_it_is_young(tmp_path: Path, text: str) -> None:
    leave_lock(tmp_path)
    path = tmp_path / ".disrupt/lock.json"
    path.write_text(text)
    with pytest.raises(LedgerError, match="in use"):
        lock_folder(Folder(tmp_path))
    old = time.time() - STALE_SECONDS - 1
    os.utime(path, (old, old))
    lock_folder(Folder(tmp_path)).release()


def test_a_job_that_lost_the_folder_hears_of_it_and_leaves_the_new_lock_alone(tmp_path: Path) -> None:
    lock = lock_folder(Folder(tmp_path))
    leave = held(tmp_path) | {"id": "thief"}
    (tmp_path / ".disrupt/lock.json").write_text(json.dumps(leave))
    with pytest.raises(LedgerError, match="taken over by another job"):
        lock.beat()
    lock.release()
    assert held(tmp_path)["id"] == "thief"


def test_the_sign_of_life_is_renewed_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "BEAT_SECONDS", 0.02)
    lock = lock_folder(Folder(tmp_path))
    first = held(tmp_path)["beat"]
    until = time.monotonic() + 20
    while held(tmp_path)["beat"] <= first and time.monotonic() < until:
        time.sleep(0.02)
    assert held(tmp_path)["beat"] > first
    lock.release()


@pytest.mark.parametrize("stale", [False, True])
def test_of_many_that_start_at_once_exactly_one_gets_the_folder(tmp_path: Path, stale: bool) -> None:
    for number in range(20):
        folder = tmp_path / str(number)
        if stale:
            leave_lock(folder, pid=2**22 + 1)
        won: list[Lock] = []
        gate = threading.Barrier(8)

        def run(folder: Path = folder, won: list[Lock] = won, gate: threading.Barrier = gate) -> None:
            gate.wait()
            try:
                won.append(lock_folder(Folder(folder)))
            except LedgerError:
                return

        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert held(folder)["id"] == won[0].owner.id
        won[0].release()


def test_of_many_processes_exactly_one_takes_over_a_dead_lock(tmp_path: Path) -> None:
    leave_lock(tmp_path, pid=2**22 + 1)
    code = (
        "import sys; from pipeline.ledger.lock import lock_folder; from pipeline.ledger.errors import LedgerError\n"
        "from pipeline.storage import Folder\n"
        "print('ready', flush=True); input()\n"
        "try: lock_folder(Folder(sys.argv[1])); print('won', flush=True)\n"
        "except LedgerError: print('lost', flush=True)\n"
        "input()"
    )
    pipe = subprocess.PIPE
    jobs = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
        for _ in range(3)
    ]
    for job in jobs:
        assert job.stdout is not None
        assert job.stdout.readline() == "ready\n"
    for job in jobs:
        assert job.stdin is not None
        job.stdin.write("\n")
        job.stdin.flush()
    answers = [job.stdout.readline().strip() for job in jobs if job.stdout]
    for job in jobs:
        job.communicate("\n")
    assert sorted(answers) == ["lost", "lost", "won"]


def test_a_store_without_exclusive_creation_has_a_lock_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "SETTLE_SECONDS", 0.0)
    folder = Folder(f"memory://lock{tmp_path}")
    lock = lock_folder(folder)
    with pytest.raises(LedgerError, match="in use"):
        lock_folder(folder)
    lock.beat()
    lock.release()
    lock_folder(folder).release()


def test_a_full_disk_under_the_work_becomes_an_error_that_says_the_fix_and_the_folder_is_free_again(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="no space left") as refusal, lock_folder(Folder(tmp_path)):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert str(tmp_path) in str(refusal.value)
    with pytest.raises(FileNotFoundError), lock_folder(Folder(tmp_path)):
        raise FileNotFoundError(errno.ENOENT, "not the disk")
    lock_folder(Folder(tmp_path)).release()
