"""Paths of the command line: local ones become absolute in every verb, whether typed or from a settings file; all else stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.cli import VERBS, run_verb
from pipeline.containers.find import find_photos
from pipeline.jobs.options import flat
from tests.fast import runs, tiny

PATHS: dict[str, dict[str, Any]] = {
    "protect": {
        "input": "in", "output": "o/../out", "weights": ["a.pt", "b.pt"], "reference": "goal.png", "signals": "s.safetensors",
        "key_file": "key", "universal": "u.safetensors",
    },
    "evaluate": {"originals": "in", "protected": "out", "out": "results", "weights": ["a.pt", "b.pt"]},
    "detect": {"input": "in", "signals": "s.safetensors", "out": "results", "key_file": "key"},
    "train": {"data": "in", "output": "out", "init_from": "state.pt", "vgg": "vgg.pt", "weights": ["a.pt", "b.pt"]},
    "tune": {"data": "in", "output": "out", "weights": ["a.pt", "b.pt"], "held_out_weights": ["c.pt"]},
    "universal": {"faces": "in", "output": "out", "weights": ["a.pt", "b.pt"]},
}  # fmt: skip
"""Every path option of each verb but --config; the first of them are positional."""
POSITIONAL = ("input", "output", "originals", "protected", "data", "faces")
SHIPPED = [("protect", "weights"), ("protect", "signals"), ("evaluate", "weights"), ("detect", "signals"), ("train", "weights")]
SHIPPED += [("tune", "weights"), ("tune", "held_out_weights"), ("universal", "weights")]

Parse = Callable[..., dict[str, Any]]


@pytest.fixture
def parse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Parse:
    """The options that a verb runs with when it is called in ``tmp_path``."""
    monkeypatch.chdir(tmp_path)

    def options(verb: str, values: dict[str, Any], *more: str) -> dict[str, Any]:
        seen: list[Any] = []

        def note(config: Any, **others: object) -> int:
            seen.append(config)
            return 0

        monkeypatch.setattr(VERBS[verb].run.replace(":", "."), note)
        assert run_verb(verb, [*words(verb, values), *more]) == 0
        return flat(seen[0])

    return options


def words(verb: str, values: dict[str, Any]) -> list[str]:
    """The command line of these options; a detect's IN is its only positional one."""
    positional = [name for name in values if name in POSITIONAL]
    typed = [str(values[name]) for name in positional]
    for name in values.keys() - set(positional):
        value = values[name]
        typed += ["--" + name.replace("_", "-"), *map(str, value if isinstance(value, list) else [value])]
    return typed


def texts(value: object) -> str | list[str]:
    return [str(one) for one in value] if isinstance(value, tuple) else str(value)


def absolute(folder: Path, value: str | list[str]) -> str | list[str]:
    return [f"{folder}/{one}" for one in value] if isinstance(value, list) else f"{folder}/{value}"


@pytest.mark.parametrize("verb", PATHS)
def test_typed_paths_are_absolute(verb: str, parse: Parse, tmp_path: Path) -> None:
    options = parse(verb, PATHS[verb])
    assert {name: texts(options[name]) for name in PATHS[verb]} == {n: absolute(tmp_path, v) for n, v in PATHS[verb].items()}


@pytest.mark.parametrize("verb", PATHS)
def test_paths_of_a_settings_file_are_absolute_from_the_working_folder(verb: str, parse: Parse, tmp_path: Path) -> None:
    (tmp_path / "settings").mkdir()
    required = {name: value for name, value in PATHS[verb].items() if name in POSITIONAL or (verb, name) == ("detect", "signals")}
    (tmp_path / "settings" / "c.yaml").write_text(yaml.safe_dump(PATHS[verb]))
    options = parse(verb, required, "--config", "settings/c.yaml")
    assert {name: texts(options[name]) for name in PATHS[verb]} == {n: absolute(tmp_path, v) for n, v in PATHS[verb].items()}
    assert options["config"] == tmp_path / "settings" / "c.yaml"


@pytest.mark.parametrize("verb", PATHS)
def test_no_option_of_the_type_path_is_forgotten(verb: str, parse: Parse) -> None:
    options = parse(verb, PATHS[verb])
    paths = {n for n, v in options.items() if any(isinstance(one, Path) for one in (v if isinstance(v, tuple) else (v,)))}
    assert paths <= PATHS[verb].keys()


@pytest.mark.parametrize(("verb", "option"), SHIPPED)
def test_the_word_for_what_comes_with_the_package_stays(verb: str, option: str, parse: Parse) -> None:
    assert texts(parse(verb, PATHS[verb] | {option: "shipped"})[option]) in ("shipped", ["shipped"])


def test_other_words_stay_where_they_are_words_and_are_folders_elsewhere(parse: Parse, tmp_path: Path) -> None:
    assert parse("train", {"data": "samples", "output": "samples"})["data"] == "samples"
    assert parse("tune", {"data": "samples", "output": "shipped"})["output"] == tmp_path / "shipped"
    options = parse("protect", {"input": "samples", "output": "black", "reference": "black"})
    assert [options[name] for name in ("input", "output", "reference")] == [f"{tmp_path}/samples", f"{tmp_path}/black", "black"]


@pytest.mark.parametrize("place", ["s3://bucket/photos", "file:///data/photos", "gs://bucket/*.jpg?anonymous=true", "", " "])
def test_uris_and_nothing_stay(place: str, parse: Parse) -> None:
    assert parse("protect", {"input": place, "output": place})["output"] == place
    assert parse("evaluate", {"originals": place, "protected": "x", "out": place})["out"] == place


def test_what_is_typed_as_absolute_or_left_out_stays(parse: Parse, tmp_path: Path) -> None:
    options = parse("protect", {"input": "/data/photos", "output": f"{tmp_path}/out"})
    assert (options["input"], options["output"], options["weights"]) == ("/data/photos", f"{tmp_path}/out", ())
    assert [options[name] for name in ("reference", "signals", "universal", "key_file", "config")] == [None] * 5


@pytest.mark.parametrize("name", ["photos", "[2024] photos"])
def test_a_pattern_finds_the_same_photos_under_the_same_keys(
    name: str, tmp_path: Path, parse: Parse, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.photo_folder(tmp_path / name / "in")
    monkeypatch.chdir(tmp_path / name)
    source = parse("protect", {"input": "in/**/*.jpg", "output": "out"})["input"]
    assert [ref.key for ref in find_photos(source).refs] == ["a.jpg", "in/c.jpg"]


def test_a_run_whose_folders_moved_together_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pipeline.protection.run.write_report", lambda *arguments, **options: "")
    tiny.photo_folder(tmp_path / "here" / "photos")
    (tmp_path / "here" / "goal.png").write_bytes(tiny.photo_bytes(suffix=".png"))
    for folder in ("here", "there"):
        if folder == "there":
            (tmp_path / "here").rename(tmp_path / "there")
        monkeypatch.chdir(tmp_path / folder)
        code = runs.run("photos", Path("out"), "--reference", "goal.png", "--aim", "towards")
        assert code != 2
    assert "3 are done already; 0 to go" in capsys.readouterr().out
