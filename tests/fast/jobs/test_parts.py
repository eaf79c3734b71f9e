"""Parts: done once, in any order of stops, deaths and restarts with the same rows; only a photo that kills is to blame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.jobs import parts
from pipeline.jobs.parts import DEATHS, DIED, PartJob, PartWorker, ProcessesDieError, Stage, run_here, same
from pipeline.ledger.journal import Journal, Trying
from pipeline.ledger.parts import committed, read_part
from pipeline.ledger.plan import Plan, commit_plan, extend_plan, planned
from pipeline.storage import Folder

ROOT = Path(__file__).parents[3]
KEYS = [f"{number:02}" for number in range(10)]


@dataclass(frozen=True)
class Photo:
    key: str
    pixels: int = 1


@dataclass(frozen=True)
class Row:
    key: str
    status: str = "done"
    reason: str | None = None
    l2: float | None = None


class StopError(Exception):
    """Stands for the end of the process: nobody cleans up behind it."""


def table(rows: Sequence[Row], part: str) -> pa.Table:
    return pa.table({"key": [row.key for row in rows], "reason": pa.array([row.reason for row in rows], pa.string())})


def photos(rows: pa.Table) -> list[Photo]:
    return [Photo(key) for key in rows["key"].to_pylist()]


def read(some: Sequence[Photo]) -> list[Photo]:
    return list(some)


def compute(some: Sequence[Photo]) -> list[Photo]:
    return list(some)


def write(some: Sequence[Photo]) -> list[Row]:
    return [Row(photo.key) for photo in some]


def died(photo: Photo, stage: str, reason: str) -> list[Row]:
    return [Row(photo.key, "failed", reason)]


def sums(rows: pa.Table) -> dict[str, int]:
    return {"rows": rows.num_rows}


def job_in(folder: Path | str, **changes: Any) -> PartJob:
    stages = [Stage(one.__name__, partial(same, one)) for one in (read, compute, write)]
    return replace(PartJob(Folder(folder), tuple(stages), photos, died, table, ("key",), sums), **changes)


def _plan_table(some: Sequence[Photo]) -> pa.Table:
    return pa.table({"key": [one.key for one in some]})


def planned_in(folder: Path | str, most: int = 10) -> Plan:
    place = Folder(folder)
    plan = extend_plan(place, Plan(), map(Photo, KEYS), _plan_table, most=most, shares=1)
    commit_plan(place, plan)
    return plan


def with_stage(job: PartJob, name: str, function: Any) -> PartJob:
    return replace(job, stages=tuple(Stage(name, partial(same, function)) if stage.name == name else stage for stage in job.stages))


def nothing(rows: Sequence[Any]) -> None:
    pass


def keys_in(folder: Path | str, part: str = "000000") -> list[str]:
    keys: list[str] = read_part(Folder(folder), part)["key"].to_pylist()
    return keys


def test_a_part_is_done_once_and_its_rows_are_told_as_they_are_made(tmp_path: Path) -> None:
    plan, told = planned_in(tmp_path, most=4), list[str]()
    tell = lambda rows: told.extend(row.key for row in rows)  # noqa: E731
    assert list(run_here(plan.parts, job_in(tmp_path), tell)) == [{"rows": 4}, {"rows": 4}, {"rows": 2}]
    assert told == KEYS
    assert committed(Folder(tmp_path)) == set(plan.parts)
    assert not list((tmp_path / ".disrupt/progress").rglob("*.*")), "a journal goes with its part"
    assert list(run_here(plan.parts, job_in(tmp_path), tell)) == [{"rows": 4}, {"rows": 4}, {"rows": 2}]
    assert told == KEYS, "a part that is committed is not done again"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("a bug")])
def test_a_stop_in_order_keeps_what_is_done_and_the_next_process_is_not_careful(tmp_path: Path, error: BaseException) -> None:
    plan, computed, errors = planned_in(tmp_path), list[str](), [error]

    def stopping(some: Sequence[Photo]) -> list[Photo]:
        if some[0].key == "04" and errors:
            raise errors.pop()
        computed.append(some[0].key)
        return list(some)

    job = with_stage(job_in(tmp_path), "compute", stopping)
    with pytest.raises(type(error)):
        list(run_here(plan.parts, job, nothing))
    assert Journal(job.folder, "000000").trying() is None
    list(run_here(plan.parts, job, nothing))
    assert computed == KEYS
    assert keys_in(tmp_path) == KEYS


@settings(deadline=None, max_examples=30)
@given(deaths=st.lists(st.integers(0, 9), max_size=6), batch=st.sampled_from([1, 3]), is_distant=st.booleans())
def test_however_often_processes_die_the_end_is_as_if_they_never_had(
    tmp_path_factory: pytest.TempPathFactory, deaths: list[int], batch: int, is_distant: bool
) -> None:
    folder = str(tmp_path_factory.mktemp("run"))
    folder = f"memory:/{folder}" if is_distant else folder
    plan, waiting = planned_in(folder), [KEYS[number] for number in deaths if deaths.count(number) < DEATHS]

    def dying(some: Sequence[Photo]) -> list[Photo]:
        for photo in some:
            if waiting and photo.key == waiting[0]:
                waiting.pop(0)
                raise StopError
        return list(some)

    job = with_stage(job_in(folder, batch=batch), "compute", dying)
    for _ in range(len(deaths) + 1):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Journal, "calm", nothing)  # a process that dies says nothing
            patch.setattr(parts._Keeper, "keep", lambda keeper: None)
            patch.setattr(parts, "GROUP_REMOTE", 4)
            try:
                PartWorker(job)("000000", nothing)
                break
            except StopError:
                continue
    rows = read_part(Folder(folder), plan.parts[0]).to_pylist()
    assert [row["key"] for row in rows] == KEYS
    assert {row["reason"] for row in rows} == {None}


def test_processes_that_die_before_the_first_photo_end_the_run(tmp_path: Path) -> None:
    planned_in(tmp_path)
    job = job_in(tmp_path)
    Journal(job.folder, "000000").say(Trying(deaths=DEATHS))
    with pytest.raises(ProcessesDieError, match="over all photos"):
        PartWorker(job)("000000", nothing)


def test_processes_that_die_over_one_photo_after_the_other_end_the_run(tmp_path: Path) -> None:
    planned_in(tmp_path)
    job = job_in(tmp_path)
    journal = Journal(job.folder, "000000")
    journal.add(table([Row(key, "failed", DIED) for key in KEYS[: DEATHS - 1]], ""))
    journal.say(Trying(KEYS[DEATHS - 1], "read", DEATHS - 1))
    with pytest.raises(ProcessesDieError, match="over all photos"):
        PartWorker(job)("000000", nothing)


def test_a_careful_process_notes_each_stage_of_each_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned_in(tmp_path)
    job, said = job_in(tmp_path), list[Trying]()
    Journal(job.folder, "000000").say(Trying("01", "read", 1))
    monkeypatch.setattr(Journal, "say", lambda journal, trying: said.append(trying))
    PartWorker(job)("000000", nothing)
    assert said[0] == Trying("01", "read", 2)
    assert said[1:4] == [Trying("00", name, 0) for name in ("read", "compute", "write")]
    assert said[4] == Trying("01", "read", 2)
    assert keys_in(tmp_path) == KEYS


def test_on_a_distant_store_groups_are_noted_and_the_photo_that_kills_is_found_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, notes, deaths = f"memory:/{tmp_path}", list[Trying](), 0
    planned_in(place)
    say = Journal.say

    def noted(journal: Journal, trying: Trying) -> None:
        notes.append(trying)
        say(journal, trying)

    def deadly(some: Sequence[Photo]) -> list[Photo]:
        if some[0].key == "05":
            raise StopError
        return list(some)

    monkeypatch.setattr(parts, "GROUP_REMOTE", 4)
    monkeypatch.setattr(Journal, "calm", nothing)
    monkeypatch.setattr(Journal, "say", noted)
    job = with_stage(job_in(place), "compute", deadly)
    while not committed(job.folder):
        try:
            PartWorker(job)("000000", nothing)
        except StopError:
            deaths += 1
    assert deaths == 1 + 1 + DEATHS, "in the part, in the group, alone"
    assert {row["key"] for row in read_part(job.folder, "000000").to_pylist() if row["reason"]} == {"05"}
    assert keys_in(place) == KEYS
    assert {note.key for note in notes if note.suspect} == {"05"}, "what was kept before it is not tried again"


def test_batches_are_as_large_as_count_and_pixels_allow_and_rows_stay_in_order(tmp_path: Path) -> None:
    planned_in(tmp_path)
    batches = list[list[str]]()

    def grouped(some: Sequence[Photo]) -> list[Photo]:
        batches.append([one.key for one in some])
        return list(some)

    big = {"03": 2**26, "04": 2**26}
    job = job_in(tmp_path, batch=4, threads=3, pixels=lambda photo: big.get(photo.key, 1))
    PartWorker(with_stage(job, "compute", grouped))("000000", nothing)
    assert batches == [["00", "01", "02"], ["03"], ["04"], ["05", "06", "07", "08"], ["09"]]
    assert keys_in(tmp_path) == KEYS


def test_an_error_beside_the_computing_is_raised(tmp_path: Path) -> None:
    planned_in(tmp_path)

    def failing(some: Sequence[Photo]) -> list[Row]:
        raise OSError("the disk")

    for name in ("read", "write"):
        with pytest.raises(OSError, match="the disk"):
            PartWorker(with_stage(job_in(tmp_path, batch=4), name, failing))("000000", nothing)


def test_finished_rows_reach_the_journal_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned_in(tmp_path)
    job = job_in(tmp_path)
    clock: Iterator[float] = iter(range(0, 10_000, 2))
    monkeypatch.setattr("pipeline.jobs.parts.time.monotonic", lambda: next(clock))
    kept = list[int]()
    monkeypatch.setattr(Journal, "add", lambda journal, rows: kept.append(rows.num_rows))
    PartWorker(job)("000000", nothing)
    assert kept and sum(kept) <= len(KEYS) and max(kept) > 1


def test_deaths_before_the_first_photo_are_counted_anew_after_one_was_blamed(tmp_path: Path) -> None:
    planned_in(tmp_path)
    job = job_in(tmp_path)
    Journal(job.folder, "000000").say(Trying("03", "read", DEATHS - 1))

    def broken() -> Any:
        raise StopError

    with pytest.MonkeyPatch.context() as patch, pytest.raises(StopError):
        patch.setattr(Journal, "calm", nothing)
        PartWorker(replace(job, stages=(Stage("read", broken),)))("000000", nothing)
    assert Journal(job.folder, "000000").trying() == Trying()
    PartWorker(job)("000000", nothing)
    assert {row["key"] for row in read_part(job.folder, "000000").to_pylist() if row["reason"]} == {"03"}


@pytest.mark.parametrize("pause", [-1.0, 60.0])
def test_files_are_synced_before_the_rows_that_name_them_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pause: float
) -> None:
    planned_in(tmp_path)
    monkeypatch.setattr(parts, "KEEP_SECONDS", pause)
    happened: list[str] = []
    monkeypatch.setattr(Folder, "sync", lambda folder, names: happened.extend(names))
    monkeypatch.setattr(Journal, "add", lambda journal, rows: happened.append(f"kept {rows['key'].to_pylist()}"))
    monkeypatch.setattr(parts, "commit_part", lambda folder, part, rows, sums: happened.append("committed"))
    job = job_in(tmp_path, files=lambda rows: [row.key for row in rows])
    list(run_here(["000000"], job, nothing))
    keys = [photo.key for photo in photos(planned(Folder(tmp_path), "000000"))]
    kept = [f"kept {[key]}" for key in keys]
    assert happened == ([*(one for pair in zip(keys, kept, strict=True) for one in pair)] if pause < 0 else keys) + ["committed"]
