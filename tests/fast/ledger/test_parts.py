"""Parts: a commit is all or nothing, and the manifest has one row for each key."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ledger.errors import LedgerError, is_disk_full
from pipeline.ledger.parts import attempts, commit_part, committed_ids, read_columns, read_rows, write_manifest
from pipeline.ledger.plan import attempt_of, shard_id
from pipeline.ledger.schema import MANIFEST, ManifestRow
from pipeline.storage import Folder

FIRST, SECOND = "0000000000000001", "0000000000000002"


def row(key: str, reason: str = "too small") -> ManifestRow:
    return ManifestRow.skipped(key, stage="decode", reason=reason)


def test_a_folder_without_parts_has_an_empty_manifest(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    assert committed_ids(folder) == set()
    assert read_rows(folder).equals(MANIFEST.empty_table())
    assert pq.read_table(write_manifest(folder)).num_rows == 0


@pytest.mark.parametrize("place", ["{tmp}/out #1 é", "memory://parts{tmp}"])
def test_committed_rows_are_the_manifest_sorted_by_key(tmp_path: Path, place: str) -> None:
    folder = Folder(place.format(tmp=tmp_path))
    commit_part(folder, SECOND, [row("c"), row("a")])
    commit_part(folder, FIRST, [row("é"), row("b")])
    assert committed_ids(folder) == {FIRST, SECOND}
    with folder.fs.open_input_file(write_manifest(folder)) as file:
        table = pq.read_table(file)
    assert table.schema.equals(MANIFEST)
    assert list(zip(table["key"].to_pylist(), table["shard"].to_pylist(), strict=True)) == [
        ("a", SECOND),
        ("b", FIRST),
        ("c", SECOND),
        ("é", FIRST),
    ]


def test_committing_a_shard_again_gives_the_same_bytes_and_no_second_row(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    commit_part(folder, FIRST, [row("a"), row("b")])
    once = folder.read(f".disrupt/parts/{FIRST}.parquet")
    commit_part(folder, FIRST, [row("b"), row("a")])
    assert folder.read(f".disrupt/parts/{FIRST}.parquet") == once
    assert read_rows(folder).num_rows == 2


@settings(deadline=None, max_examples=50)
@given(
    commits=st.lists(st.tuples(st.integers(0, 12), st.sets(st.sampled_from("abcdef"), min_size=1)), max_size=8),
    seed=st.integers(0, 9),
)
def test_each_key_has_exactly_one_row_that_of_its_latest_attempt_in_whatever_order_parts_are_written(
    tmp_path_factory: pytest.TempPathFactory, commits: list[tuple[int, set[str]]], seed: int
) -> None:
    folder = Folder(tmp_path_factory.mktemp("run"))
    named = {shard_id("s", sorted(keys), attempt=attempt): (attempt, keys) for attempt, keys in commits}
    for name in random.Random(seed).sample(sorted(named), len(named)):
        attempt, keys = named[name]
        commit_part(folder, name, [row(key, reason=str(attempt)) for key in keys])
    expected: dict[str, int] = {}
    for attempt, keys in named.values():
        for key in keys:
            expected[key] = max(attempt, expected.get(key, 0))
    table = read_rows(folder)
    assert list(zip(table["key"].to_pylist(), table["reason"].to_pylist(), strict=True)) == [
        (key, str(expected[key])) for key in sorted(expected)
    ]


def test_the_attempts_of_a_column_are_those_of_its_ids(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for attempt in (0, 1, 9, 10, 123):
        commit_part(folder, shard_id("s", ["a"], attempt=attempt), [row("a")])
    shards = read_columns(folder, ["shard"])["shard"]
    assert attempts(shards).to_pylist() == [attempt_of(name) for name in shards.to_pylist()]


def test_a_part_that_is_not_complete_under_its_name_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path)
    commit_part(folder, FIRST, [row("a")])

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LedgerError, match="no space left") as caught:
        commit_part(folder, SECOND, [row("b")])
    assert is_disk_full(caught.value)
    assert committed_ids(folder) == {FIRST}
    assert read_rows(folder)["key"].to_pylist() == ["a"]
    assert [entry.name for entry in (tmp_path / ".disrupt/parts").iterdir()] == [f"{FIRST}.parquet"]


def test_a_temporary_part_of_a_killed_job_is_no_commit(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    commit_part(folder, FIRST, [row("a")])
    (tmp_path / f".disrupt/parts/.{SECOND}.parquet.0123abcd.tmp").write_bytes(b"PAR1")
    (tmp_path / f".disrupt/parts/{FIRST} (copy).parquet").write_bytes(b"PAR1")
    assert committed_ids(folder) == {FIRST}
    assert read_rows(folder)["key"].to_pylist() == ["a"]


def test_a_damaged_part_is_named_with_what_to_do(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    commit_part(folder, FIRST, [row("a")])
    (tmp_path / f".disrupt/parts/{SECOND}.parquet").write_bytes(b"")
    with pytest.raises(LedgerError, match=rf"{SECOND}.*Remove that file"):
        read_rows(folder)


@pytest.mark.parametrize(
    ("name", "rows", "words"), [("x", [row("a")], "no shard id"), (FIRST, [], "no rows"), ("../x", [row("a")], "no shard id")]
)
def test_a_commit_of_nothing_or_under_another_name_is_refused(
    tmp_path: Path, name: str, rows: list[ManifestRow], words: str
) -> None:
    folder = Folder(tmp_path)
    with pytest.raises(LedgerError, match=words):
        commit_part(folder, name, rows)
