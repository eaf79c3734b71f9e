"""How the stages of a verb run on Ray Data, and what happens when a process dies on the way.

An error that a stage raises ends the run with its own message. A death (a lost node, a crash, no memory) does not: Ray tries the
shard RETRIES times more. A shard that loses all these processes is halved, and its halves go through the stages in the next round,
until the photo that kills is alone. It becomes a failed row; all others are done.
"""

from __future__ import annotations

import logging
import os
import pickle
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
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
    WorkerCrashedError,
)
from ray.util.annotations import RayDeprecationWarning

from pipeline.jobs.interrupt import watch_sigint
from pipeline.jobs.options import Compute
from pipeline.jobs.room import Need
from pipeline.jobs.stages import ActorStage, Fail, Function, Stages, TaskStage

ACTORS_SECONDS = 600
"""How long a job waits for its first actors before it fails."""
RETRIES = 2
"""How often Ray tries a shard again after its process died."""
NODE_SECONDS = 90
"""How long Ray may need to see that a node is lost. Until then its actors are unavailable, as those that are being restarted."""
PATIENCE = 12
"""How many shards may lose their processes before the first one is done. After more than these the photos are not to blame."""
DEATHS = (WorkerCrashedError, RayActorError, OutOfMemoryError, NodeDiedError, ObjectLostError)
"""How Ray says that a process ended, or took with it what was on its way."""
TASK_SIZE: dict[str, Any] = {"num_cpus": 0.5}
"""Light stages share a core."""
# Ray tries a task that it ended for want of memory for ever, whatever max_retries says. It reads this when it connects.
os.environ.setdefault("RAY_task_oom_retries", str(RETRIES))
Batch = Any
"""A dict of columns; Ray's own annotations of batches do not fit plain dicts."""


def actors_need(compute: Compute) -> Need:
    """What the actors and the light stages ask of a cluster; one actor is enough to begin."""
    actor, light = _actor_size(compute), {"CPU": TASK_SIZE["num_cpus"]}
    flags = "--actors or --gpus-per-actor" if compute.on_gpu else "--actors or --threads"
    return Need([actor] * compute.actors + [light], [actor, light], flags)


def _actor_size(compute: Compute) -> dict[str, float]:
    """The GPUs of an actor, or its cores: half a core less than its threads, so that the light stages always find room."""
    return {"GPU": compute.gpus_per_actor} if compute.on_gpu else {"CPU": compute.threads - TASK_SIZE["num_cpus"]}


def _options(size: Mapping[str, float]) -> dict[str, Any]:
    """Cores and GPUs as Ray's options name them."""
    return {f"num_{unit.lower()}s": amount for unit, amount in size.items()}


class FlowError(ValueError):
    """The cluster cannot finish the run; the message says what happened."""


