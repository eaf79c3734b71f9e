"""The plan of micro-shards: complete, bounded, and a function of the set of photos."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ledger.errors import LedgerError
from pipeline.ledger.plan import SHARD_ID, attempt_of, plan_shards, shard_id


@dataclass(frozen=True)
class Ref:
    key: str
    size_bytes: int


REFS = st.dictionaries(st.text(min_size=1, max_size=6), st.integers(0, 50), max_size=60).map(
    lambda sizes: [Ref(key, size) for key, size in sizes.items()]
)


@given(refs=REFS, max_count=st.integers(1, 9), max_bytes=st.integers(1, 60), data=st.data())
def test_every_key_that_is_not_done_is_planned_once_and_the_bounds_hold(
    refs: list[Ref], max_count: int, max_bytes: int, data: st.DataObject
) -> None:
    done = set(data.draw(st.lists(st.sampled_from([ref.key for ref in refs])))) if refs else set()
    shards = plan_shards(refs, signature="s", max_count=max_count, max_bytes=max_bytes, done=done)
    planned = [ref for shard in shards for ref in shard.refs]
    assert sorted(planned, key=lambda ref: ref.key) == sorted((ref for ref in refs if ref.key not in done), key=lambda ref: ref.key)
    for shard in shards:
        assert 1 <= len(shard.refs) <= max_count
        assert len(shard.refs) == 1 or sum(ref.size_bytes for ref in shard.refs) <= max_bytes
        assert list(shard.keys) == sorted(shard.keys)
    assert len({shard.id for shard in shards}) == len(shards)


@given(refs=REFS, seed=st.integers(0, 5))
def test_the_order_of_the_input_changes_nothing(refs: list[Ref], seed: int) -> None:
    mixed = random.Random(seed).sample(refs, len(refs))
    plans = [plan_shards(each, signature="s", max_count=4, max_bytes=60) for each in (refs, mixed)]
    assert plans[0] == plans[1]


@given(refs=REFS, data=st.data())
def test_shards_that_nothing_of_is_done_keep_their_ids(refs: list[Ref], data: st.DataObject) -> None:
    before = plan_shards(refs, signature="s", max_count=4, max_bytes=60)
    committed = data.draw(st.sets(st.sampled_from(before))) if before else set()
    done = {key for shard in committed for key in shard.keys}
    after = plan_shards(refs, signature="s", max_count=4, max_bytes=60, done=done)
    assert after == [shard for shard in before if shard not in committed]


def test_what_is_left_of_partly_done_shards_is_put_together() -> None:
    refs = [Ref(f"{number:03}", 1) for number in range(100)]
    failed = {"007", "042", "077"}
    shards = plan_shards(refs, signature="s", max_count=10, done={ref.key for ref in refs} - failed, attempt=1)
    assert [set(shard.keys) for shard in shards] == [failed]


def test_full_shards_are_as_large_as_allowed() -> None:
    assert [len(shard.refs) for shard in plan_shards([Ref(str(n), 10) for n in range(10)], signature="s", max_count=4)] == [4, 4, 2]
    assert [len(shard.refs) for shard in plan_shards([Ref(str(n), 10) for n in range(5)], signature="s", max_bytes=20)] == [2, 2, 1]


def test_a_file_larger_than_the_bound_is_a_shard_of_its_own() -> None:
    shards = plan_shards([Ref("a", 1), Ref("b", 100), Ref("c", 1)], signature="s", max_bytes=10)
    assert [shard.keys for shard in shards] == [("a",), ("b",), ("c",)]


def test_two_photos_of_one_name_are_refused() -> None:
    with pytest.raises(LedgerError, match=r"two inputs have the name 'a\.jpg'"):
        plan_shards([Ref("a.jpg", 1), Ref("b.jpg", 1), Ref("a.jpg", 2)], signature="s")


@pytest.mark.parametrize(("max_count", "max_bytes"), [(0, 1), (1, 0)])
def test_a_shard_without_room_is_a_wrong_call(max_count: int, max_bytes: int) -> None:
    with pytest.raises(ValueError, match="room"):
        plan_shards([], signature="s", max_count=max_count, max_bytes=max_bytes)


def test_an_id_names_signature_keys_and_attempt() -> None:
    ids = [shard_id("s", ["a", "b"]), shard_id("s", ["ab"]), shard_id("sa", ["b"]), shard_id("t", ["a", "b"])]
    ids.append(shard_id("s", ["a", "b"], attempt=2))
    assert len(set(ids)) == len(ids)
    assert all(SHARD_ID.match(name) for name in ids)
    assert [attempt_of(name) for name in ids] == [0, 0, 0, 0, 2]


def test_an_id_is_what_it_was_when_the_first_run_was_written() -> None:
    assert shard_id("s", ["a.jpg", "é.png"]) == "785698aa523ffca9"
