"""What a run left in its output folder, in a form that two runs can be compared in."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

BY_CHANCE = {"seconds", "shard", "signature"}
"""Columns that tell how and with what folder a run was done, not what came of it."""


def digests(out: Path) -> dict[str, str]:
    """SHA-256 of every protected file by its name in the output folder."""
    files = [path for path in out.rglob("*.*") if path.is_file() and path.suffix in {".png", ".webp", ".jpg"}]
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def rows(out: Path) -> list[dict[str, Any]]:
    """The manifest's rows, less what two equal runs may differ in."""
    table = pq.read_table(out / "manifest.parquet")
    return [{name: value for name, value in row.items() if name not in BY_CHANCE} for row in table.to_pylist()]


def statuses(out: Path) -> dict[str, str]:
    """What became of each key; a key that has two rows is an error."""
    found = rows(out)
    assert len({row["key"] for row in found}) == len(found), "a key has two rows"
    return {row["key"]: row["status"] for row in found}


def parts(out: Path) -> int:
    """How many parts are committed."""
    return len(list((out / "manifest").glob("*.parquet")))
