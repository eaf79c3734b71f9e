"""A training on a real local Ray: the weights of the plain loop, also when a worker is killed; clear words where it cannot be."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import torch

from tests.fast.training.few_faces import NARROW, write_faces
from tests.verbs import train

pytestmark = [
    pytest.mark.xdist_group("train"),
    pytest.mark.usefixtures("local_ray"),
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\..*", r"ignore::FutureWarning:ray\..*", r"ignore::ResourceWarning"),
]
STEPS = 8
WORDS = [*NARROW, "--no-tracking", "--steps", str(STEPS), "--every", "1", "--precision", "fp64"]


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_faces(tmp_path_factory.mktemp("data") / "faces")


@pytest.fixture(scope="module")
def looped(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the plain loop makes of the faces."""
    out = tmp_path_factory.mktemp("looped") / "out"
    assert train([str(faces), str(out), *WORDS]) == 0
    return out


def distance(one: Path, other: Path) -> float:
    """The largest difference of any weight or averaged weight of two checkpoints of the last step."""
    first, second = (torch.load(out / "state.pt", weights_only=True) for out in (one, other))
    assert first["step"] == second["step"] == STEPS
    assert torch.equal(first["rng"], second["rng"])
    return max(float((first[part][name] - second[part][name]).abs().max()) for part in ("G", "D", "G_ema") for name in first[part])


def workers() -> list[psutil.Process]:
    """The processes of Ray Train's workers."""
    found = psutil.Process().children(recursive=True)
    return [process for process in found if "RayTrainWorker" in " ".join(process.cmdline())]


@contextmanager
def one_worker_killed(out: Path) -> Iterator[list[int]]:
    """Inside, one worker is killed, once, as soon as there are two checkpoints; gives its process id."""
    killed: list[int] = []
    over = threading.Event()

    def kill() -> None:
        while not over.wait(0.02) and not killed:
            if len(list(out.glob(".disrupt/ray/*/checkpoint_*"))) >= 2 and (alive := workers()):
                os.kill(alive[-1].pid, signal.SIGKILL)
                killed.append(alive[-1].pid)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def test_two_workers_one_of_them_killed_on_the_way_end_with_the_weights_of_the_plain_loop(
    faces: Path, looped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with one_worker_killed(out) as killed:
        assert train([str(faces), str(out), *WORDS, "--workers", "2"]) == 0
    assert killed, "the training was over before a worker could be killed"
    begun = [int(step) for step in re.findall(r"training from step (\d+) to", capsys.readouterr().out)]
    assert begun[0] == 0
    assert begun[1:]
    assert all(step in range(1, STEPS) for step in begun[1:]), begun
    assert distance(out, looped) < 1e-8
    assert (out / "generator.safetensors").stat().st_size > 0


def test_one_worker_goes_on_from_the_plain_loop_and_the_plain_loop_from_it_bit_for_bit(
    faces: Path, looped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # Ray's processes run elsewhere
    out = tmp_path / "out"
    words = [os.path.relpath(faces), "out", *WORDS]
    assert train([*words, "--workers", "1", "--minutes", "0", "--memory-mb", "0"]) == 0  # pictures in files, decoded on Ray
    assert torch.load(out / "state.pt", weights_only=True)["step"] < STEPS
    assert len(list((out / ".disrupt/pictures").glob("*.u8"))) == 2  # train and val
    assert train(words) == 0
    assert distance(out, looped) == 0
    assert not (out / ".disrupt/pictures").exists()


def test_more_workers_than_the_cluster_can_hold_are_refused(
    faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(faces), str(tmp_path / "out"), *WORDS]  # a refused call leaves the folder free for other options
    assert train([*words, "--batch", "9", "--workers", "9"]) == 2
    assert "--workers" in capsys.readouterr().err
    assert train([*words, "--workers", "2", "--gpus-per-worker", "64"]) == 2
    assert "--gpus-per-worker" in capsys.readouterr().err


def test_a_training_that_breaks_off_is_not_tried_again(faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    words = [str(faces), str(out), *WORDS, "--workers", "1"]
    assert train([*words[:-2], "--minutes", "0"]) == 0
    state = torch.load(out / "state.pt", weights_only=True)
    state["D"] = {name: torch.full_like(tensor, 1e300) for name, tensor in state["D"].items()}
    torch.save(state, out / "state.pt")
    before = (out / "state.pt").read_bytes()
    capsys.readouterr()
    assert train(words) == 1
    said = capsys.readouterr().out
    assert "training broke off" in said
    assert "not a finite number" in said
    assert said.count("training from step") == 1
    assert (out / "state.pt").read_bytes() == before
