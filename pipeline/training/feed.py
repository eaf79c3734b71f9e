"""Batches on Ray Data: read and cropped ahead of the steps that need them, in light tasks, in the order of the steps."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from typing import Any

import pyarrow as pa
import ray
import ray.data
import torch
from ray.data import Dataset, TaskPoolStrategy

from pipeline.jobs.ray_data import set_up_ray_data
from pipeline.training.data.batches import Source
from pipeline.training.data.store import Part, decode_part
from pipeline.training.systems.system import Batch

TASK_CPUS = 0.25
"""Less than a core, so that workers which take the others never wait for batches that wait for a core."""
BLOCK, STRETCH = 4, 4096
"""Steps in one task, and steps in one dataset: the next one is begun when it is used up."""
AHEAD = 4
"""Batches that wait ready beside the one in use."""


class Feed:
    """A source whose batches Ray Data makes ahead of the steps that need them.

    Steps follow one another, from any first one; a step out of turn starts the feed again there. Each batch is that of the source
    itself for the step: neither order nor number of tasks changes it.
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
        for begin in range(first, max(self._steps, first + 1), STRETCH):
            steps = range(begin, max(min(begin + STRETCH, self._steps), begin + 1))
            rows = batches(steps, self._source, tasks=self._tasks).iter_batches(
                batch_size=1, batch_format="numpy", prefetch_batches=AHEAD
            )
            for row in rows:
                arrays = pickle.loads(row["batch"][0])
                yield {name: torch.from_numpy(array) for name, array in arrays.items()}


def batches(steps: range, source: ray.ObjectRef[Source], *, tasks: int) -> Dataset:
    """One row a step, in their order; nothing runs before it is read."""
    set_up_ray_data(ordered=True)
    rows = ray.data.from_items([{"step": step} for step in steps], override_num_blocks=-(-len(steps) // BLOCK))
    work = partial(_make, source=[source])  # in a list Ray hands the reference over, not the value
    return rows.map_batches(work, batch_size=1, num_cpus=TASK_CPUS, compute=TaskPoolStrategy(size=tasks))


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


def _make(row: Any, *, source: list[ray.ObjectRef[Source]]) -> Any:
    torch.set_num_threads(1)  # several tasks share the cores with the workers
    batch = _fetch(source[0]).batch(int(row["step"][0]))
    data = pickle.dumps({name: tensor.numpy() for name, tensor in batch.items()}, protocol=pickle.HIGHEST_PROTOCOL)
    return {"step": row["step"], "batch": pa.array([data], pa.large_binary())}


@lru_cache(maxsize=1)
def _fetch(source: ray.ObjectRef[Source]) -> Source:
    """The source, once in a process."""
    local: Source = ray.get(source)
    return local
