"""What a search tells while it runs: lines on the terminal, and a run in MLflow with a run inside for each trial.

It lives in the process that was started by hand, the only one that writes to MLflow.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from pipeline.jobs.tracking import Status, Tracking, no_record, open_tracking
from tune.config import SearchConfig
from tune.folder import RECORDS_FILE, read_json, write_json
from tune.objective import Report
from tune.trials import TrialRow

PAUSE_SECONDS = 15.0
"""Between two lines about trials that are still at work."""
PARENT_TAG = "mlflow.parentRunId"


class Records:
    """Which runs of MLflow belong to a search; kept in OUT, so that a search can go on."""

    def __init__(self, out: Path) -> None:
        self._file = out / RECORDS_FILE
        self.runs: dict[str, str] = read_json(self._file)

    def opened(
        self, name: str, config: SearchConfig, *, run_name: str, params: Mapping[str, object], tags: Mapping[str, str]
    ) -> Tracking:
        """The run on record that is kept under this name, gone on with; a new one the first time."""
        if not config.tracking:
            return no_record()
        known = self.runs.get(name)
        tracking = open_tracking(experiment=config.experiment, run_name=run_name, params=params, tags=tags, run_id=known)
        if tracking.run_id is not None and tracking.run_id != known:
            self.runs[name] = tracking.run_id
            write_json(self._file, self.runs)
        return tracking


class Recorder:
    """Takes what happens to trials; numbers count from 1 in the order of the search."""

    def __init__(self, console: Console, parent: Tracking, records: Records, config: SearchConfig) -> None:
        self._console = console
        self._parent = parent
        self._records = records
        self._config = config
        self._open: dict[str, Tracking] = {}
        self._told: dict[str, int] = {}
        self._live: dict[str, str] = {}
        self._best: TrialRow | None = None
        self._ended: set[int] = set()
        self._said = time.monotonic()

    def started(self, number: int, trial_id: str, values: Mapping[str, float]) -> None:
        """A trial begins, or goes on."""
        self._live[trial_id] = f"trial {number} begins"
        if self._parent.run_id is None or trial_id in self._open:
            return
        tags = {PARENT_TAG: self._parent.run_id, "trial": trial_id}
        params = {"number": number, **values}
        tracking = self._records.opened(trial_id, self._config, run_name=f"trial {number}", params=params, tags=tags)
        self._open[trial_id] = tracking
        self._told[trial_id] = tracking.reached("ap")

    def reported(self, number: int, trial_id: str, report: Report) -> None:
        """A trial has a score; one that was told before a stop already is not put on record again."""
        self._live[trial_id] = f"trial {number} {report.step}/{self._config.steps} AP {report.ap:.3f}"
        if time.monotonic() - self._said >= PAUSE_SECONDS:
            self._said = time.monotonic()
            self._console.print("   ".join(self._live.values()), highlight=False, soft_wrap=True, style="dim")
        if trial_id in self._open and report.step > self._told[trial_id]:
            self._open[trial_id].metrics({"ap": report.ap, **report.measured}, step=report.step)
            self._told[trial_id] = report.step

    def ended(self, row: TrialRow) -> None:
        """A trial will not go on."""
        self._live.pop(row.id, None)
        self._ended.add(row.number)
        if row.status in ("done", "stopped") and (self._best is None or row.ap > self._best.ap):
            self._best = row
        best = f"best {self._best.ap:.3f} (trial {self._best.number})" if self._best else "none has a score yet"
        why = f": {row.reason}" if row.reason else ""
        said = f"trial {row.number} of {self._config.trials} {row.status} at step {row.step}, AP {row.ap:.3f}{why}"
        self._console.print(f"{said}; {best}", highlight=False, soft_wrap=True)
        if tracking := self._open.pop(row.id, None):
            tracking.tags({"status": row.status, "reason": row.reason})
            tracking.close("FINISHED" if row.status in ("done", "stopped") else "FAILED")

    def close(self, status: Status = "KILLED") -> None:
        """End the runs of trials that did not end."""
        for tracking in self._open.values():
            tracking.close(status)
        self._open = {}
