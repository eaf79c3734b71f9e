"""The stages of a verb: one list of functions from photos to what becomes of them, folded in a loop here or on Ray.

The loop isolates nothing: a photo that kills its process ends the run, and the same command meets it again. On Ray it costs a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
SHARD_BYTES = 64 * 2**20
"""Most bytes of a shard on its way from one stage to the next."""
Function = Callable[[Any], Any]
"""A list of photos to the list of what becomes of them, in the same order; the last stage returns rows."""


@dataclass(frozen=True)
class TaskStage:
    """A light stage. One that takes ``whole`` shards commits them; others take photos in lists of any length."""

    name: str
    function: Function
    whole: bool = False


@dataclass(frozen=True)
class ActorStage:
    """A stage that holds networks: ``make`` returns its function, once in each process."""

    name: str
    make: Callable[[], Function]


Stages = Sequence[TaskStage | ActorStage]
Fail = Callable[..., list[Any]]
"""(photo, name of a stage, reason) to the rows of a photo that killed its process there."""


def run_here(shards: Sequence[Sequence[Any]], stages: Stages) -> Iterator[list[Any]]:
    """The rows of the shards, made in this process. One photo at a time, so that only one is in memory as pixels."""
    single = [stage.function if isinstance(stage, TaskStage) else stage.make() for stage in stages if not _whole(stage)]
    whole = [stage.function for stage in stages if isinstance(stage, TaskStage) and stage.whole]
    for shard in shards:
        done = (fold(single, [photo]) for photo in shard)
        if whole:
            yield fold(whole, [row for rows in done for row in rows])
        else:
            yield from done


def split(photos: Sequence[T], *, most: int, bytes_each: int, actors: int) -> list[list[T]]:
    """The photos in shards of at most ``most`` and SHARD_BYTES between two stages, at least four for each actor."""
    count = max(1, min(most, SHARD_BYTES // bytes_each, -(-len(photos) // (4 * actors))))
    return [list(photos[i : i + count]) for i in range(0, len(photos), count)]


def fold(functions: Sequence[Function], photos: list[Any]) -> list[Any]:
    """What the functions make of the photos, one after the other."""
    for function in functions:
        photos = function(photos)
    return photos


def _whole(stage: TaskStage | ActorStage) -> bool:
    return isinstance(stage, TaskStage) and stage.whole
