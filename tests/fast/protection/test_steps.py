"""`disrupt protect --step-rule`, `--diversity` and `--smooth-gradient` in whole runs: bytes, resumed runs, refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fast.runs import failing, files, run
from tests.fast.tiny import photo_folder


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("pipeline.protection.run.write_report", lambda *arguments, **options: "")
    return photo_folder(tmp_path / "photos", {f"{name}.jpg": i for i, name in enumerate("abcd")})


WAYS = (
    ["--step-rule", "apgd"],
    ["--recipe", "pgd", "--step-rule", "apgd", "--class-schedule", "weakest", "--smooth-gradient", "1"],
    ["--recipe", "pgd", "--diversity", "0.7", "--momentum", "1"],
    ["--diversity", "0.5", "--smooth-gradient", "0.5", "--jitter"],
)


@pytest.mark.parametrize("words", WAYS, ids=" ".join)
def test_neither_a_kill_nor_the_parts_of_a_run_change_a_byte(
    photos: Path, tmp_path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = run(photos, tmp_path / "calm", *words)
    with monkeypatch.context() as patched:
        failing("?.png", patched, after=1, error=KeyboardInterrupt())
        assert run(photos, tmp_path / "killed", *words, "--part-photos", "1") == 130
    assert run(photos, tmp_path / "killed", *words, "--part-photos", "3") == code
    assert files(tmp_path / "killed") == files(tmp_path / "calm")
    assert run(photos, tmp_path / "plain", *words[2:] if words[0] == "--recipe" else ()) in (0, 1)
    assert files(tmp_path / "plain") != files(tmp_path / "calm")


def test_a_run_is_not_gone_on_with_by_other_steps(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run(photos, out, "--recipe", "pgd") in (0, 1)
    before = files(out)
    for words in (["--step-rule", "apgd"], ["--diversity", "0.5"], ["--smooth-gradient", "1"]):
        capsys.readouterr()
        assert run(photos, out, "--recipe", "pgd", *words) == 2
        said = capsys.readouterr().err
        assert words[0].strip("-").replace("-", "_") in said
    assert files(out) == before


def test_what_does_not_go_with_apgd_ends_with_code_2_and_the_name_of_the_option(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(photos, tmp_path / "out", "--step-rule", "apgd", "--momentum", "0.5") == 2
    assert "--momentum does not go with --step-rule apgd" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
