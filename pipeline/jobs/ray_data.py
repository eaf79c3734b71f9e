"""How the parts of a run are done on Ray Data: each goes whole to one of the actors, and only its name and its sums travel.

An error that a stage raises ends the run with its own message. A death (a lost node, a crash, no memory) does not: the part is
done in the next round, and goes on from its journal. `pipeline.jobs.parts` finds the photo that kills.
"""

from __future__ import annotations

import json
import logging
import pickle
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext, Dataset
from ray.exceptions import (
    ActorUnavailableError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    WorkerCrashedError,
)
from ray.util.annotations import RayDeprecationWarning
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from rich.console import Console

from pipeline.jobs.interrupt import watch_sigint
from pipeline.jobs.options import MOST_ACTORS, Compute
from pipeline.jobs.parts import PartJob, PartWorker, ProcessesDieError
from pipeline.jobs.progress import Outcome, Progress
from pipeline.jobs.room import GB, Need, most
from pipeline.ledger.owner import remove_stale

PATIENCE = 12
"""How many parts may lose their processes before the first one is done; then the first parts find out why."""
IDLE_ROUNDS = 100
"""After so many rounds in which no part is done, more would do no better."""
DEATHS = (WorkerCrashedError, RayActorError, ActorUnavailableError, OutOfMemoryError, NodeDiedError, ObjectLostError)
"""How Ray says that a process ended, or took with it what was on its way."""
LOOK_SECONDS = 1.0
"""Between two looks at what the actors have done."""
Batch = Any
"""A dict of columns; Ray's own annotations of batches do not fit plain dicts."""


def actors_need(compute: Compute) -> Need:
    """What the actors ask of a cluster; one is enough to begin, and with auto the rest is what the cluster gives."""
    actor = _actor_size(compute)
    flags = " or ".join(
        ["--actors", "--gpus-per-actor" if compute.on_gpu else "--threads"] + ["--memory-per-actor"] * ("memory" in actor)
    )
    return Need([actor] * (1 if compute.actors == "auto" else compute.actors), [actor], flags)


def with_actors(compute: Compute, console: Console) -> Compute:
    """The same with a number of actors: for auto as many as the connected cluster holds, or may grow to where it says so."""
    if compute.actors != "auto":
        return compute
    count = min(most(_actor_size(compute)), MOST_ACTORS)
    console.print(f"--actors auto: {count}", highlight=False)
    return replace(compute, actors=count)


def _actor_size(compute: Compute) -> dict[str, float]:
    """The cores of an actor, its GPUs, and its memory in bytes where it counts."""
    memory = {"memory": compute.memory_per_actor * GB} if compute.memory_per_actor else {}
    return {"CPU": compute.threads} | ({"GPU": compute.gpus_per_actor} if compute.on_gpu else {}) | memory


def run_on_ray(parts: Sequence[str], job: PartJob, compute: Compute, progress: Progress) -> Iterator[dict[str, Any]]:
    """The sums of the parts, in any order. Raises the errors of a stage as they are, and ProcessesDieError."""
    waiting, idle, patience, died = list(parts), 0, PATIENCE, False
    with _progress_of(progress) as counter:
        while waiting:
            done = set()
            for name, sums in _round(waiting, job, compute, counter, patience):
                done.add(name)
                patience = -1
                yield sums
            idle = 0 if done else idle + 1
            if idle > IDLE_ROUNDS:
                raise ProcessesDieError("processes die again and again before a part is done. What is done is kept.")
            waiting = [name for name in waiting if name not in done]
            died = died or bool(waiting)
    if died:  # what the processes were writing
        remove_stale(job.folder)


def set_up_ray_data(*, ordered: bool, losses: int = 0) -> None:
    """Settings of this process: errors as they were raised, no output of its own, and work as soon as there is one actor.

    ``ordered`` keeps the order of rows, at the price of waiting for the slowest. As many blocks as ``losses`` says may be left out
    because their processes died, any number with -1.
    """
    context = DataContext.get_current()
    context.wait_for_min_actors_s = -1
    context.execution_options.preserve_order = ordered
    context.max_errored_blocks = losses
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.memory_usage_poll_interval_s = None  # a thread in each actor whose numbers nobody reads
    context.raise_original_map_exception = True
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.CRITICAL)


