"""One process's part of a training: the loop with its sample pictures, its time limit and its orderly end."""

from __future__ import annotations

import io
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from types import FrameType
from typing import Literal

import torch

from pipeline.training.data.batches import Source
from pipeline.training.job import Job
from pipeline.training.loop import Hooks, Rhythm, run
from pipeline.training.picture import grid
from pipeline.training.state import TrainState
from pipeline.training.step import ALONE, Share

MOST_LINES = 5000
"""About as many points has each curve of a whole training; each is the mean since the one before."""
End = Literal["done", "time", "interrupted"]


@dataclass(frozen=True)
class Event:
    """Something that whoever watches a training is told: losses, a sample picture (PNG), or a checkpoint, after a step."""

    kind: Literal["begun", "losses", "picture", "checkpoint"]
    step: int
    values: Mapping[str, float] | None = None
    png: bytes = b""


def train(
    job: Job,
    state: TrainState,
    source: Source,
    *,
    tell: Callable[[Event], None],
    save: Callable[[TrainState], None],
    share: Share = ALONE,
    interrupted: Callable[[], bool] = lambda: False,
) -> End:
    """Train to the last step, to the time limit, or until ``interrupted`` says so; whichever it was, ``save`` has the last state.

    Every worker calls ``save`` at the same steps; only the first one tells. Raises TrainError as the loop does.
    """
    until = _Until(job, share, interrupted, state.device)
    first = share.rank == 0

    def log(step: int, values: Mapping[str, float]) -> None:
        if first:
            rate = {"pictures_per_s": job.batch / values["s_per_step"]}
            tell(Event("losses", step, dict(values) | rate))

    def checkpoint(state: TrainState) -> None:
        save(state)
        if first:
            tell(Event("checkpoint", state.step))

    def show(state: TrainState) -> None:
        if first and job.config.grid_every:
            tell(Event("picture", state.step, png=sample_picture(job, state, source)))

    steps = job.settings.steps
    rhythm = Rhythm(max(1, steps // MOST_LINES), job.config.every, job.config.grid_every or steps)
    hooks = Hooks(log=log, checkpoint=checkpoint, grid=show, seen=until.check)
    if first:
        tell(Event("begun", state.step))
    try:
        run(state, job.system, source, job.settings, rhythm=rhythm, hooks=hooks, share=share)
    except _Stopped as stopped:
        checkpoint(state)
        show(state)
        return stopped.why
    return "done"


def sample_picture(job: Job, state: TrainState, source: Source) -> bytes:
    """What the averaged generator makes of held-out pictures, as PNG. Nothing of the training changes by it."""
    G = deepcopy(state.G_ema).cpu()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        picture = grid(job.row.show(job.system, G, source.held_out()))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


class _Stopped(Exception):  # noqa: N818 (no error: it carries the decision out of the loop)
    def __init__(self, why: End) -> None:
        self.why = why


class _Until:
    """Ends the loop between two steps, on all workers after the same one."""

    def __init__(self, job: Job, share: Share, interrupted: Callable[[], bool], device: torch.device) -> None:
        self._device = device
        self._deadline = None if job.config.minutes is None else time.monotonic() + 60 * job.config.minutes
        self._last = job.settings.steps
        self._share = share
        self._interrupted = interrupted

    def check(self, step: int) -> None:
        if step >= self._last:
            return
        if self._interrupted():
            raise _Stopped("interrupted")
        if self._deadline is not None and self._is_over(self._deadline):
            raise _Stopped("time")

    def _is_over(self, deadline: float) -> bool:
        """Whether the time is up for any worker; all get the same answer."""
        over = torch.tensor([float(time.monotonic() >= deadline)], device=self._device)
        self._share.average([over])
        return bool(over[0] > 0)


@contextmanager
def interrupt_noted() -> Iterator[Callable[[], bool]]:
    """Inside, a first Ctrl-C is only noted, so that the step in work is finished; a second one interrupts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    noted = threading.Event()
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: FrameType | None) -> None:
        noted.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, note)
    try:
        yield noted.is_set
    finally:
        signal.signal(signal.SIGINT, before)
