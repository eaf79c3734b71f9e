"""The training loop: batches in, a trained state out. What it reports goes to hooks, other workers hide behind a Share."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pipeline.training.data.batches import Source
from pipeline.training.errors import TrainError
from pipeline.training.state import TrainState
from pipeline.training.step import ALONE, Share, StepSettings, learning_rate, train_step
from pipeline.training.systems.system import System


def _nothing(*_: object) -> None:
    """A hook that does nothing."""


@dataclass(frozen=True)
class Hooks:
    """What is called while a training runs, on every worker: ``log`` with the step and means since the last call."""

    log: Callable[[int, Mapping[str, float]], None] = _nothing
    checkpoint: Callable[[TrainState], None] = _nothing
    grid: Callable[[TrainState], None] = _nothing
    seen: Callable[[int], None] = _nothing
    """Called after every step with its number, for progress."""


@dataclass(frozen=True)
class Rhythm:
    """After how many steps each hook is called; all are also called at the end."""

    log: int = 10
    checkpoint: int = 250
    grid: int = 250

    def __post_init__(self) -> None:
        if min(self.log, self.checkpoint, self.grid) < 1:
            raise TrainError("the steps between log lines, checkpoints and grids are whole numbers of at least 1")


def run(
    state: TrainState,
    system: System,
    source: Source,
    settings: StepSettings,
    *,
    rhythm: Rhythm = Rhythm(),
    hooks: Hooks = Hooks(),
    share: Share = ALONE,
) -> TrainState:
    """Train up to step ``settings.steps`` from wherever ``state`` is; returns the same state.

    Raises TrainError when a loss is not a finite number, before anything of that step is reported or checkpointed.
    """
    means = _Means()
    while state.step < settings.steps:
        means.add(train_step(state, system, source.batch(state.step), settings, share))
        hooks.seen(state.step)
        last = state.step == settings.steps
        if last or state.step % rhythm.log == 0:
            hooks.log(state.step, {"lr": learning_rate(state.step - 1, settings)} | means.taken())
        if last or state.step % rhythm.checkpoint == 0:
            hooks.checkpoint(state)
        if last or state.step % rhythm.grid == 0:
            hooks.grid(state)
    return state


def compile_nets(state: TrainState, *, backend: str = "inductor") -> None:
    """From now on the nets run as torch.compile makes them, under their names as before; penalties still run uncompiled.

    The backend ``inductor`` needs a C++ compiler.
    """
    for net in (*state.nets.G.values(), *state.nets.D.values()):
        net.compile(backend=backend)


@dataclass
class _Means:
    """Means of what steps return, and the seconds that a step took."""

    values: dict[str, list[float]] = field(default_factory=dict)
    steps: int = 0
    began: float = field(default_factory=time.monotonic)

    def add(self, parts: Mapping[str, float]) -> None:
        self.steps += 1
        for name, value in parts.items():
            self.values.setdefault(name, []).append(value)

    def taken(self) -> dict[str, float]:
        """The means so far; counting begins anew."""
        means = {name: sum(values) / len(values) for name, values in self.values.items()}
        seconds = (time.monotonic() - self.began) / self.steps
        self.values, self.steps, self.began = {}, 0, time.monotonic()
        return means | {"s_per_step": seconds}
