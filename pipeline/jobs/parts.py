"""How a part of a run is done: one process takes it from the plan to its commit, and a few photos at a time are in memory.

A process that dies leaves a note in the journal of its part. Who takes the part next goes on after the last photo that was kept,
one photo at a time, and notes each before it is tried (on a distant store first in groups, to note less). A photo at which
processes died `DEATHS` times becomes a failed row.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.ledger.errors import unwritable
from pipeline.ledger.journal import Journal, Trying
from pipeline.ledger.parts import commit_part, committed_sums
from pipeline.ledger.plan import planned
from pipeline.ledger.rows import join_sorted
from pipeline.storage import Folder

DEATHS = 3
"""At which death the photo is to blame."""
ALL_DIED = 3
"""After so many photos that are to blame, and no other, something else is."""
DIED = f"its process died {DEATHS} times: it crashed, or the system ended it for want of memory (fewer --actors need less)"
KEEP_SECONDS, KEEP_SECONDS_REMOTE = 5.0, 60.0
"""How long finished rows wait for their place in the journal: what a stop may cost."""
KEEP_ROWS_REMOTE = 128
"""So many of them do not wait longer on a distant store."""
GROUP_REMOTE = 32
"""So many photos share their notes on a distant store, where each note is a request."""
PARTS_FOR_EACH = 4
"""Parts of a small run for each of its processes, so that none waits long for the last one."""
BATCH_PIXELS = 2**26
"""Most decoded pixels of the photos that are computed together."""
Function = Callable[[Any], Any]
"""A list of photos to the list of what becomes of them, in the same order; that of the last stage are rows."""
Tell = Callable[[Sequence[Any]], None]
"""Is told the rows as they are made."""


def _as_it_is(rows: Any) -> Any:
    return rows


def _no_pixels(photo: Any) -> int:
    return 0


def _no_files(rows: Any) -> tuple[str, ...]:
    return ()


class ProcessesDieError(ValueError):
    """Processes die over everything; the message says what to do."""


@dataclass(frozen=True)
class Stage:
    """A step of the work: ``make`` returns its function, once in each process."""

    name: str
    make: Callable[[], Function]


@dataclass(frozen=True)
class PartJob:
    """What a process has to know to do parts; it travels.

    The first stage reads; the last one writes, if there are three. ``photos`` makes photos (with a ``key``) of the plan's rows,
    ``died`` the rows of one that killed its process in a stage, ``table`` a table of rows, sorted by ``order``, and ``sums`` what
    is kept of them for the whole run. ``commit`` ends a part with all its rows and returns their sums. ``outcomes`` are rows as
    the progress counts them, ``files`` the names of what they wrote, which is safe on the disk before the rows are kept. ``batch``
    photos are computed together; ``pixels`` says how large a photo is once the first stage has read it, ``threads`` how many are
    read and written meanwhile.
    """

    folder: Folder
    stages: tuple[Stage, ...]
    photos: Callable[[pa.Table], Iterable[Any]]
    died: Callable[[Any, str, str], list[Any]]
    table: Callable[[Sequence[Any], str], pa.Table]
    order: tuple[str, ...]
    sums: Callable[[pa.Table], dict[str, Any]] = field(default_factory=lambda: count_rows)
    commit: Callable[[PartJob, str, pa.Table], dict[str, Any]] = field(default_factory=lambda: commit_rows)
    outcomes: Callable[[Sequence[Any]], Sequence[Any]] = _as_it_is
    files: Callable[[Sequence[Any]], Iterable[str]] = _no_files
    deaths: int = field(default_factory=lambda: DEATHS)
    batch: int = 1
    pixels: Callable[[Any], int] = _no_pixels
    threads: int = 1


class PartWorker:
    """Does parts, one after the other; made once in each process."""

    def __init__(self, job: PartJob) -> None:
        self._job = job
        self._functions: list[Function] = []

    def __call__(self, part: str, tell: Tell) -> dict[str, Any]:
        """The sums of a part, which is committed when this returns.

        Raises the errors of the stages as they are, and ProcessesDieError when not the photos are to blame.
        """
        job = self._job
        if (sums := committed_sums(job.folder, part)) is not None:
            return sums
        journal = Journal(job.folder, part)
        keeper = _Keeper(job, journal, part, tell)
        before = journal.trying()
        trying = replace(before, deaths=before.deaths + 1) if before else Trying()
        journal.say(trying)
        try:
            if trying.deaths >= job.deaths:
                _blame(job, keeper, part, trying)
                journal.say(trying := Trying())
            waiting = _waiting(job, keeper, part)
            self._functions = self._functions or [stage.make() for stage in job.stages]
            if before:
                self._carefully(journal, keeper, waiting, trying)
            else:
                for rows in self._stream(waiting):
                    keeper.add(rows)
            sums = job.commit(job, part, keeper.everything())
        except BaseException:
            with contextlib.suppress(Exception):  # the first error is the one to be seen
                keeper.keep()
                journal.calm()
            raise
        journal.clear()
        return sums

    def _carefully(self, journal: Journal, keeper: _Keeper, photos: Iterable[Any], before: Trying) -> None:
        """Does the photos where processes died: one by one, on a distant store in groups that are noted, but for the last such."""
        most = 1 if self._job.folder.is_local else GROUP_REMOTE
        alone = together = 0
        for photo in photos:
            alone = before.group if photo.key == before.key else max(alone - 1, 0)
            if alone or most == 1:
                keeper.add(self._alone(journal, photo, before), at_once=True)
                together = 0
                continue
            if together % most == 0:
                keeper.keep()
                journal.say(Trying(photo.key, group=most))
            keeper.add(fold(self._functions, [photo]))
            together += 1

    def _alone(self, journal: Journal, photo: Any, before: Trying) -> list[Any]:
        """The rows of a photo, each of its stages noted before it begins."""
        deaths = before.deaths if before.suspect == photo.key else 0
        value: Any = [photo]
        for stage, function in zip(self._job.stages, self._functions, strict=True):
            journal.say(Trying(photo.key, stage.name, deaths))
            value = function(value)
        rows: list[Any] = value
        return rows

    def _stream(self, photos: Iterable[Any]) -> Iterator[list[Any]]:
        """The rows of the photos, in their order: one by one, or in batches with reading and writing beside the computing."""
        if self._job.batch == 1:
            for photo in photos:
                yield fold(self._functions, [photo])
            return
        read, compute, write = [*self._functions, _as_it_is][:3]
        with ThreadPoolExecutor(self._job.threads) as readers, ThreadPoolExecutor(self._job.threads) as writers:
            written: deque[Future[Any]] = deque()
            for batch in self._batches(_ahead(readers, read, photos, self._job.batch)):
                written.append(writers.submit(write, compute(batch)))
                while len(written) > self._job.threads or (written and written[0].done()):
                    yield written.popleft().result()
            for each in written:
                yield each.result()

    def _batches(self, photos: Iterable[Any]) -> Iterator[list[Any]]:
        batch: list[Any] = []
        pixels = 0
        for photo in photos:
            size = self._job.pixels(photo)
            if batch and (len(batch) == self._job.batch or pixels + size > BATCH_PIXELS):
                yield batch
                batch, pixels = [], 0
            batch.append(photo)
            pixels += size
        if batch:
            yield batch


class _Keeper:
    """The rows of a part: those of its journal, and new ones on their way there."""

    def __init__(self, job: PartJob, journal: Journal, part: str, tell: Tell) -> None:
        self._job, self._journal, self._part, self._tell = job, journal, part, tell
        self._tables = journal.rows()
        self._fresh: list[Any] = []
        self._kept = time.monotonic()
        self._pause = KEEP_SECONDS if job.folder.is_local else KEEP_SECONDS_REMOTE
        self.done = {key for table in self._tables for key in table["key"].to_pylist()}

    def add(self, rows: Sequence[Any], *, at_once: bool = False) -> None:
        self._fresh += rows
        self._tell(self._job.outcomes(rows))
        is_much = not self._job.folder.is_local and len(self._fresh) >= KEEP_ROWS_REMOTE
        if at_once or is_much or time.monotonic() - self._kept > self._pause:
            self.keep()

    def keep(self) -> None:
        """Puts new rows into the journal."""
        if self._fresh:
            self._take()
            self._journal.add(self._tables[-1])
        self._kept = time.monotonic()

    def everything(self) -> pa.Table:
        """All rows of the part, in order."""
        if self._fresh:
            self._take()
        return join_sorted(self._tables, self._tables[0].schema, self._job.order)

    def _take(self) -> None:
        """Makes new rows a table, once their files are safe on the disk."""
        self._tables.append(self._job.table(self._fresh, self._part))
        try:
            self._job.folder.sync(self._job.files(self._fresh))
        except OSError as error:
            raise unwritable(self._job.folder.path, error) from error
        self._fresh = []

    def all_died(self) -> bool:
        """Whether every row so far, and there are some, is that of a photo that killed its process."""
        rows = sum(table.num_rows for table in self._tables)
        died = sum(pc.sum(pc.equal(table["reason"], DIED)).as_py() or 0 for table in self._tables)
        return bool(rows == died and rows >= ALL_DIED)


def run_here(parts: Iterable[str], job: PartJob, tell: Tell) -> Iterator[dict[str, Any]]:
    """The sums of the parts, done in this process."""
    worker = PartWorker(job)
    for part in parts:
        yield worker(part, tell)


def fold(functions: Sequence[Function], photos: list[Any]) -> list[Any]:
    """What the functions make of the photos, one after the other."""
    for function in functions:
        photos = function(photos)
    return photos


def count_rows(table: pa.Table) -> dict[str, Any]:
    """The sums of a verb that reads its rows again."""
    return {"rows": table.num_rows}


def commit_rows(job: PartJob, part: str, table: pa.Table) -> dict[str, Any]:
    """The sums of these rows, which are the part of the manifest now."""
    sums = job.sums(table)
    commit_part(job.folder, part, table, sums)
    return sums


def _waiting(job: PartJob, keeper: _Keeper, part: str) -> Iterator[Any]:
    """The photos that have no row yet; they may come out of a container one by one."""
    return (photo for photo in job.photos(planned(job.folder, part)) if photo.key not in keeper.done)


def _blame(job: PartJob, keeper: _Keeper, part: str, trying: Trying) -> None:
    """Gives the photo at which processes died its row."""
    culprits = _waiting(job, keeper, part) if trying.suspect is not None else iter(())
    for photo in (photo for photo in culprits if photo.key == trying.key):
        keeper.add(job.died(photo, trying.stage or job.stages[0].name, DIED), at_once=True)
        keeper.done.add(photo.key)
        break
    if keeper.all_died() or (trying.suspect is None and trying.deaths > job.deaths):
        raise ProcessesDieError(f"processes die over all photos: {DIED.partition(': ')[2]}. What is done is kept.")


def same(function: Function) -> Function:
    """The function itself: how a stage that needs no making is made."""
    return function


def _ahead(pool: ThreadPoolExecutor, read: Function, photos: Iterable[Any], most: int) -> Iterator[Any]:
    """The photos as read, in order, up to ``most`` of them ahead of who takes them."""
    waiting: deque[Future[Any]] = deque()
    for photo in photos:
        waiting.append(pool.submit(read, [photo]))
        if len(waiting) > most:
            yield from waiting.popleft().result()
    for each in waiting:
        yield from each.result()
