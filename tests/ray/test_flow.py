"""The flow on a real local Ray of two cores: the same files and rows as the plain loop, and clear ends where it cannot go on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.generators.checkpoint import save_weights
from tests.conftest import ROOT
from tests.fast import tiny
from tests.ray import outcome
from tests.verbs import protect

pytestmark = [
    pytest.mark.usefixtures("local_ray"),
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\..*"),  # Ray copies its own deprecated settings
]
FEW = ["--generator", tiny.BUILD, "--part-photos", "2", "--no-tracking", "--examples", "1"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    tiny.nine_photos(folder)
    (folder / "grey ü.png").write_bytes(tiny.photo_bytes(mode="L", suffix=".png"))
    (folder / "empty.jpg").touch()
    (folder / "text.png").write_text("not a picture")
    (folder / "cut.jpg").write_bytes(tiny.photo_bytes(64, 64)[:900])
    (folder / "dot.png").write_bytes(tiny.photo_bytes(1, 1, suffix=".png"))
    return folder


@pytest.fixture(scope="module")
def looped(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the plain loop makes of the photos."""
    out = tmp_path_factory.mktemp("looped") / "out"
    assert protect([str(photos), str(out), "--engine", "local", *FEW]) == 1
    return out


def test_ray_writes_the_files_and_rows_of_the_plain_loop(
    photos: Path, looped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # Ray's processes run elsewhere
    words = ["--engine", "ray", "--actors", "1", "--memory-per-actor", "0.5"]
    assert protect([os.path.relpath(photos), "out", *words, *FEW]) == 1
    assert outcome.digests(tmp_path / "out") == outcome.digests(looped)
    assert outcome.rows(tmp_path / "out") == outcome.rows(looped)


def test_another_order_of_the_inputs_and_of_their_parts_gives_the_same_files(photos: Path, looped: Path, tmp_path: Path) -> None:
    names = sorted((path.relative_to(photos).as_posix() for path in photos.rglob("*") if path.is_file()), reverse=True)
    table = photos / "photos.csv"
    table.write_text("\n".join(["path", *names]) + "\n", encoding="utf-8")
    try:
        code = protect([str(table), str(tmp_path / "out"), "--engine", "ray", "--actors", "2", *FEW, "--part-photos", "3"])
    finally:
        table.unlink()
    assert code == 1
    assert outcome.digests(tmp_path / "out") == outcome.digests(looped)


def test_bad_files_get_their_rows_and_leave_their_neighbours_unharmed(photos: Path, looped: Path) -> None:
    found = outcome.statuses(looped)
    bad = {"empty.jpg": "failed", "text.png": "failed", "cut.jpg": "failed", "dot.png": "skipped"}
    assert {key: found[key] for key in bad} == bad
    assert {status for key, status in found.items() if key not in bad} == {"protected"}
    assert all(row["reason"] for row in outcome.rows(looped) if row["key"] in bad)


def test_more_actors_than_the_cluster_can_hold_are_refused(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert protect([str(photos), str(tmp_path / "out"), "--engine", "ray", "--actors", "9", *FEW]) == 2
    assert "--actors" in capsys.readouterr().err


def test_more_memory_than_the_cluster_has_is_refused(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert protect([str(photos), str(tmp_path / "out"), "--engine", "ray", "--memory-per-actor", "4000", *FEW]) == 2
    assert "1 x 1 cores and 4000 GB" in (error := capsys.readouterr().err)
    assert "--memory-per-actor" in error


def test_gpus_that_the_cluster_does_not_have_are_refused(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert protect([str(photos), str(tmp_path / "out"), "--engine", "ray", "--gpus-per-actor", "64", *FEW]) == 2
    assert "64 GPUs" in (error := capsys.readouterr().err)
    assert "--gpus-per-actor" in error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--classes", "Smiel"], "did you mean Smile?"),
        (["--epsilon", "300"], "--epsilon must be from 1 to 64"),
        (["--generator", "no_such_module:build"], "cannot import 'no_such_module'"),
        (["--generator", "stargan"], "needs its weights"),
    ],
)
def test_a_wrong_call_ends_with_2_and_one_line(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert protect([str(photos), str(tmp_path / "out"), "--engine", "ray", *FEW, *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can make a small disk")
def test_a_full_disk_ends_the_run_with_2_and_the_rest_is_done_when_there_is_room(
    photos: Path, looped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=True)
    words = [str(photos), str(disk / "out"), "--engine", "ray", *FEW]
    try:
        assert protect(words) == 2
        error = capsys.readouterr().err
        assert "no space left. Free some, then run the same command again" in error
        assert len(error.splitlines()) == 1
        subprocess.run(["mount", "-o", "remount,size=16m", disk], check=True)
        assert protect(words) == 1
        assert outcome.digests(disk / "out") == outcome.digests(looped)
        assert outcome.rows(disk / "out") == outcome.rows(looped)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


OWN_NET = """
from pathlib import Path
from pipeline.generators.checkpoint import load_weights, read_state_dict
from pipeline.generators.generator import Generator, fingerprint_of
from pipeline.generators.stargan import StarGANGenerator
from tests.fast.tiny import _steep

def build(weights: Path) -> Generator:
    net = StarGANGenerator(4, 2, 1)
    load_weights(net, read_state_dict(weights), source=str(weights))
    return Generator("own", net, {"Smile": (1.0, 0.0), "Glasses": (0.0, 1.0)}, 16, fingerprint_of(net), translate=_steep)
"""


def test_a_users_own_module_and_weights_work_in_the_actors_and_the_error_stream_stays_empty(tmp_path: Path) -> None:
    tiny.photo_folder(tmp_path / "in", {f"p{i}.png": i for i in range(4)})
    (tmp_path / "own_net.py").write_text(OWN_NET)
    save_weights(tiny.build().net, tmp_path / "own.safetensors", metadata={})
    words = ["in", "out", "--generator", "own_net:build", "--weights", "own.safetensors", "--no-tracking"]
    done = subprocess.run(
        [Path(sys.prefix, "bin", "disrupt"), "protect", *words, "--engine", "ray", "--address", "local"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Ray: started here" in done.stdout
    assert set(outcome.statuses(tmp_path / "out").values()) == {"protected"}
