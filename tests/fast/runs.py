"""Whole runs of `disrupt protect` in this process, without Ray and MLflow, and what they leave behind."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.storage import Folder
from tests.fast.tiny import BUILD
from tests.verbs import protect


def run(source: Path | str, out: Path | str, *words: str, generator: str = BUILD) -> int:
    """The exit code of a short run with a tiny generator."""
    quick = ["--generator", generator, "--steps", "4", "--examples", "1", "--engine", "local", "--no-tracking"]
    return protect([str(source), str(out), *quick, *words])


def rows(out: Path) -> dict[str, dict[str, Any]]:
    """The manifest by key."""
    found = pq.read_table(out / "manifest.parquet").to_pylist()
    assert len({row["key"] for row in found}) == len(found)
    return {row["key"]: row for row in found}


def statuses(out: Path) -> dict[str, str]:
    """The status of each key."""
    return {key: row["status"] for key, row in rows(out).items()}


def files(folder: Path) -> dict[str, bytes]:
    """The protected files by relative name."""
    found = (path for path in folder.rglob("*") if path.is_file() and ".disrupt" not in path.parts and path.name != "report.html")
    found = (path for path in found if path.suffix != ".parquet")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def failing(names: str, monkeypatch: pytest.MonkeyPatch, *, after: int, error: BaseException) -> None:
    """The writing of files whose names fit the pattern works some times, then raises."""
    real, left = Folder.write, after

    def write(folder: Folder, name: str, data: bytes | memoryview, **options: Any) -> str:
        nonlocal left
        left -= fnmatch(name, names)
        if left < 0:
            raise error
        return real(folder, name, data, **options)

    monkeypatch.setattr(Folder, "write", write)
