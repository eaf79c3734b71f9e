"""Which code a result comes from, asked of real checkouts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pipeline.jobs.versions import git_commit, versions


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_of_a_checkout_is_reported_and_changes_are_marked(tmp_path: Path) -> None:
    source = tmp_path / "code.py"
    source.write_text("a = 1\n", encoding="utf-8")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert git_commit(source) == commit
    (tmp_path / "notes.txt").write_text("not tracked", encoding="utf-8")
    assert git_commit(source) == commit
    source.write_text("a = 2\n", encoding="utf-8")
    assert git_commit(source) == f"{commit}-dirty"


def test_code_that_a_checkout_does_not_track_has_no_commit(tmp_path: Path) -> None:
    installed = tmp_path / "site-packages" / "code.py"
    installed.parent.mkdir()
    installed.write_text("a = 1\n", encoding="utf-8")
    assert git_commit(installed) is None
    git(tmp_path, "init", "-q")
    assert git_commit(installed) is None


def test_a_machine_without_git_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit() is None


def test_versions_name_python_the_project_and_the_libraries() -> None:
    found = versions()
    assert {"python", "disrupt", "torch", "pyarrow", "numpy"} <= found.keys()
    assert all(version[0].isdigit() for version in found.values())
