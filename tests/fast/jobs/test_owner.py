"""A folder belongs to the job that claimed it: others are refused, and what differs is named."""

from __future__ import annotations

import errno
import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from pipeline.jobs.options import ConfigError
from pipeline.jobs.owner import claim_folder
from pipeline.ledger.errors import LedgerError

RECORD = ".disrupt/work.json"


def claim(out: Path, signature: str = "a", replaces: bool = False, **options: Any) -> AbstractContextManager[None]:
    return claim_folder(
        out, RECORD, verb="do", work="piece of work", signature=signature, options=options, replaces=replaces, hint="; or this one"
    )


def test_a_folder_is_claimed_again_with_the_same_signature_and_holds_the_options(tmp_path: Path) -> None:
    for _ in range(2):
        with claim(tmp_path / "out", rate=1, path=Path("x")):
            (tmp_path / "out" / "result").touch()
    assert json.loads((tmp_path / "out" / RECORD).read_text()) == {"signature": "a", "options": {"rate": 1, "path": "x"}}


def test_a_claim_with_other_options_names_those_that_differ_and_changes_nothing(tmp_path: Path) -> None:
    with claim(tmp_path, rate=None, seed=0, size=8):
        pass
    before = (tmp_path / RECORD).read_bytes()
    with pytest.raises(ConfigError, match=r"other options: rate default \(now 2\), seed 0 \(now default\)\. .*; or this one$"):
        claim(tmp_path, "b", rate=2, size=8).__enter__()
    with pytest.raises(ConfigError, match="another version"):
        claim(tmp_path, "b", rate=None, seed=0, size=8).__enter__()
    assert (tmp_path / RECORD).read_bytes() == before
    with claim(tmp_path, "b", replaces=True, rate=2):
        assert json.loads((tmp_path / RECORD).read_text())["signature"] == "b"


def test_a_folder_of_something_else_and_a_folder_in_use_are_refused(tmp_path: Path) -> None:
    with claim(tmp_path / "used"), pytest.raises(LedgerError):
        claim(tmp_path / "used").__enter__()
    (tmp_path / "mine.txt").touch()
    with pytest.raises(ConfigError, match="was not made by disrupt do"):
        claim(tmp_path).__enter__()


def test_a_full_disk_is_told_in_words_and_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="no space left"), claim(tmp_path):
        raise OSError(errno.ENOSPC, "full")
    with pytest.raises(FileNotFoundError), claim(tmp_path):
        raise FileNotFoundError(errno.ENOENT, "gone")
    with claim(tmp_path):  # both released the lock
        pass
