"""Where the parts of a run are done: in a loop here, or on Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
from rich.console import Console

from pipeline.jobs.options import Compute
from pipeline.jobs.parts import PARTS_FOR_EACH, PartJob, run_here
from pipeline.jobs.progress import Progress
from pipeline.ledger.parts import committed
from pipeline.ledger.plan import MOST, Keyed, commit_plan, extend_plan, read_plan


def run_parts(
    parts: Sequence[str], job: PartJob, *, photos: int, compute: Compute, console: Console, progress: Progress
) -> Iterator[dict[str, Any]]:
    """The sums of each of these parts, with so many ``photos`` in all, as they are committed.

    Raises the errors of a stage as they are, ProcessesDieError, and on Ray ConfigError when the cluster cannot hold the run.
    """
    if not parts:
        return
    if not compute.on_ray(photos):
        yield from run_here(parts, job, progress.add)
        return
    from pipeline.jobs.ray import connected
    from pipeline.jobs.ray_data import actors_need, run_on_ray, with_actors

    with connected(compute.address, console, actors_need(compute)):
        yield from run_on_ray(parts, job, with_actors(compute, console), progress)


def do_all(
    photos: Sequence[Keyed],
    as_table: Callable[[Sequence[Any]], pa.Table],
    job: PartJob,
    *,
    about: int | None = None,
    compute: Compute,
    console: Console,
    progress: Progress,
) -> tuple[str, ...]:
    """The parts of a run that lists all its photos at once, now done; one that was stopped goes on with what it has planned.

    With ``about`` they are containers, a part each, which hold about so many photos.
    """
    plan = read_plan(job.folder)
    if not plan.counts:
        most = MOST if about is None else 1
        plan = extend_plan(job.folder, plan, photos, as_table, most=most, shares=PARTS_FOR_EACH * compute.known_actors)
        commit_plan(job.folder, plan)
    done = committed(job.folder)
    waiting = [part for part in plan.parts if part not in done]
    count = sum(map(plan.count, waiting)) if about is None else about
    for _ in run_parts(waiting, job, photos=count, compute=compute, console=console, progress=progress):
        pass
    return plan.parts
