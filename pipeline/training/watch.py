"""Whoever watches a training: its curves in log.jsonl and MLflow, its sample pictures, and how far it is on the terminal."""

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
from pipeline.training.session import Event
from pipeline.training.setup import LOG_FILE

RECORD_SECONDS = 5.0
NOT_LOSSES = {"lr", "s_per_step", "pictures_per_s"}
FEWEST = 10
"""Points of a curve from which on its beginning and its end are told apart."""
RECENT = 50
"""Points of the curves over which the pace is averaged."""


class Watch:
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
        self._said = self._recorded = time.monotonic()
        self.step = 0

    def __call__(self, event: Event) -> None:
        """Note one event."""
        self.step = max(event.step, self.step) if event.kind != "begun" else event.step
        if event.kind == "begun":
            self._console.print(f"training from step {event.step} to {self._steps}", highlight=False)
        elif event.kind == "losses" and event.values is not None:
            self._losses(event.step, event.values)
        elif event.kind == "picture":
            self._picture(event.step, event.png)

    def line(self) -> str:
        """How far the training is, as one line."""
        seconds = statistics.fmean(self._pace[-RECENT:]) if self._pace else 0.0
        left = (self._steps - self.step) * seconds
        if self._deadline is not None:
            left = min(left, max(self._deadline - time.monotonic(), 0.0))
        losses = "  ".join(f"{name} {statistics.fmean(curve[-RECENT:]):.4g}" for name, curve in self._curves.items())
        return f"{self.step}/{self._steps} steps, {seconds:.2f} s/step, {clock(left)} left  {losses}  "

    def fall(self) -> str:
        """Each loss at the beginning and at the end of what was watched, as one line; empty when there was too little."""
        said = []
        for name, curve in self._curves.items():
            if len(curve) < FEWEST:
                continue
            tenth = max(len(curve) // 10, 1)
            said.append(f"{name} {statistics.fmean(curve[:tenth]):.4g} -> {statistics.fmean(curve[-tenth:]):.4g}")
        return ", ".join(said)

    def close(self) -> None:
        """Record what has not been recorded yet and end the line."""
        self._record()
        if self._curves:
            self._console.print(self.line(), highlight=False, soft_wrap=True)

    def _losses(self, step: int, values: Mapping[str, float]) -> None:
        shown = {name: float(f"{value:.5g}") for name, value in values.items()}
        with (self._out / LOG_FILE).open("a", encoding="utf-8") as log:
            log.write(json.dumps({"step": step} | shown) + "\n")
        for name in values.keys() - NOT_LOSSES:
            self._curves.setdefault(name, []).append(values[name])
        self._curves = dict(sorted(self._curves.items()))
        self._pace.append(values["s_per_step"])
        self._waiting.append((step, values))
        now = time.monotonic()
        if now - self._said >= self._pause:
            self._said = now
            self._console.print(self.line(), end="\r" if self._console.is_terminal else "\n", highlight=False, soft_wrap=True)
        if now - self._recorded >= RECORD_SECONDS:
            self._record()

    def _picture(self, step: int, png: bytes) -> None:
        path = self._out / f"pictures-{step:06d}.png"
        fs, name = open_storage(path)
        write_atomic(fs, name, png)
        self._tracking.artifact(path, "pictures")

    def _record(self) -> None:
        self._recorded = time.monotonic()
        self._tracking.curves(self._waiting)
        self._waiting = []
