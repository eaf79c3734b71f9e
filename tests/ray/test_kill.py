"""A run on Ray that is stopped with Ctrl-C ends soon, and the same command completes it (for SIGKILL see test_s3.py)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT
from tests.fast import tiny
from tests.ray import outcome, slow_net
from tests.verbs import protect

COUNT = 32
WORDS = ["--generator", slow_net.BUILD, "--steps", "12", "--part-photos", "4", "--no-tracking", "--examples", "0", "--actors", "2"]
"""Eight parts of four photos, a part in about a second and a half."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.photo_folder(tmp_path_factory.mktemp("photos"), {f"p{i:02}.png": i % 7 for i in range(COUNT)})


@pytest.fixture(scope="module")
def undisturbed(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the plain loop makes of the photos (Ray makes the same, see test_flow.py)."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    assert protect([str(photos), str(out), "--engine", "local", *WORDS]) == 0
    return out


@dataclass(frozen=True)
class Run:
    """A run in a process group of its own, with everything it started."""

    process: subprocess.Popen[str]
    out: Path

    def family(self) -> list[psutil.Process]:
        """The processes below the driver: all of Ray."""
        return list(psutil.Process(self.process.pid).children(recursive=True))

    def wait_for_middle(self) -> None:
        """Return when some parts are committed and more are to come."""
        deadline = time.monotonic() + 120
        while outcome.parts(self.out) < 3:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline, "no part was committed in two minutes"
            time.sleep(0.05)
        assert outcome.parts(self.out) < COUNT // 4, "the run was over before it could be disturbed"


@contextmanager
def started(photos: Path, out: Path, *, pause: float) -> Iterator[Run]:
    """`python pipeline/protect_dataset.py` as a user types it; whatever is left of it is killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "pipeline/protect_dataset.py", str(photos), str(out), "--address", "local", *WORDS],
        cwd=ROOT,
        env=os.environ | {slow_net.PAUSE: str(pause)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    run = Run(process, out)
    family: list[psutil.Process] = []
    try:
        yield run
    finally:
        with suppress(psutil.NoSuchProcess):
            family = run.family()
        for each in [process, *family]:
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                each.kill()
        process.communicate()


def all_end(processes: list[psutil.Process], *, within_s: float) -> None:
    """Wait until these processes are gone; an AssertionError names the ones that stay."""
    _, alive = psutil.wait_procs(processes, timeout=within_s)
    assert not alive, f"still running: {[each.cmdline()[:1] for each in alive]}"


def assert_same(out: Path, undisturbed: Path) -> None:
    assert outcome.digests(out) == outcome.digests(undisturbed)
    assert outcome.rows(out) == outcome.rows(undisturbed)
    assert set(outcome.statuses(out).values()) == {"protected"}
    assert len(outcome.statuses(out)) == COUNT
    assert not list(out.rglob("*.tmp")), "temporary files are left"


def test_ctrl_c_ends_soon_says_how_to_go_on_and_leaves_no_process(photos: Path, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with started(photos, out, pause=0.05) as run:
        run.wait_for_middle()
        family = run.family()
        os.killpg(run.process.pid, signal.SIGINT)  # what a terminal does
        began = time.monotonic()
        _, errors = run.process.communicate(timeout=60)
        print(f"ended {time.monotonic() - began:.1f} s after Ctrl-C")
        all_end(family, within_s=30)
    assert run.process.returncode == 130
    assert errors.startswith("stopped; ") and "Run the same command again" in errors and "Traceback" not in errors
    assert protect([str(photos), str(out), "--engine", "local", *WORDS]) == 0
    assert_same(out, undisturbed)
