"""The folder of a search: whose it is, one job at a time, and what a search that goes on has to know."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.jobs.options import ConfigError
from pipeline.ledger.layout import OWN
from pipeline.ledger.lock import take_lock
from pipeline.storage import open_storage, write_atomic
from tune.config import SearchConfig, signature

SEARCH_FILE, RECORDS_FILE = f"{OWN}/search.json", f"{OWN}/records.json"
TRIALS_FOLDER, RAY_FOLDER, BEST_FOLDER = f"{OWN}/trials", f"{OWN}/ray", "best"
TABLE_FILE, CSV_FILE, REPORT_FILE, BEST_FILE = "trials.parquet", "trials.csv", "report.html", "best.yaml"


@contextmanager
def claimed(config: SearchConfig) -> Iterator[None]:
    """Inside, OUT belongs to this job.

    Raises ConfigError when it holds something else or a search with other options, LedgerError when another job works in it.
    """
    _check_owner(config)
    fs, path = open_storage(config.out)
    lock = take_lock(fs, path)
    try:
        write_json(config.out / SEARCH_FILE, {"signature": signature(config), "options": config.what_changes_results()})
        yield
    finally:
        lock.release()


def trial_folder(out: Path, trial_id: str) -> Path:
    """Where a trial keeps its checkpoint and its reports."""
    return out / TRIALS_FOLDER / trial_id


def write_json(path: Path, facts: Any) -> None:
    """Write plain values to a file, complete or not at all."""
    write_bytes(path, json.dumps(facts, indent=1, default=str).encode())


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write a file complete or not at all, with its folder if need be."""
    fs, name = open_storage(path)
    write_atomic(fs, name, data)


def read_json(path: Path) -> dict[str, Any]:
    """The values of a file that `write_json` wrote; empty when there is none."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def _check_owner(config: SearchConfig) -> None:
    out, kept = config.out, read_json(config.out / SEARCH_FILE)
    if not kept:
        if out.is_dir() and any(entry.name != OWN for entry in out.iterdir()):
            raise ConfigError(f"OUT {out} is not empty and was not made by disrupt tune: give another folder")
        return
    if kept["signature"] == signature(config):
        return
    before, now = kept["options"], json.loads(json.dumps(config.what_changes_results(), default=str))
    names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    changes = ", ".join(f"{name} {before.get(name)} (now {now.get(name)})" for name in names) or "another version"
    raise ConfigError(f"OUT {out} holds a search with other options: {changes}. Give another folder")
