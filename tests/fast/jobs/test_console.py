"""What reaches the terminal: text of files is shown, and obeyed nowhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from pipeline.jobs.console import PlainConsole
from tests.fast.runs import rows, run
from tests.fast.tiny import photo_bytes

EVIL = "evil\x1b[31m\r\x9b2J\x07\u202egpj.jpg"
HARMFUL = set("\x1b\r\x9b\x07\u202e")


def test_names_with_control_characters_are_spelled_out_in_the_summary_and_in_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    (photos := tmp_path / "in\x1b[31m").mkdir()
    for name in ("a.jpg", EVIL):
        (photos / name).write_bytes(photo_bytes())
    assert run(photos, tmp_path / "out") == 0
    assert rows(tmp_path / "out")[EVIL]["status"] == "skipped"
    assert run(tmp_path / EVIL, tmp_path / "other") == 2
    out, err = capsys.readouterr()
    assert not HARMFUL & set(out + err)
    flowing = re.sub(r"[\s│]+", "", out)
    assert "in\\x1b[31m;generator" in flowing
    assert "(evil\\x1b[31m\\x9b2J\\u202egpj.jpg)" in flowing
    assert "evil\\x1b[31m" in err


@pytest.mark.parametrize("wrap", [str, Text, lambda text: Table(text, title=text)])
def test_on_a_terminal_only_the_consoles_own_codes_are_sent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wrap: type[str]
) -> None:
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "200"}.items():
        monkeypatch.setenv(name, value)
    console = PlainConsole(highlight=False)
    console.print(wrap(EVIL), style="bold red", end="\r")
    out = capsys.readouterr().out
    assert "\x1b[1;31m" in out
    assert "\x1b[31m" not in out
    assert "evil\\x1b[31m" in out
    assert not (HARMFUL - {"\x1b", "\r"}) & set(out)
    assert out.count("\r") <= 1


def test_what_is_spelled_out_is_broken_into_lines_and_not_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    PlainConsole().print("x" * 38 + "\x1b[31m!")
    assert capsys.readouterr().out.replace("\n", "") == "x" * 38 + "\\x1b[31m!"
