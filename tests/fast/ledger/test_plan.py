"""The plan: every photo once, in parts of bounded size, written down before any work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ledger import plan as planning
from pipeline.ledger.errors import LedgerError
from pipeline.ledger.plan import Plan, commit_plan, extend_plan, planned, read_plan
from pipeline.storage import Folder


@dataclass(frozen=True)
class Ref:
    key: str


def as_table(refs: Sequence[Ref]) -> pa.Table:
    return pa.table({"key": [ref.key for ref in refs]})


def keys_of(folder: Folder, plan: Plan) -> list[list[str]]:
    return [planned(folder, name)["key"].to_pylist() for name in plan.parts]


@settings(deadline=None, max_examples=40)
@given(keys=st.sets(st.text("abc/", min_size=1, max_size=6), max_size=40), most=st.integers(1, 9), shares=st.integers(1, 8))
def test_every_photo_is_planned_once_in_parts_that_are_small_enough_and_many_enough(
    tmp_path_factory: pytest.TempPathFactory, keys: set[str], most: int, shares: int
) -> None:
    folder = Folder(tmp_path_factory.mktemp("run"))
    plan = extend_plan(folder, Plan(), map(Ref, keys), as_table, most=most, shares=shares)
    parts = keys_of(folder, plan)
    assert [key for part in parts for key in part] == sorted(keys)
    assert all(1 <= len(part) <= most for part in parts)
    assert plan.total == len(keys)
    assert len(parts) >= min(shares, len(keys)) / 2


def test_a_long_listing_is_never_held_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "AT_HAND", 8)
    taken = 0

    def listing() -> Iterator[Ref]:
        nonlocal taken
        for taken in range(1, 101):
            yield Ref(f"{taken:03}")

    ahead = []

    def written(refs: Sequence[Ref]) -> pa.Table:
        ahead.append(taken - int(refs[0].key))
        return as_table(refs)

    plan = extend_plan(Folder(tmp_path), Plan(), listing(), written, most=5, shares=100)
    assert (plan.total, max(plan.counts)) == (100, 5)
    assert max(ahead) < 8


def test_a_plan_counts_from_its_commit_on_and_grows_behind_what_it_has(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    first = extend_plan(folder, Plan(), map(Ref, "abc"), as_table, most=2, shares=1)
    assert read_plan(folder) == Plan()
    commit_plan(folder, first)
    assert read_plan(folder) == first
    second = extend_plan(folder, first, map(Ref, "de"), as_table, most=2, shares=1)
    assert keys_of(folder, second) == [["a", "b"], ["c"], ["d", "e"]]
    assert [second.count(name) for name in second.parts] == [2, 1, 2]


def test_a_damaged_plan_and_a_folder_of_an_older_version_are_refused_with_what_to_do(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write(".disrupt/parts/0123456789abcdef.parquet", b"x")
    with pytest.raises(LedgerError, match=r"older version.*new output folder"):
        read_plan(folder)
    folder.write(".disrupt/plan.json", b"{")
    with pytest.raises(LedgerError, match="damaged"):
        read_plan(folder)
    with pytest.raises(LedgerError, match="000007"):
        planned(folder, "000007")
