"""What every verb promises on the command line: help, refusals, settings files, job scripts. Nothing here computes."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest

from pipeline import __version__
from pipeline.cli import VERBS, main
from pipeline.jobs.options import flat
from pipeline.jobs.settings import parse

Said = pytest.CaptureFixture[str]
PLACES = {
    "protect": ["in", "out"],
    "evaluate": ["in", "out"],
    "detect": ["in", "--signals", "b.safetensors"],
    "train": ["in", "out"],
    "tune": ["in", "out"],
    "universal": ["in", "out"],
}
SCRIPTS: dict[str, tuple[str, dict[str, Any]]] = {
    "protect": ("pipeline.protect_dataset", {"engine": "ray"}),
    "evaluate": ("pipeline.evaluate_dataset", {"engine": "ray"}),
    "detect": ("pipeline.detect_dataset", {"engine": "ray"}),
    "train": ("pipeline.train_generator", {"workers": 1}),
    "tune": ("tune.search_signals", {}),
    "universal": ("pipeline.train_universal", {}),
}
verbs = pytest.mark.parametrize("verb", PLACES)


def call(*words: str | Path) -> int:
    """The exit code of `disrupt ...`."""
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


def refusal(said: Said, *words: str | Path) -> str:
    """What a refused `disrupt ...` says on stderr, on one line."""
    assert call(*words) == 2
    out, err = said.readouterr()
    assert "Traceback" not in err + out
    return re.sub(r"[\s│]+", " ", err)


def options(verb: str, *words: str) -> Any:
    return parse(resolve_name(VERBS[verb].options), [*PLACES[verb], *words], prog=verb)


@pytest.fixture
def note(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[Any]]:
    """Replaces the run of a verb; the list that comes back takes the options of each call."""

    def replace(verb: str) -> list[Any]:
        calls: list[Any] = []

        def run(config: Any, **_: object) -> int:
            calls.append(config)
            return 0

        monkeypatch.setattr(VERBS[verb].run.replace(":", "."), run)
        return calls

    return replace


def test_the_table_below_knows_every_verb() -> None:
    assert set(VERBS) == {*PLACES, "doctor"}
    assert SCRIPTS.keys() == PLACES.keys()


@verbs
def test_the_help_explains_every_option_with_its_default(verb: str, capsys: Said) -> None:
    assert call(verb, "--help") == 0
    entries = [re.sub(r"[\s│]+", " ", entry) for entry in re.split(r"\n\W (?=--)", capsys.readouterr().out)]
    about = {entry.split(maxsplit=1)[0].rstrip(","): entry for entry in entries[1:]}
    for name in flat(options(verb)):
        if name in ("input", "output", "originals", "protected", "data", "faces", "input_as_typed", "finder") or (verb, name) == (
            "detect",
            "signals",
        ):
            continue
        entry = about["--" + name.replace("_", "-")]
        assert re.search(r"\w{3,}.* \w{3,}.*\(default: [^)]+\)", entry), entry
        assert "None" not in entry


@verbs
def test_a_misspelt_option_is_refused_with_the_nearest(verb: str, capsys: Said) -> None:
    assert "--experiment" in refusal(capsys, verb, *PLACES[verb], "--experimnt", "mine")


@verbs
def test_a_value_of_the_wrong_kind_is_refused_with_its_option(verb: str, capsys: Said) -> None:
    assert "--threads" in refusal(capsys, verb, *PLACES[verb], "--threads", "many")


@verbs
@pytest.mark.parametrize("value", ["0", "-1", "100000"])
def test_a_value_out_of_range_is_refused_with_its_option(verb: str, value: str, tmp_path: Path, capsys: Said) -> None:
    places = [str(tmp_path / word) if not word.startswith("--") else word for word in PLACES[verb]]
    (tmp_path / "in").mkdir()
    assert "--threads" in refusal(capsys, verb, *places, "--threads", value)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@verbs
def test_places_are_needed(verb: str, capsys: Said) -> None:
    assert "required" in refusal(capsys, verb)


@verbs
@pytest.mark.parametrize(
    "text",
    [
        "threads: many",
        "threads: true",
        "tracking: maybe",
        "thraeds: 2",
        "config: other.yaml",
        "- threads",
        "threads: [",
        "threads: {a: 1}",
    ],
)
def test_a_wrong_line_of_a_settings_file_is_refused(verb: str, text: str, tmp_path: Path, capsys: Said) -> None:
    (tmp_path / "c.yaml").write_text(text)
    message = refusal(capsys, verb, *PLACES[verb], "--config", tmp_path / "c.yaml")
    assert "c.yaml" in message or "--threads" in message


@verbs
def test_a_settings_file_that_is_not_there_is_refused(verb: str, tmp_path: Path, capsys: Said) -> None:
    assert "nowhere.yaml" in refusal(capsys, verb, *PLACES[verb], "--config", tmp_path / "nowhere.yaml")
    assert "--config" in refusal(capsys, verb, *PLACES[verb], "--config")


@verbs
def test_options_come_from_a_settings_file_and_words_win(verb: str, tmp_path: Path) -> None:
    on_ray = "address" in flat(options(verb))
    (tmp_path / "c.yaml").write_text("threads: 3\ntracking: false\nexperiment: mine\n" + "address: here:1\n" * on_ray)
    values = flat(options(verb, "--config", str(tmp_path / "c.yaml"), "--threads", "4"))
    assert (values["threads"], values["tracking"], values["experiment"]) == (4, False, "mine")
    assert values.get("address", "here:1") == "here:1"


@verbs
def test_the_places_may_stand_in_the_settings_file(verb: str, tmp_path: Path) -> None:
    names = [
        name for name, value in flat(options(verb)).items() if Path(str(value)).name in PLACES[verb] and name != "input_as_typed"
    ]
    (tmp_path / "c.yaml").write_text("".join(f"{name}: {name}\n" for name in names))
    values = flat(parse(resolve_name(VERBS[verb].options), ["--config", str(tmp_path / "c.yaml")], prog=verb))
    assert names
    assert {name: Path(values[name]).name for name in names} == {name: name for name in names}


@verbs
def test_the_job_script_takes_the_same_words_and_runs_on_ray_by_default(
    verb: str, note: Callable[[str], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = note(verb)
    module, defaults = SCRIPTS[verb]
    monkeypatch.setattr(sys, "argv", ["script.py", *PLACES[verb], "--threads", "2"])
    assert import_module(module).main() == 0
    (config,) = calls
    assert flat(config) == flat(options(verb, "--threads", "2")) | defaults


@verbs
def test_a_bug_keeps_its_traceback(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(config: object, **_: object) -> int:
        raise ValueError("not the user's fault")

    monkeypatch.setattr(VERBS[verb].run.replace(":", "."), bug)
    with pytest.raises(ValueError, match="not the user's fault"):
        main([verb, *PLACES[verb]])


@verbs
def test_ctrl_c_ends_with_130_and_says_what_is_kept(verb: str, monkeypatch: pytest.MonkeyPatch, capsys: Said) -> None:
    def stop(config: object, **_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(VERBS[verb].run.replace(":", "."), stop)
    assert call(verb, *PLACES[verb]) == 130
    assert "stopped" in capsys.readouterr().err


def test_without_a_verb_the_verbs_are_shown(capsys: Said) -> None:
    assert call() == 2
    assert call("--help") == 0
    printed = capsys.readouterr().out
    assert all(printed.count(f"\n  {verb} ") == 2 for verb in VERBS)
    assert call("--version") == 0
    assert capsys.readouterr().out.strip() == __version__


def test_a_wrong_verb_is_refused_with_the_verbs(capsys: Said) -> None:
    message = refusal(capsys, "protet", "a", "b")
    assert all(verb in message for verb in ["protet", *VERBS])
