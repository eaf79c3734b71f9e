"""Parts: a commit is all or nothing, its sums lie in it, and the manifest is all parts put together."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.ledger import parts
from pipeline.ledger.errors import LedgerError, is_disk_full
from pipeline.ledger.journal import Journal, Trying
from pipeline.ledger.parts import commit_part, committed, committed_sums, read_part, read_parts, read_sums, write_manifest
from pipeline.ledger.schema import MANIFEST, ManifestRow, rows_to_table
from pipeline.storage import Folder

FIRST, SECOND = "000000", "000001"


def commit(folder: Folder, name: str, *keys: str) -> None:
    rows = [ManifestRow.skipped(key, stage="decode", reason="too small") for key in keys]
    commit_part(folder, name, rows_to_table(rows, shard=name), {"rows": len(keys)})


@pytest.mark.parametrize("place", ["{tmp}/out #1 é", "memory://parts{tmp}"])
def test_committed_rows_are_the_manifest_sorted_by_key(tmp_path: Path, place: str) -> None:
    folder = Folder(place.format(tmp=tmp_path))
    assert committed(folder) == set()
    commit(folder, SECOND, "c", "a")
    commit(folder, FIRST, "é", "b")
    assert committed(folder) == {FIRST, SECOND}
    path = write_manifest(folder, [FIRST, SECOND], 4)
    with folder.fs.open_input_file(path) as file:
        table = pq.read_table(file)
    assert table.schema.equals(MANIFEST)
    found = list(zip(table["key"].to_pylist(), table["shard"].to_pylist(), strict=True))
    assert found == [("a", SECOND), ("b", FIRST), ("c", SECOND), ("é", FIRST)]


def test_many_rows_are_written_part_by_part_and_too_many_not_as_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path)
    commit(folder, FIRST, "b")
    commit(folder, SECOND, "a")
    monkeypatch.setattr(parts, "AT_HAND", 1)
    assert pq.read_table(write_manifest(folder, [FIRST, SECOND], 2))["key"].to_pylist() == ["b", "a"]
    monkeypatch.setattr(parts, "ONE_FILE", 2)
    assert write_manifest(folder, [FIRST, SECOND], 2) is None
    assert pq.read_table(tmp_path / "manifest")["key"].to_pylist() == ["b", "a"], "the folder is a dataset"


def test_the_sums_of_a_part_are_read_without_its_rows(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    assert committed_sums(folder, FIRST) is None
    commit(folder, FIRST, "a", "b")
    commit(folder, SECOND, "c")
    assert committed_sums(folder, FIRST) == {"rows": 2}
    assert list(read_sums(folder, [SECOND, FIRST])) == [{"rows": 1}, {"rows": 2}]
    assert [table["key"].to_pylist() for table in read_parts(folder, [SECOND, FIRST], ["key"])] == [["c"], ["a", "b"]]


def test_committing_a_part_again_gives_the_same_bytes(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    commit(folder, FIRST, "a", "b")
    once = folder.read(f"manifest/{FIRST}.parquet")
    commit(folder, FIRST, "b", "a")
    assert folder.read(f"manifest/{FIRST}.parquet") == once


def test_a_part_that_is_not_complete_under_its_name_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path)
    commit(folder, FIRST, "a")
    (tmp_path / f"manifest/.{SECOND}.parquet.0123abcd.tmp").write_bytes(b"PAR1")
    (tmp_path / f"manifest/{FIRST} (copy).parquet").write_bytes(b"PAR1")
    (tmp_path / "manifest/000001.png").write_bytes(b"a protected photo")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LedgerError, match="no space left") as caught:
        commit(folder, SECOND, "b")
    assert is_disk_full(caught.value)
    assert committed(folder) == {FIRST}


def test_a_damaged_part_is_named_with_what_to_do(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write(f"manifest/{SECOND}.parquet", b"no parquet")
    for read in (read_part, committed_sums):
        with pytest.raises(LedgerError, match=rf"{SECOND}.*Remove that file"):
            read(folder, SECOND)
    with pytest.raises(LedgerError, match="cannot be read now"):
        read_part(folder, FIRST)


@pytest.mark.parametrize("place", ["{tmp}/out", "memory://journal{tmp}"])
def test_a_journal_keeps_rows_and_what_was_tried_until_it_is_cleared(tmp_path: Path, place: str) -> None:
    folder = Folder(place.format(tmp=tmp_path))
    journal = Journal(folder, FIRST)
    assert (journal.rows(), journal.trying()) == ([], None)
    for key in "ab":
        journal.add(rows_to_table([ManifestRow.skipped(key, stage="decode", reason="x")], shard=FIRST))
    journal.say(Trying("c", "read", 2))
    again = Journal(folder, FIRST)
    assert [table["key"].to_pylist() for table in again.rows()] == [["a"], ["b"]]
    assert again.trying() == Trying("c", "read", 2)
    again.calm()
    assert Journal(folder, FIRST).trying() is None
    Journal(folder, FIRST).clear()
    assert Journal(folder, FIRST).rows() == []
    assert Journal(folder, SECOND).rows() == []


def test_a_journal_that_was_cut_off_holds_what_can_be_read(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    Journal(folder, FIRST).add(rows_to_table([ManifestRow.skipped("a", stage="decode", reason="x")], shard=FIRST))
    folder.write(f".disrupt/progress/{FIRST}/000001.parquet", b"PAR1")
    folder.write(f".disrupt/progress/{FIRST}/trying.json", b"{")
    journal = Journal(folder, FIRST)
    assert [table["key"].to_pylist() for table in journal.rows()] == [["a"]]
    assert journal.trying() == Trying()
