"""The command line as a user meets it: help, typos, wrong values, YAML; nothing here computes."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline import __version__, protect_dataset
from pipeline.cli import main, parse_protect, protect
from pipeline.disruption.recipes import RECIPES
from pipeline.generators.cyclegan import CycleGANGenerator
from pipeline.jobs.settings import read_settings
from pipeline.protection.options import ConfigError, ProtectConfig
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
    return parse_protect(words, prog="disrupt protect", defaults={})


def test_the_help_explains_every_option_with_its_default(capsys: Said) -> None:
    assert call("protect", "--help") == 0
    entries = [re.sub(r"[\s│]+", " ", entry) for entry in re.split(r"\n\W (?=--)", capsys.readouterr().out)]
    about = {entry.split(maxsplit=1)[0].rstrip(","): entry for entry in entries[1:]}
    for field in dataclasses.fields(ProtectConfig)[2:]:
        entry = about["--" + field.name.replace("_", "-")]
        assert re.search(r"\w{3,}.* \w{3,}.*\(default: [^)]+\)", entry), entry
        assert "None" not in entry
    assert all(recipe in about["--recipe"] for recipe in RECIPES)


def test_without_a_verb_the_verbs_are_shown(capsys: Said) -> None:
    assert call() == 2
    assert call("--help") == 0
    assert capsys.readouterr().out.count("protect") >= 2
    assert call("--version") == 0
    assert capsys.readouterr().out.strip() == __version__


def test_a_wrong_verb_is_refused_with_the_verbs(capsys: Said) -> None:
    assert call("protet", "a", "b") == 2
    assert "no verb 'protet'" in (said := capsys.readouterr().err)
    assert "protect" in said


def test_a_misspelt_flag_is_refused_with_the_nearest(capsys: Said) -> None:
    assert "--epsilon" in refused(capsys, "a", "b", "--epsilo", "3")


def test_a_value_of_the_wrong_kind_is_refused(capsys: Said) -> None:
    assert "--epsilon" in refused(capsys, "a", "b", "--epsilon", "six")
    assert "png" in refused(capsys, "a", "b", "--format", "gif")


def test_places_are_needed(capsys: Said) -> None:
    assert "IN" in refused(capsys)
    assert "OUT" in refused(capsys, "a")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epsilon", "0"], "--epsilon must be from 1 to 64"),
        (["--epsilon", "300"], "not 300"),
        (["--recipe", "pdg"], "did you mean pgd?"),
        (["--classes", "Smil"], "did you mean 'Smile'? its classes: Smile, Glasses"),
        (["--layer", "main.77"], "no layer 'main.77'; near: main.7"),
        (["--generator", "stargan-face"], "did you mean 'stargan-faces'?"),
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


def test_a_bug_is_not_dressed_up_as_a_wrong_call(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(config: ProtectConfig, **options: object) -> int:
        raise ValueError("not the user's fault")

    monkeypatch.setattr("pipeline.protection.run.run_protect", bug)
    with pytest.raises(ValueError, match="not the user's fault"):
        protect([str(photos), "out"])


def test_options_come_from_a_yaml_file_and_flags_win(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("input: in\noutput: out\nepsilon: 4\nstep-size: 1\nclasses: Smile\nblur: none\nlimit: 3\nweights: [a.pt]\n")
    config = parsed("--config", str(file), "--epsilon", "9")
    assert (config.input, config.output, config.epsilon, config.limit) == ("in", "out", 9, 3)
    assert (config.classes, config.blur, config.weights) == (("Smile",), "none", (Path("a.pt"),))
    assert isinstance(config.step_size, float)
    assert parsed("here", "there", f"--config={file}").input == "here"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epsilon: six", "epsilon is 'six', expected a whole number"),
        ("epsilon: true", "expected a whole number"),
        ("steps: 3.5", "expected a whole number"),
        ("region: foo", "expected one of square, whole, box"),
        ("tracking: maybe", "expected true or false"),
        ("classes: [1]", "expected text or a list of such"),
        ("gpus_per_actor: much", "expected a number"),
        ("espilon: 4", "no option 'espilon'"),
        ("config: other.yaml", "no option 'config'"),
        ("- epsilon", "expected 'option: value' lines"),
        ("epsilon: [", "c.yaml"),
    ],
)
def test_a_wrong_line_of_the_yaml_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError) as refusal:
        read_settings(tmp_path / "c.yaml", ProtectConfig)
    assert message in str(refusal.value)


def test_a_yaml_file_that_is_not_there_is_refused(capsys: Said, tmp_path: Path) -> None:
    assert "nowhere.yaml" in refused(capsys, "a", "b", "--config", tmp_path / "nowhere.yaml")
    assert "--config" in refused(capsys, "a", "b", "--config")


def test_the_job_script_takes_the_same_words_and_runs_on_ray_by_default(
    capsys: Said, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[ProtectConfig] = []

    def note(config: ProtectConfig, **options: object) -> int:
        seen.append(config)
        return 0

    monkeypatch.setattr("pipeline.protection.run.run_protect", note)
    for words in (["--epsilon", "4"], ["--engine", "local"]):
        monkeypatch.setattr("sys.argv", ["protect_dataset.py", str(photos), "out", *words])
        assert protect_dataset.main() == 0
    assert [(config.engine, config.epsilon) for config in seen] == [("ray", 4), ("local", 6)]
