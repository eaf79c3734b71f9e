"""Batches made ahead of the steps that need them, in light tasks on Ray, in the order of the steps.

Plain tasks, not a Ray Dataset: the thread that drives a dataset would run in the worker's process and take its interpreter lock
about half of the time, which makes a step of many small operations two to four times as long.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from typing import Any

import ray
import ray.data
import torch

from pipeline.jobs.ray_data import set_up_ray_data
from pipeline.training.data.batches import Source
from pipeline.training.data.store import Part, decode_part
from pipeline.training.systems.system import Batch

TASK_CPUS = 0.25
"""Less than a core, so that workers which take the others never wait for batches that wait for a core."""
BLOCK = 4
"""Steps in one task."""


class Feed:
    """A source whose batches tasks make ahead of the steps that need them.

    Steps follow one another, from any first one; a step out of turn starts the feed again there. Each batch is that of the source
    itself for the step: neither order nor number of tasks changes it. One task more than ``tasks`` is under way or waits ready.
    """

    def __init__(self, source: ray.ObjectRef[Source], *, steps: int, tasks: int = 1) -> None:
        self._source = source
        self._steps = steps
        self._tasks = tasks
        self._next = -1
        self._batches: Iterator[Batch] = iter(())

    def batch(self, step: int) -> Batch:
        """The whole batch of a step, on the CPU."""
        if step != self._next:
            self._batches = self._from(step)
        self._next = step + 1
        return next(self._batches)

    def held_out(self) -> Batch:
        """The source's images for sample grids."""
        return _fetch(self._source).held_out()

    def _from(self, first: int) -> Iterator[Batch]:
        last = max(self._steps, first + 1)
        blocks = iter([range(begin, min(begin + BLOCK, last)) for begin in range(first, last, BLOCK)])
        make = ray.remote(_make).options(num_cpus=TASK_CPUS)
        waiting: deque[ray.ObjectRef[list[bytes]]] = deque()
        while True:
            while len(waiting) <= self._tasks and (steps := next(blocks, None)) is not None:
                waiting.append(make.remote(steps, [self._source]))  # in a list Ray hands the reference over, not the value
            if not waiting:
                return
            for data in ray.get(waiting.popleft()):
                yield {name: torch.from_numpy(array) for name, array in pickle.loads(data).items()}


def decode_on_ray(parts: Sequence[Part]) -> Iterator[Part]:
    """Decode the parts in tasks of the connected cluster; yields each when it is whole."""
    set_up_ray_data(ordered=False)
    rows = ray.data.from_items([{"part": number} for number in range(len(parts))], override_num_blocks=len(parts))
    decoded = rows.map_batches(partial(_decode, parts=[ray.put(list(parts))]), batch_size=1, num_cpus=1)
    for row in decoded.iter_batches(batch_size=1, batch_format="numpy", prefetch_batches=0):
        yield parts[int(row["part"][0])]


def _decode(row: Any, *, parts: list[ray.ObjectRef[list[Part]]]) -> Any:
    decode_part(ray.get(parts[0])[int(row["part"][0])])
    return row


def _make(steps: range, source: list[ray.ObjectRef[Source]]) -> list[bytes]:
    """The batches of some steps, each as bytes, whose arrays the reader may write to."""
    torch.set_num_threads(1)  # several tasks share the cores with the workers
    batches = [_fetch(source[0]).batch(step) for step in steps]
    return [pickle.dumps({k: v.numpy() for k, v in batch.items()}, protocol=pickle.HIGHEST_PROTOCOL) for batch in batches]


@lru_cache(maxsize=1)
def _fetch(source: ray.ObjectRef[Source]) -> Source:
    """The source, once in a process."""
    local: Source = ray.get(source)
    return local
