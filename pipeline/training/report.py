"""What a training shows while it runs: curves in log.jsonl and MLflow, sample pictures, and progress on the terminal."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from pipeline.jobs.progress import clock
from pipeline.jobs.tracking import Tracking
from pipeline.storage import open_storage, write_atomic
from pipeline.training.loop import Event, Losses, Picture, Started

LOG_FILE = "log.jsonl"
RECORD_SECONDS = 5.0
NOT_LOSSES = {"lr", "s_per_step", "pictures_per_s"}
FEWEST = 10
"""Points of a curve from which on its beginning and its end are told apart."""
RECENT = 50
"""Points of the curves over which the pace is averaged."""


class Report:
    """Takes the events of a training as they come; a step that is trained again after a crash is recorded again."""

    def __init__(self, console: Console, *, out: Path, steps: int, minutes: float | None, tracking: Tracking) -> None:
        self._console = console
        self._out = out
        self._steps = steps
        self._deadline = None if minutes is None else time.monotonic() + 60 * minutes
        self._tracking = tracking
        self._waiting: list[tuple[int, Mapping[str, float]]] = []
        self._curves: dict[str, list[float]] = {}
        self._pace: list[float] = []
        self._pause = 1.0 if console.is_terminal else 15.0
        self._printed = self._recorded = time.monotonic()
        self.step = 0

    def add(self, event: Event) -> None:
        """Show and record one event."""
        self.step = event.step if isinstance(event, Started) else max(event.step, self.step)
        if isinstance(event, Started):
            self._console.print(f"training from step {event.step} to {self._steps}", highlight=False)
        elif isinstance(event, Losses):
            self._add_losses(event.step, event.values)
        elif isinstance(event, Picture):
            path = self._out / f"pictures-{event.step:06d}.png"
            write_atomic(*open_storage(path), event.png)
            self._tracking.artifact(path, "pictures")

    def line(self) -> str:
        """How far the training is, as one line."""
        seconds = statistics.fmean(self._pace[-RECENT:]) if self._pace else 0.0
        left = (self._steps - self.step) * seconds
        if self._deadline is not None:
            left = min(left, max(self._deadline - time.monotonic(), 0.0))
        losses = "  ".join(f"{name} {statistics.fmean(curve[-RECENT:]):.4g}" for name, curve in self._curves.items())
        return f"{self.step}/{self._steps} steps, {seconds:.2f} s/step, {clock(left)} left  {losses}  "

    def changes(self) -> str:
        """Each loss at the beginning and at the end of what was watched, as one line; empty when there was too little."""
        watched = {name: (curve, max(len(curve) // 10, 1)) for name, curve in self._curves.items() if len(curve) >= FEWEST}
        return ", ".join(
            f"{name} {statistics.fmean(curve[:tenth]):.4g} -> {statistics.fmean(curve[-tenth:]):.4g}"
            for name, (curve, tenth) in watched.items()
        )

    def close(self) -> None:
        """Record what has not been recorded yet and end the line."""
        self._record()
        if self._curves:
            self._console.print(self.line(), highlight=False, soft_wrap=True)

    def _add_losses(self, step: int, values: Mapping[str, float]) -> None:
        shown = {name: float(f"{value:.5g}") for name, value in values.items()}
        with (self._out / LOG_FILE).open("a", encoding="utf-8") as log:
            log.write(json.dumps({"step": step} | shown) + "\n")
        for name in values.keys() - NOT_LOSSES:
            self._curves.setdefault(name, []).append(values[name])
        self._curves = dict(sorted(self._curves.items()))
        self._pace.append(values["s_per_step"])
        self._waiting.append((step, values))
        now = time.monotonic()
        if now - self._printed >= self._pause:
            self._printed = now
            self._console.print(self.line(), end="\r" if self._console.is_terminal else "\n", highlight=False, soft_wrap=True)
        if now - self._recorded >= RECORD_SECONDS:
            self._record()

    def _record(self) -> None:
        self._recorded = time.monotonic()
        self._tracking.curves(self._waiting)
        self._waiting = []
