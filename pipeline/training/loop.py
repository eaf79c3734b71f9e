"""The training loop as a generator of events: what a step does, when the state is saved, when training stops."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.images.levels import unit_to_pixels
from pipeline.training.data.batches import Source
from pipeline.training.state import TrainState
from pipeline.training.step import ALONE, Share, StepSettings, learning_rate, train_step
from pipeline.training.systems.system import System, match_nets


@dataclass(frozen=True)
class Event:
    """Something that happens in a training after so many steps."""

    step: int


class Started(Event):
    """Training begins at a step: 0, or that of a checkpoint."""


@dataclass(frozen=True)
class Losses(Event):
    """The mean of each loss since the last such event, the learning rate, and the pace."""

    values: Mapping[str, float]


class SaveDue(Event):
    """The state is to be saved now: it stays as it is until the next event is asked for."""


@dataclass(frozen=True)
class Picture(Event):
    """What the averaged generator makes of held-out images."""

    png: bytes


@dataclass(frozen=True)
class Stopped(Event):
    """Training is over: it has all its steps, its time is up, or it was interrupted."""

    why: Literal["done", "time", "interrupted"]


@dataclass(frozen=True)
class Schedule:
    """After how many steps events come; each also comes after the last step. The time limit is in minutes."""

    losses: int = 10
    save: int = 250
    picture: int = 0
    """0 draws no pictures."""
    minutes: float | None = None


def train(
    state: TrainState,
    system: System,
    source: Source,
    settings: StepSettings,
    schedule: Schedule = Schedule(),
    *,
    share: Share = ALONE,
    is_interrupted: Callable[[], bool] = lambda: False,
) -> Iterator[Event]:
    """Train up to step ``settings.steps``, the time limit or an interrupt; all workers yield the same, but for pictures.

    Raises TrainError when a loss is not a finite number, before anything of that step is yielded.
    """
    deadline = None if schedule.minutes is None else time.monotonic() + 60 * schedule.minutes
    losses: list[dict[str, float]] = []
    began = time.monotonic()
    yield Started(state.step)
    why: Literal["done", "time", "interrupted"] | None = "done" if state.step >= settings.steps else None
    while why is None:
        batch = source.batch(state.step)
        losses.append(train_step(state, system, batch, settings, share))
        if state.step >= settings.steps:
            why = "done"
        elif is_interrupted():
            why = "interrupted"
        elif deadline is not None and _is_over(deadline, share, state.device):
            why = "time"
        if why or state.step % schedule.losses == 0:
            per_step = (time.monotonic() - began) / len(losses)
            pace = {"s_per_step": per_step, "pictures_per_s": len(next(iter(batch.values()))) / per_step}
            values = {"lr": learning_rate(state.step - 1, settings)} | _means(losses) | pace
            losses, began = [], time.monotonic()
            yield Losses(state.step, values)
        if why or state.step % schedule.save == 0:
            yield SaveDue(state.step)
        if schedule.picture and share.rank == 0 and (why or state.step % schedule.picture == 0):
            yield Picture(state.step, sample_picture(system, state, source))
    yield Stopped(state.step, why)


def _is_over(deadline: float, share: Share, device: torch.device) -> bool:
    """Whether the time is up for any worker; all workers get the same answer."""
    late = torch.tensor([float(time.monotonic() >= deadline)], device=device)
    share.average([late])
    return bool(late[0] > 0)


@torch.no_grad()
def sample_picture(system: System, state: TrainState, source: Source) -> bytes:
    """What the averaged generator makes of held-out images, as PNG. Nothing of the training changes by it."""
    G = deepcopy(state.G_ema).cpu()
    with torch.random.fork_rng(devices=[]):
        picture = grid(system.samples(G, match_nets(G, source.held_out())))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def grid(columns: Sequence[Tensor]) -> Image.Image:
    """Columns of images (B, 3, H, W) in [-1, 1] as one picture with a row for each of the B."""
    B, _, H, W = columns[0].shape
    rows = torch.stack([column.float().cpu() for column in columns], 1).permute(0, 3, 1, 4, 2)
    return Image.fromarray(unit_to_pixels(rows.reshape(B * H, len(columns) * W, 3)).numpy().astype(np.uint8))


def _means(steps: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each loss over the steps that have it."""
    values: dict[str, list[float]] = {}
    for step in steps:
        for name, value in step.items():
            values.setdefault(name, []).append(value)
    return {name: sum(each) / len(each) for name, each in values.items()}