def run_on_ray(shards: Sequence[Sequence[Any]], stages: Stages, fail: Fail, compute: Compute) -> Iterator[list[Any]]:
    """The rows that the last stage makes of each shard (a list of photos), in any order.

    A photo that kills its process has the rows of ``fail``, which takes the photo, the name of the stage and the reason. Raises
    FlowError when more than PATIENCE shards lose their processes before one is done, and the errors of a stage as they are.
    """
    waiting = {str(number): shard for number, shard in enumerate(shards)}
    patience = PATIENCE
    while waiting:
        count, nodes = len(waiting), _nodes()
        try:
            for name, rows in _round(waiting, stages, compute, patience):
                del waiting[name]
                patience = -1
                yield rows
        except DEATHS as error:
            if len(waiting) == count and not _lost_node(error, nodes):
                raise FlowError(f"processes die over all photos: {why_died(error)}. What is done is kept.") from error
            continue
        for photos in waiting.values():
            if len(photos) == 1:
                yield _alone(photos[0], stages, fail, compute)
        waiting = {
            f"{name}.{number}": half
            for name, photos in waiting.items()
            if len(photos) > 1
            for number, half in enumerate((photos[: len(photos) // 2], photos[len(photos) // 2 :]))
        }


def why_died(error: Exception) -> str:
    """Why Ray lost a process, for people: what happened and what helps."""
    if isinstance(error, OutOfMemoryError):
        return "Ray ended it because the memory of its host was full (fewer --actors or smaller --max-megapixels need less)"
    return "it crashed, or the system ended it for want of memory (fewer --actors or smaller --max-megapixels need less)"


def _lost_node(error: Exception, nodes: set[str]) -> bool:
    """Whether one of ``nodes`` was lost, so that a death need not be the fault of what the process did."""
    unclear = isinstance(error, ActorUnavailableError) and len(nodes) > 1
    until = time.monotonic() + (NODE_SECONDS if unclear else 0)
    while nodes <= _nodes():
        if time.monotonic() >= until:
            return False
        time.sleep(1)
    return True


def _nodes() -> set[str]:
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def set_up_ray_data(*, ordered: bool, losses: int = 0) -> None:
    """Settings of this process: errors as they were raised, no output of its own, and no endless wait for a process.

    ``ordered`` keeps the order of rows, at the price of waiting for the slowest. As many blocks as ``losses`` says may be left out
    because their processes died, any number with -1.
    """
    context = DataContext.get_current()
    context.wait_for_min_actors_s = ACTORS_SECONDS
    context.execution_options.preserve_order = ordered
    context.max_errored_blocks = losses
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.raise_original_map_exception = True
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.CRITICAL)


def _round(shards: Mapping[str, Sequence[Any]], stages: Stages, compute: Compute, patience: int) -> Iterator[tuple[str, list[Any]]]:
    """Name and rows of each shard that gets through the stages; those that lost their processes are missing.

    Raises one of DEATHS when more than ``patience`` are; -1 is no limit.
    """
    set_up_ray_data(ordered=False, losses=patience)
    blocks = [{"name": name, "value": pickle.dumps(list(photos))} for name, photos in shards.items()]
    dataset: Dataset = ray.data.from_items(blocks, override_num_blocks=len(blocks))
    for stage in stages:
        dataset = _through(dataset, stage, compute)
    with watch_sigint() as check_interrupt:
        for batch in dataset.iter_batches(batch_size=1, batch_format="numpy", prefetch_batches=0):
            check_interrupt()
            yield str(batch["name"][0]), _result(pickle.loads(batch["value"][0]))


def _through(dataset: Dataset, stage: TaskStage | ActorStage, compute: Compute) -> Dataset:
    """The dataset through a stage, one shard at a time."""
    with warnings.catch_warnings():
        # Retries are unbounded by default, and Ray 2.60 has no other way to bound them. Restarts stay unbounded: Ray Data waits
        # for ever for an actor that is out of them.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        if isinstance(stage, TaskStage):
            return dataset.map_batches(partial(_step, function=stage.function), batch_size=1, max_retries=RETRIES, **TASK_SIZE)
        return dataset.map_batches(
            _Actor,
            batch_size=1,
            fn_constructor_kwargs={"make": stage.make},
            compute=ActorPoolStrategy(min_size=1, max_size=compute.actors),
            max_restarts=-1,
            max_task_retries=RETRIES,
            **_options(_actor_size(compute)),
        )


def _step(batch: Batch, *, function: Function) -> Batch:
    value = _attempt(function, pickle.loads(batch["value"][0]))
    data = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    return {"name": batch["name"], "value": pa.array([data], pa.large_binary())}  # a plain binary column ends at 2 GB


class _Actor:
    """Makes its function when it is first needed, so that an error there is one of the stage."""

    def __init__(self, *, make: Callable[[], Function]) -> None:
        self._make = make
        self._function: Function | None = None

    def __call__(self, batch: Batch) -> Batch:
        return _step(batch, function=self._work)

    def attempt(self, value: Any) -> Any:
        return _attempt(self._work, value)

    def _work(self, value: Any) -> Any:
        self._function = self._function or self._make()
        return self._function(value)


@dataclass(frozen=True)
class _Raised:
    """An error of a stage on its way to the driver: raised in the worker, Ray Data would take it for the loss of one shard."""

    error: Exception


def _attempt(function: Function, value: Any) -> Any:
    """What the function makes of a value, or the error that it raises."""
    if isinstance(value, _Raised):
        return value
    try:
        return function(value)
    except Exception as error:  # whatever it is, the driver raises it
        error.add_note(traceback.format_exc())
        return _Raised(error)


def _result(value: Any) -> Any:
    if isinstance(value, _Raised):
        raise value.error
    return value


def _alone(photo: Any, stages: Stages, fail: Fail, compute: Compute) -> list[Any]:
    """The rows of a photo that goes through the stages without Ray Data, which does not say of what a process died."""
    value: Any = [photo]
    for stage in stages:
        try:
            value = _result(_in_own_process(stage, value, compute))
        except DEATHS as error:
            return fail(photo, stage.name, f"its process died {RETRIES + 1} times: {why_died(error)}")
    rows: list[Any] = value
    return rows


def _in_own_process(stage: TaskStage | ActorStage, value: Any, compute: Compute) -> Any:
    """What a stage makes of a value in a new process; one of DEATHS when that dies again and again. Lost nodes do not count."""
    deaths = 0
    while True:
        nodes = _nodes()
        try:
            if isinstance(stage, TaskStage):
                task = ray.remote(_attempt).options(max_retries=0, **TASK_SIZE)
                return ray.get(task.remote(stage.function, value))
            actor: Any = ray.remote(_Actor)
            return ray.get(actor.options(**_options(_actor_size(compute))).remote(make=stage.make).attempt.remote(value))
        except DEATHS as error:
            deaths += not _lost_node(error, nodes)
            if deaths > RETRIES:
                raise
