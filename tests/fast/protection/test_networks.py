"""What the commands say of networks that are odd, and of weights that do not fit: one line each, no traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.generators.cyclegan import CycleGANGenerator
from tests.fast import runs, tiny
from tests.fast.generators.spellings import SPELLINGS
from tests.fast.generators.test_checkpoint import Payload
from tests.verbs import evaluate

Said = pytest.CaptureFixture[str]
ODD = "tests.fast.generators.odd"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return tiny.photo_folder(tmp_path / "photos", {"a.png": 1})


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return dict(CycleGANGenerator(4, blocks=2).state_dict())


@pytest.mark.parametrize(
    ("generator", "note"),
    [
        ("tests.fast.tiny:build_flat", "note: flat gives its input back: there is no translation to break"),
        (f"{ODD}:constant", "note: constant gives the same picture whatever its input"),
        ("tests.fast.tiny:build_broken", "note: broken gives values that are not numbers"),
    ],
)
def test_protect_says_once_that_the_numbers_of_a_network_mean_nothing(
    photos: Path, tmp_path: Path, capsys: Said, generator: str, note: str
) -> None:
    assert runs.run(photos, tmp_path / "out", generator=generator) == 1
    said = capsys.readouterr()
    assert said.out.count(note) == 1
    assert said.err == ""


@pytest.mark.parametrize(
    ("generator", "reason"),
    [
        (f"{ODD}:larger", "makes (2, 3, 32, 32) of images (2, 3, 16, 16)"),
        (f"{ODD}:grey", "y.expand(-1, 3, -1, -1)"),
        (f"{ODD}:of_grey", "to have 1 channels"),
        (f"{ODD}:pair", "gives a tuple"),
    ],
)
def test_protect_and_evaluate_refuse_a_network_that_makes_no_picture_of_the_same_size(
    photos: Path, tmp_path: Path, capsys: Said, generator: str, reason: str
) -> None:
    assert runs.run(photos, tmp_path / "out", generator=generator) == 2
    assert one_line(capsys, reason)
    assert not (tmp_path / "out").exists()
    words = ["--generator", generator, "--engine", "local", "--no-tracking", "--out", str(tmp_path / "e")]
    assert evaluate([str(photos), str(photos), *words]) == 2
    assert one_line(capsys, reason)


def test_weights_of_a_network_for_grey_pictures_are_refused(photos: Path, tmp_path: Path, capsys: Said) -> None:
    torch.save(CycleGANGenerator(2, in_channels=1, blocks=1).state_dict(), tmp_path / "w.pth")
    assert runs.run(photos, tmp_path / "out", "--weights", str(tmp_path / "w.pth"), generator="cyclegan") == 2
    assert one_line(capsys, "cyclegan fails on images (2, 3, 256, 256)")


def one_line(said: Said, reason: str) -> bool:
    lines = said.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert reason in lines[0]
    return True


def test_evaluate_says_once_that_the_numbers_of_a_network_mean_nothing(photos: Path, tmp_path: Path, capsys: Said) -> None:
    words = ["--generator", "tests.fast.tiny:build_flat", "--engine", "local", "--no-tracking", "--bootstrap", "10"]
    assert evaluate([str(photos), str(photos), *words, "--out", str(tmp_path / "e")]) == 0
    assert capsys.readouterr().out.count("note: flat gives its input back") == 1


def test_weights_under_other_names_protect_as_the_released_ones_do_and_it_is_said_once(
    photos: Path, tmp_path: Path, capsys: Said, state: dict[str, Tensor]
) -> None:
    torch.save(state, tmp_path / "released.pth")
    torch.save({"state_dict": {f"netG.module.{name}": w for name, w in SPELLINGS["block"](state).items()}}, tmp_path / "other.pth")
    for name in ("released", "other"):
        runs.run(photos, tmp_path / name, "--weights", str(tmp_path / f"{name}.pth"), "--steps", "1", generator="cyclegan")
        assert capsys.readouterr().out.count("matched by order and shapes") == (name == "other")
    assert runs.files(tmp_path / "released") == runs.files(tmp_path / "other") != {}
    # one run for both: the fingerprint is that of the weights
    runs.run(photos, tmp_path / "released", "--weights", str(tmp_path / "other.pth"), "--steps", "1", generator="cyclegan")
    assert "1 are done already" in capsys.readouterr().out


REFUSED: dict[str, tuple[Callable[[dict[str, Tensor], Path], object], str]] = {
    "another architecture": (lambda state, path: tiny.build().net.state_dict(), "nearest architecture is StarGAN"),
    "another shape": (
        lambda state, path: {name: w[:1] if name == "model.4.weight" else w for name, w in state.items()},
        "1 of another shape (model.4.weight (1, 4, 3, 3) instead of (8, 4, 3, 3))",
    ),
    "without a layer": (
        lambda state, path: SPELLINGS["block"]({name: w for name, w in state.items() if "model.4." not in name}),
        "missing",
    ),
    "no order": (
        lambda state, path: dict(
            sorted((name.replace("block.1.", "block.b.").replace("block.5.", "block.a."), w) for name, w in state.items())
        ),
        "do not tell the order",
    ),
    "code": (lambda state, path: {**state, "run": Payload(path)}, "pickled code (posix.mkdir), which is never run"),
    "two generators": (lambda state, path: {"A": state, "B": state}, "no single set of weights in it; it holds A, B; save the one"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_weights_that_do_not_fit_are_refused_in_one_line_that_names_the_option(
    photos: Path, tmp_path: Path, capsys: Said, state: dict[str, Tensor], case: str
) -> None:
    content, reason = REFUSED[case]
    torch.save(content(state, tmp_path / "made by the payload"), tmp_path / "w.pth")
    assert runs.run(photos, tmp_path / "out", "--weights", str(tmp_path / "w.pth"), generator="cyclegan") == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"--weights {tmp_path / 'w.pth'}" in line
    assert reason in line
    assert not (tmp_path / "made by the payload").exists()
    assert not (tmp_path / "out").exists()
