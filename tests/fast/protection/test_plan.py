"""The plan of a protection run: names that never clash, whatever the limit and the order; parts that are opened again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.containers.find import find_photos
from pipeline.containers.naming import output_names
from pipeline.ledger import plan as planning
from pipeline.ledger.errors import LedgerError
from pipeline.ledger.journal import Journal
from pipeline.ledger.parts import commit_part, committed
from pipeline.ledger.plan import planned, read_plan
from pipeline.ledger.run import open_run
from pipeline.ledger.schema import ManifestRow, rows_to_table
from pipeline.protection.job import Job
from pipeline.protection.options import ProtectConfig
from pipeline.protection.plan import photo_of_plan, plan_run, works_of
from tests.verbs import with_options

NAMES = st.sampled_from(["a.jpg", "a.png", "A.jpg", "a.webp", "a.jpg.png", "b.png/c.jpg", "b.jpg", "é.jpg", "e\u0301.jpg", "d.jpg"])


def files_in(folder: Path, names: set[str]) -> Path:
    for name in names:
        (folder / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "in" / name).write_bytes(b"x")
    return folder


def plan_in(folder: Path, **options: Any) -> tuple[dict[str, str], list[str]]:
    """The output of each planned photo by its key, and the parts that are still to be done."""
    config = with_options(ProtectConfig(str(folder / "in"), str(folder / "out"), part_photos=2), **options)
    with open_run(config.output, signature="s", config={}, retry_failed=config.retry_failed) as run:
        plan, parts = plan_run(Job(config, [], None, "s"), run)
        tables = [planned(run.folder, name) for name in plan.parts]
        works = [work for table in tables for work in works_of(table, ".png", portable=config.portable_names)]
        assert plan.total == len(works)
        return {work.key: work.output for work in works}, parts


@settings(deadline=None, max_examples=40)
@given(names=st.sets(NAMES, min_size=1), limit=st.integers(1, 9))
def test_names_are_those_of_all_inputs_at_once_whatever_was_planned_first(
    tmp_path_factory: pytest.TempPathFactory, names: set[str], limit: int
) -> None:
    folder = files_in(tmp_path_factory.mktemp("run"), names)
    expected = output_names(names, suffix=".png")
    first, _ = plan_in(folder, limit=limit)
    assert first == {key: expected[key] for key in first}
    assert len(first) == min(limit, len(names))
    assert plan_in(folder)[0] == expected


def test_portable_names_are_those_of_all_inputs_at_once_too(tmp_path: Path) -> None:
    names = {"a.jpg", "a.png", "A.jpg", "A.png", "b\\c/a.jpg", "b\\c/a.png", "In/a.jpg", "In/a.png", "in/a.jpg"}
    folder = files_in(tmp_path, names)
    plan_in(folder, limit=2, portable_names=True)
    planned_names = plan_in(folder, portable_names=True)[0]
    assert planned_names == output_names(names, suffix=".png", portable=True)
    assert len(set(planned_names.values())) == len(names)


def test_a_long_listing_has_the_names_of_a_short_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {f"{number:02}.jpg" for number in range(9)} | {"03.png", "x/03.png"}
    short = plan_in(files_in(tmp_path / "a", names))[0]
    monkeypatch.setattr(planning, "AT_HAND", 3)
    assert plan_in(files_in(tmp_path / "b", names))[0] == short == output_names(names, suffix=".png")


def test_a_run_that_is_not_over_keeps_its_plan_and_one_that_is_over_takes_what_is_new(tmp_path: Path) -> None:
    folder = files_in(tmp_path, {"a.jpg", "b.jpg", "c.jpg"})
    before, parts = plan_in(folder)
    files_in(folder, {"a.png", "d.jpg"})
    assert plan_in(folder) == (before, parts), "new photos wait until the run is over"
    with open_run(folder / "out", signature="s", config={}) as run:
        for name in parts:
            rows = [ManifestRow.skipped(key, stage="decode", reason="x") for key in planned(run.folder, name)["key"].to_pylist()]
            commit_part(run.folder, name, rows_to_table(rows, shard=name), {})
    after, new = plan_in(folder)
    assert after == before | {"a.png": "a.png.png", "d.jpg": "d.png"}, "a.jpg has the name a.png since before"
    assert new and not set(new) & set(parts)


def test_parts_with_photos_to_be_done_again_are_opened_and_their_other_rows_stay(tmp_path: Path) -> None:
    folder = files_in(tmp_path, {"a.jpg", "b.jpg"})
    part = plan_in(folder)[1][0]
    done = ManifestRow(key="a.jpg", status="protected", output="a.png", sha256_out="0" * 64)
    with open_run(folder / "out", signature="s", config={}) as run:
        assert photo_of_plan(run, part, "a.jpg") is not None
        assert photo_of_plan(run, part, "z.jpg") is None
        run.folder.write("a.png", b"protected")
        for name in read_plan(run.folder).parts:
            keys = planned(run.folder, name)["key"].to_pylist()
            rows = [done if key == "a.jpg" else ManifestRow.failed(key, stage="read", reason="x") for key in keys]
            commit_part(run.folder, name, rows_to_table(rows, shard=name), {})
    assert plan_in(folder)[1] == []
    (again,) = plan_in(folder, retry_failed=True)[1]
    with open_run(folder / "out", signature="s", config={}) as run:
        assert again not in committed(run.folder)
        kept = [row["key"] for rows in Journal(run.folder, again).rows() for row in rows.to_pylist()]
        assert kept == [key for key in planned(run.folder, again)["key"].to_pylist() if key == "a.jpg"]
        run.folder.remove("a.png")
    assert len(plan_in(folder)[1]) == 2, "an output that is gone is made again"


def test_two_inputs_of_one_key_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = files_in(tmp_path, {"a.jpg"})
    twice = find_photos(folder / "in").refs * 2
    monkeypatch.setattr("pipeline.protection.plan.walk_photos", lambda place, **options: _Walk(twice))
    with pytest.raises(LedgerError, match=r"two inputs have the name 'a\.jpg'"):
        plan_in(folder)


class _Walk:
    ignored = 0

    def __init__(self, refs: Any) -> None:
        self._refs = iter(refs)

    def __iter__(self) -> Any:
        return self._refs