def _round(
    parts: Sequence[str], job: PartJob, compute: Compute, counter: Any, patience: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and sums of each part that is done; those that lost their processes are missing.

    The round is over when more than ``patience`` parts lost theirs; -1 is no limit.
    """
    set_up_ray_data(ordered=False, losses=patience)
    # A block a part, in the store at once: a task that reads names would need a core of its own, which the actors have.
    dataset: Dataset = ray.data.from_arrow([pa.table({"part": [name]}) for name in parts])
    with warnings.catch_warnings():
        # A lost part is for the next round. Restarts stay unbounded: Ray Data waits for ever for an actor that is out of them.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        dataset = dataset.map_batches(
            _Actor,
            batch_size=1,
            fn_constructor_kwargs={"job": job, "counter": counter},
            compute=ActorPoolStrategy(size=min(compute.known_actors, len(parts)), max_tasks_in_flight_per_actor=1),
            max_restarts=-1,
            max_task_retries=0,
            num_cpus=float(compute.threads),
            num_gpus=compute.gpus_per_actor or None,
            memory=compute.memory_per_actor * GB or None,
        )
    with watch_sigint() as check_interrupt:
        try:
            for batch in dataset.iter_batches(batch_size=1, batch_format="numpy", prefetch_batches=0):
                check_interrupt()
                yield str(batch["name"][0]), _result(batch)
        except DEATHS as error:
            if isinstance(error, RayActorError) and error.actor_init_failed:
                raise ProcessesDieError(f"no actor can begin: {str(error).strip().splitlines()[-1]}") from error


class _Actor:
    """Does parts. The worker makes its stages when they are first needed, so that an error there is one of the stage."""

    def __init__(self, *, job: PartJob, counter: Any) -> None:
        self._counter, self._worker = counter, PartWorker(job)
        self._told = time.monotonic()
        self._untold: list[Outcome] = []

    def __call__(self, batch: Batch) -> Batch:
        name = str(batch["part"][0])
        sums, error = {}, b""
        try:
            sums = self._worker(name, self._tell)
        except Exception as raised:  # whatever it is, the driver raises it; raised here, Ray Data would take it for a lost part
            raised.add_note(traceback.format_exc())
            error = packed(raised)
        self._tell((), now=True)
        return {"name": [name], "sums": [json.dumps(sums)], "error": pa.array([error], pa.binary())}

    def _tell(self, rows: Sequence[Any], *, now: bool = False) -> None:
        self._untold += [Outcome(row.status, row.l2) for row in rows]
        if self._untold and (now or time.monotonic() - self._told > LOOK_SECONDS):
            self._counter.add.remote(dict(Counter(one.status for one in self._untold)), sum(one.l2 or 0 for one in self._untold))
            self._untold, self._told = [], time.monotonic()


def packed(error: Exception) -> bytes:
    """An error for the driver, which raises it as it was; one that cannot travel becomes a RuntimeError of the same words."""
    try:
        data = pickle.dumps(error)
        pickle.loads(data)
    except Exception:  # its class may do anything when it is taken apart and put together
        return pickle.dumps(RuntimeError("".join(traceback.format_exception(error))))
    return data


def _result(batch: Mapping[str, Any]) -> dict[str, Any]:
    if error := batch["error"][0]:
        raise pickle.loads(error)  # made by `packed` in an actor of this very run
    sums: dict[str, Any] = json.loads(str(batch["sums"][0]))
    return sums


@ray.remote(num_cpus=0)
class _Counter:
    """Adds up what the actors have done."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._l2 = 0.0

    def add(self, counts: Mapping[str, int], l2: float) -> None:
        self._counts.update(counts)
        self._l2 += l2

    def sums(self) -> tuple[Counter[str], float]:
        return self._counts, self._l2


@contextmanager
def _progress_of(progress: Progress) -> Iterator[Any]:
    """Inside the block, what the actors tell the counter that comes back is shown as it comes."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    counter = _Counter.options(scheduling_strategy=here).remote()  # type: ignore[attr-defined]
    over = threading.Event()
    shown: tuple[Counter[str], float] = (Counter(), 0.0)

    def look() -> None:
        nonlocal shown
        with suppress(RayError):  # it has no time for an answer, or its host is lost: the next look may show more
            counts, l2 = ray.get(counter.sums.remote(), timeout=10 * LOOK_SECONDS)
            progress.count(counts - shown[0], l2 - shown[1])
            shown = (counts, l2)

    def watch() -> None:
        while not over.wait(LOOK_SECONDS):
            look()

    thread = threading.Thread(target=watch, name="disrupt-progress", daemon=True)
    thread.start()
    try:
        yield counter
        over.set()
        thread.join()
        look()
    finally:
        over.set()
        ray.kill(counter)
