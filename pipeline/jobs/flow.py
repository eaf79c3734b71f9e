"""Where the stages of a verb run: in a loop here, or on Ray."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console

from pipeline.jobs.options import Compute
from pipeline.jobs.stages import Fail, Stages, run_here


def run_stages(
    shards: Sequence[Sequence[Any]], stages: Stages, fail: Fail, *, compute: Compute, console: Console
) -> Iterator[list[Any]]:
    """The rows that the last stage makes of the shards (lists of photos), as they come.

    Raises the errors of a stage as they are; on Ray ConfigError when the cluster cannot hold the run, and FlowError when processes
    die over all photos.
    """
    if not shards:
        return
    if not compute.on_ray(sum(map(len, shards))):
        yield from run_here(shards, stages)
        return
    from pipeline.jobs.ray import connected
    from pipeline.jobs.ray_data import actors_need, run_on_ray

    with connected(compute.address, console, actors_need(compute)):
        yield from run_on_ray(shards, stages, fail, compute)
