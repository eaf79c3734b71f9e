"""`disrupt universal`, from the words of the call to the files in OUT; stopped and resumed it leaves the same bytes."""

from __future__ import annotations

import csv
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.learning.options import UniversalConfig
from pipeline.universal.bundle import read_universal
from pipeline.universal.learn import State, advance
from tests.fast.tiny import BUILD, build, picture
from tests.verbs import universal, with_options

SHORT = ["--generator", BUILD, "--steps", "6", "--batch", "2", "--every", "2", "--examples", "1", "--no-tracking"]
NAMES = ("universal.safetensors", "universal.json", "state.safetensors")


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Six faces to learn from, two of split test and one of split val, one of another licence."""
    (folder := tmp_path / "faces").mkdir()
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "split", "licence"])
        for i, split in enumerate(["train"] * 6 + ["test"] * 2 + ["val", "train"]):
            picture(40, 40, seed=i).save(folder / f"{i}.png")
            table.writerow([f"{i}.png", split, "other" if i == 9 else "MIT"])
    return folder


def learn(faces: Path | str, out: Path | str, *words: str) -> int:
    return universal([str(faces), str(out), *SHORT, *words])


def left(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in NAMES}


def stopping(monkeypatch: pytest.MonkeyPatch, *, after: int, how: Any) -> None:
    """`how` is called once, in a step."""
    real, taken = advance, 0

    def step(*arguments: Any) -> tuple[State, float]:
        nonlocal taken
        taken += 1
        if taken == after:
            how()
        return real(*arguments)

    monkeypatch.setattr("pipeline.learning.run.advance", step)


def test_what_is_left_is_a_bundle_with_its_card_and_a_report(
    faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert learn(faces, out, "--licence", "MIT", "--count", "2") == 0
    found = read_universal(out / "universal.safetensors")
    assert (found.count, found.size, found.epsilon, found.faces) == (2, 32, 6, False)
    assert [(one.generator, one.fingerprint, one.classes) for one in found.networks] == [
        ("tiny", build().fingerprint, ("Smile", "Glasses"))
    ]
    assert np.abs(found.signals_nCHW).max() <= 6
    (measured,) = found.card["measured"]
    assert (measured["generator"], measured["samples"]) == ("tiny", 4)
    assert found.card["config"]["learned_from"].startswith("6 faces, ")
    assert found.card["measured_on"].startswith("split test")
    assert np.shape(found.card["cosines"]) == (2, 2)
    assert json.loads((out / "universal.json").read_text())["id"] == found.id
    page, said = (out / "report.html").read_text(encoding="utf-8"), " ".join(capsys.readouterr().out.split())
    assert "tiny" in page
    assert page.count('alt="protected photo"') == 1
    assert "2 perturbations of 32 px from 6 faces" in said
    assert f"--universal {out}/universal.safetensors --key-file KEY" in said


def test_stopped_with_ctrl_c_and_killed_it_resumes_and_leaves_the_same_bytes(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--count", "2"]
    assert learn(faces, tmp_path / "whole", *words) == 0
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        stopping(patch, after=3, how=lambda: os.kill(os.getpid(), signal.SIGINT))
        assert learn(faces, out, *words) == 130
    assert {path.name for path in out.iterdir()} == {".disrupt", "state.safetensors"}
    with monkeypatch.context() as patch:
        stopping(patch, after=6, how=lambda: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception):
            learn(faces, out, *words)
    assert learn(faces, out, *words) == 0
    assert left(out) == left(tmp_path / "whole")
    assert learn(faces, out, *words) == 0
    assert left(out) == left(tmp_path / "whole")


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--epsilon", "7"], "epsilon: 6 there, 7 now"), (["--seed", "1"], "seed: 0 there"), (["--licence", "MIT"], "learned_from")],
)
def test_another_run_is_refused(
    faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert learn(faces, tmp_path / "out") == 0
    before = left(tmp_path / "out")
    assert learn(faces, tmp_path / "out", *words) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert left(tmp_path / "out") == before


def test_relative_paths_work_and_a_folder_may_move(faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert learn("faces", "out") == 0
    faces.rename(tmp_path / "moved")
    assert learn("moved", "out") == 0


def test_without_a_table_every_tenth_photo_is_held_out(tmp_path: Path) -> None:
    (photos := tmp_path / "photos").mkdir()
    for i in range(11):
        picture(40, 40, seed=i).save(photos / f"{i}.png")
    assert learn(photos, tmp_path / "out") == 0
    found = read_universal(tmp_path / "out" / "universal.safetensors")
    assert found.card["config"]["learned_from"].startswith("9 faces")
    assert found.card["config"]["measured_on"].startswith("2 faces")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epsilon", "0"], "--epsilon must be from 1 to 64"),
        (["--count", "0"], "--count must be from 1 to 256"),
        (["--steps", "0"], "--steps must be from 1"),
        (["--robust-to", "rain"], "--robust-to"),
        (["--classes", "Smil"], "did you mean Smile?"),
        (["--weights", "a", "b"], "one file for each"),
        (["--licence", "none"], "no row of"),
        (["--generator", "tests.fast.tiny:build_broken"], "not finite"),
    ],
)
def test_a_wrong_call_ends_with_one_line_and_nothing_written(
    faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    broken = "build_broken" in words[-1]
    assert learn(faces, tmp_path / "out", *words) == (1 if broken else 2)
    printed = capsys.readouterr()
    assert message in " ".join((printed.out + printed.err).split())
    assert not (tmp_path / "out" / "universal.safetensors").exists()


def test_a_damaged_state_is_refused_with_the_fix(faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert learn(faces, tmp_path / "out") == 0
    (tmp_path / "out" / "state.safetensors").write_bytes(b"x")
    assert learn(faces, tmp_path / "out") == 2
    assert "is damaged" in capsys.readouterr().err


def test_every_option_but_those_of_the_machine_is_part_of_the_signature() -> None:
    base = UniversalConfig(Path("in"), Path("out"), count=2)
    others = {
        "generator": ("a",), "classes": ("b",), "epsilon": 7, "count": 3, "apart": 1.0, "steps": 7, "batch": 7, "step_size": 1.0,
        "last_step": 0.5, "objective": "local", "class_schedule": "joint", "robust_to": ("jpeg",), "licence": ("MIT",),
        "held_out": 7, "seed": 7,
    }  # fmt: skip
    facts = [json.dumps(with_options(base, **{name: value}).what_changes_results()) for name, value in others.items()]
    assert len({json.dumps(base.what_changes_results()), *facts}) == 1 + len(others)
