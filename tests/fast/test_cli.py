"""The command line as a user meets it: help, typos, wrong values, YAML; nothing here computes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.cli import exit_code, main
from pipeline.generators.cyclegan import CycleGANGenerator
from pipeline.jobs.settings import parse
from pipeline.protection.options import ProtectConfig
from tests.fast.s3 import s3_store
from tests.fast.tiny import BUILD, photo_folder

Said = pytest.CaptureFixture[str]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return photo_folder(tmp_path / "photos")


def call(*words: str | Path) -> int:
    """The exit code of `disrupt ...`."""
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


def refused(said: Said, *words: str | Path) -> str:
    """What a refused `disrupt protect ...` says on stderr, on one line."""
    assert call("protect", "--no-tracking", *words) == 2
    out, err = said.readouterr()
    assert "Traceback" not in err + out
    return re.sub(r"[\s│]+", " ", err)


def parsed(*words: str) -> ProtectConfig:
    return parse(ProtectConfig, words, prog="disrupt protect")


def test_a_value_of_the_wrong_kind_is_refused(capsys: Said) -> None:
    assert "--epsilon" in refused(capsys, "a", "b", "--epsilon", "six")
    assert "png" in refused(capsys, "a", "b", "--format", "gif")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epsilon", "0"], "--epsilon must be from 1 to 64"),
        (["--epsilon", "300"], "not 300"),
        (["--recipe", "pdg"], "did you mean pgd?"),
        (["--classes", "Smil"], "did you mean Smile? (known: Smile, Glasses)"),
        (["--layer", "main.77"], "layer 'main.77' is unknown; did you mean main.7?"),
        (["--generator", "stargan-face"], "did you mean stargan-faces?"),
        (["--generator", "stargan"], "give the released file with --weights FILE"),
        (["--generator", "stargan", "--weights", "nowhere.pt"], "nowhere.pt: no such weights file"),
        (["--generator", ":build"], "expected a name of the table"),
        (["--generator", "no_such_module:build"], "cannot import 'no_such_module'"),
        (["--generator", "tests.fast.tiny:nothing"], "no function 'nothing'"),
        (["--generator", "tests.fast.tiny:not_a_generator"], "returned str; it must return"),
        (["--reference", "nowhere.png"], "or an image file"),
    ],
)
def test_a_wrong_value_is_refused_with_what_was_expected(capsys: Said, photos: Path, words: list[str], message: str) -> None:
    given = words if "--generator" in words else ["--generator", BUILD, *words]
    assert message in refused(capsys, photos, photos.with_name("out"), *given)
    assert not photos.with_name("out").exists()


def test_places_that_cannot_be_are_refused(capsys: Said, photos: Path, tmp_path: Path) -> None:
    empty, file, out = tmp_path / "empty", tmp_path / "file", tmp_path / "out"
    empty.mkdir()
    file.write_text("x")
    for source, target, message in [
        (tmp_path / "missing", out, "no such folder"),
        (empty, out, "no photos found"),
        (photos, photos / "out", "lies inside the input"),
        (photos, photos, "is the input itself"),
        (photos, tmp_path, "lies inside the output"),
        (photos, file, "is a file; the output has to be a folder"),
        (photos, file / "out", "cannot be"),
        ("", out, "the place is empty"),
        (photos, "", "the place is empty"),
        (photos, "nosuch://x/y", "cannot be opened"),
    ]:
        assert message in refused(capsys, str(source), str(target), "--generator", BUILD), message
    (empty / "mine.txt").write_text("mine")
    assert "is not empty and was not made by disrupt" in refused(capsys, photos, empty, "--generator", BUILD)


@pytest.mark.parametrize(
    ("answer", "methods", "advice"),
    [
        ((403, "AccessDenied"), "GET HEAD PUT", "check the credentials"),
        ((403, "AccessDenied"), "PUT", "check the credentials"),
        ((403, "InvalidAccessKeyId"), "GET PUT", "check the credentials"),
        ((403, "SignatureDoesNotMatch"), "GET PUT", "check the credentials"),
        ((400, "ExpiredToken"), "GET HEAD PUT", "check the credentials"),
        ((404, "NoSuchBucket"), "GET HEAD PUT", "no such bucket: create it"),
    ],
)
def test_an_output_that_refuses_ends_the_call_with_what_to_do(
    capsys: Said, photos: Path, answer: tuple[int, str], methods: str, advice: str
) -> None:
    with s3_store() as store:
        store.refuse, store.refused = answer, methods
        said = refused(capsys, photos, store.uri, "--generator", BUILD, "--engine", "local")
    assert advice in said
    assert said.count("disrupt protect:") == 1


@pytest.mark.parametrize(("answer", "says"), [((403, "AccessDenied"), "check the credentials"), ((404, "NoSuchBucket"), "no such")])
def test_an_input_that_refuses_ends_the_call_with_what_to_do(
    capsys: Said, tmp_path: Path, answer: tuple[int, str], says: str
) -> None:
    with s3_store() as store:
        store.refuse = answer
        assert says in refused(capsys, store.uri, tmp_path / "out", "--generator", BUILD, "--engine", "local")


def test_an_error_of_the_disk_that_nobody_expected_keeps_its_traceback() -> None:
    def run() -> int:
        raise FileNotFoundError(2, "No such file or directory", "ACCESS 403.jpg")

    with pytest.raises(FileNotFoundError):
        exit_code(run, prog="disrupt", after_stop="")


def test_a_help_that_nobody_reads_ends_without_a_traceback() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    words = [sys.executable, "-m", "pipeline.cli", "detect", "--help"]
    ended = subprocess.run(words, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_a_pipe_that_breaks_elsewhere_keeps_its_traceback() -> None:
    def run() -> int:
        raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(BrokenPipeError):
        exit_code(run, prog="disrupt", after_stop="")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_without_permission_is_refused(capsys: Said, photos: Path, tmp_path: Path) -> None:
    (closed := tmp_path / "closed").mkdir(mode=0o500)
    assert "cannot be written" in refused(capsys, photos, closed / "out", "--generator", BUILD)


def test_words_in_brackets_and_colons_are_shown_as_they_are(capsys: Said, tmp_path: Path) -> None:
    assert "[red]:b:" in refused(capsys, tmp_path / "[red]:b:", tmp_path / "out", "--generator", BUILD)


def test_weights_of_another_architecture_are_refused_with_the_keys(capsys: Said, photos: Path, tmp_path: Path) -> None:
    torch.save(CycleGANGenerator(ngf=2).state_dict(), tmp_path / "cycle.pt")
    said = refused(capsys, photos, tmp_path / "out", "--generator", "stargan", "--weights", tmp_path / "cycle.pt")
    assert "cycle.pt" in said
    assert "main." in said


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


def test_weights_with_code_in_them_are_refused_and_the_code_is_not_run(capsys: Said, photos: Path, tmp_path: Path) -> None:
    torch.save({"main.0.weight": Evil(tmp_path / "ran")}, tmp_path / "evil.pt")
    said = refused(capsys, photos, tmp_path / "out", "--generator", "stargan", "--weights", tmp_path / "evil.pt")
    assert "evil.pt" in said
    assert not (tmp_path / "ran").exists()


@pytest.mark.usefixtures("no_gpu")
def test_a_gpu_that_is_not_there_is_refused_at_once(capsys: Said, photos: Path, tmp_path: Path) -> None:
    words: list[str | Path] = [photos, tmp_path / "out", "--generator", BUILD, "--gpus-per-actor", "1", "--engine", "local"]
    assert "torch sees none here" in refused(capsys, *words)
    assert not (tmp_path / "out").exists()


def test_options_come_from_a_yaml_file_and_flags_win(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("input: in\noutput: out\nepsilon: 4\nstep-size: 1\nclasses: Smile\nblur: none\nlimit: 3\nweights: [a.pt]\n")
    config = parsed("--config", str(file), "--epsilon", "9")
    places = (str(Path(name).absolute()) for name in ("in", "out"))
    assert (config.input, config.output, config.epsilon, config.photos.limit) == (*places, 9, 3)
    assert (config.classes, config.blur, config.weights) == (("Smile",), "none", (Path("a.pt").absolute(),))
    assert isinstance(config.step_size, float)
    assert parsed("here", "there", f"--config={file}").input_as_typed == "here"
