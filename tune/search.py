"""The search on Ray Tune: Optuna proposes values, each trial trains in a process of its own, ASHA stops the worse half early.

    this process                                      each trial (Ray restarts one that died)
    values <- Optuna <- scores                         checkpoint, reports <- OUT/.disrupt/trials/ID
    MLflow, terminal <-------------------------------- score every few steps; both files -> OUT/.disrupt/trials/ID

Ray saves the state of the search every second: a search that was killed resumes from it, its trials from their checkpoints.
"""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from optuna.samplers import TPESampler
from ray import tune
from ray.tune import ResumeConfig
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch
from rich.console import Console

from pipeline.jobs.room import Need
from pipeline.jobs.tracking import Tracking
from pipeline.ledger.layout import OWN
from pipeline.training.batches import Source
from pipeline.training.config import TrainConfig
from pipeline.training.setup import plan, threads
from tune.objective import HeldOut, Report, read_reports, run_trial
from tune.options import SearchConfig, signal_options
from tune.report import open_run
from tune.space import first_values
from tune.trials import TrialRow, row_of

TRIALS_FOLDER, RAY_FOLDER = f"{OWN}/trials", f"{OWN}/ray"
NAME, ASHA_FILE = "search", "asha.pkl"
RETRIES = 2
"""How often a trial whose process died is started again."""
FIRST_AT_RANDOM = 8
"""Trials before the search learns from scores."""
PAUSE_SECONDS = 15.0
"""Between two lines about trials at work."""
SETTINGS = {
    "TUNE_GLOBAL_CHECKPOINT_S": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
"""Settings of Ray Tune, which reads these from the environment alone."""


@dataclass(frozen=True)
class TrialInputs:
    """What all trials share. Every path is absolute: Ray runs a trial in a folder of its own.

    ``training`` has the values of the first trial and the folder of all; a trial has its own `signal_options`, and a folder inside.
    """

    training: TrainConfig
    source: Source
    held_out: HeldOut


@dataclass(eq=False)
class _Recorder(tune.Callback):
    """Shows trials on the terminal, writes them to MLflow, and saves the state of ASHA, which Ray does not.

    It lives in the process that was started by hand, the only one that writes to MLflow.
    """

    config: SearchConfig
    parent: Tracking
    console: Console
    asha: ASHAScheduler
    asha_file: Path
    interrupted: Callable[[], None]
    _runs: dict[str, Tracking] = field(default_factory=dict)
    _recorded: dict[str, int] = field(default_factory=dict)
    _lines: dict[str, str] = field(default_factory=dict)
    _best: TrialRow | None = None
    _printed: float = field(default_factory=time.monotonic)

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._lines[trial.trial_id] = f"trial {_number(trial)} begins"
        if trial.trial_id not in self._runs:
            number = _number(trial)
            params, tags = {"number": number, **trial.config}, {"trial": trial.trial_id}
            run = open_run(self.config, trial.trial_id, f"trial {number}", params, tags, parent=self.parent)
            self._runs[trial.trial_id], self._recorded[trial.trial_id] = run, run.reached("ap")

    def on_trial_result(self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any) -> None:
        if "step" not in result:
            return
        report = Report(**{name: result[name] for name in Report.__dataclass_fields__})
        self._lines[trial.trial_id] = f"trial {_number(trial)} {report.step}/{self.config.steps} AP {report.ap:.3f}"
        if time.monotonic() - self._printed >= PAUSE_SECONDS:
            self._printed = time.monotonic()
            self.console.print("   ".join(self._lines.values()), highlight=False, soft_wrap=True, style="dim")
        if report.step > self._recorded[trial.trial_id]:  # a trial that resumes sends its earlier reports again
            self._runs[trial.trial_id].metrics({"ap": report.ap, **report.measured}, step=report.step)
            self._recorded[trial.trial_id] = report.step
        self._save_asha()

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._end(_row(trial, self.config))
        self._save_asha()

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._end(replace(_row(trial, self.config), status="failed"))

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self.interrupted()

    def close(self) -> None:
        """End the runs of trials that did not end."""
        for run in self._runs.values():
            run.close("KILLED")
        self._runs = {}

    def _end(self, row: TrialRow) -> None:
        self._lines.pop(row.id, None)
        scored = row.status in ("done", "stopped")
        if scored and (self._best is None or row.ap > self._best.ap):
            self._best = row
        best = f"best {self._best.ap:.3f} (trial {self._best.number})" if self._best else "none has a score yet"
        why = f": {row.reason}" if row.reason else ""
        line = f"trial {row.number} of {self.config.trials} {row.status} at step {row.step}, AP {row.ap:.3f}{why}; {best}"
        self.console.print(line, highlight=False, soft_wrap=True)
        if run := self._runs.pop(row.id, None):
            run.tags({"status": row.status, "reason": row.reason})
            run.close("FINISHED" if scored else "FAILED")

    def _save_asha(self) -> None:
        new = self.asha_file.with_suffix(".tmp")
        self.asha.save(str(new))
        new.replace(self.asha_file)


def search(
    config: SearchConfig, inputs: TrialInputs, record: Tracking, console: Console, *, interrupted: Callable[[], None]
) -> list[TrialRow]:
    """Run the missing trials on the connected cluster; the rows of all, in the order of the search.

    ``record`` is the run of the search in MLflow. ``interrupted`` raises KeyboardInterrupt after Ctrl-C.
    """
    space = config.space()
    first = {name: value for name, value in first_values(space).items() if not space[name].single()}
    folder = config.output.absolute() / RAY_FOLDER
    asha_file = folder / ASHA_FILE
    resumes = any((folder / NAME).glob("experiment_state-*.json"))
    with _quiet():
        asha = ASHAScheduler(
            time_attr="step", metric="ap", mode="max", max_t=config.steps, grace_period=config.grace, reduction_factor=2
        )
        if resumes and asha_file.is_file():
            asha.restore(str(asha_file))
        recorder = _Recorder(config, record, console, asha, asha_file, interrupted)
        optuna = OptunaSearch(
            {name: values for name, values in space.items() if not values.single()},
            metric="ap",
            mode="max",
            sampler=TPESampler(seed=config.seed, n_startup_trials=FIRST_AT_RANDOM),
            points_to_evaluate=[first],
        )
        warnings.filterwarnings("ignore", "The reported value is ignored", UserWarning)  # a trial that resumes reports again
        with closing(recorder):
            analysis = tune.run(
                tune.with_parameters(_run_trial, inputs=inputs),
                name=NAME,
                storage_path=str(folder),
                config={name: values.low for name, values in space.items() if values.single()},
                search_alg=optuna,
                scheduler=asha,
                num_samples=config.trials,
                time_budget_s=None if config.minutes is None else 60 * config.minutes,
                max_concurrent_trials=config.concurrency,
                resources_per_trial={"cpu": config.threads} | ({"gpu": config.gpus_per_trial} if config.gpus_per_trial else {}),
                max_failures=RETRIES,
                raise_on_failed_trial=False,
                resume_config=ResumeConfig(errored=ResumeConfig.ResumeType.RESUME) if resumes else None,  # type: ignore[arg-type]
                trial_dirname_creator=lambda trial: f"trial-{trial.trial_id}",
                callbacks=[recorder],
                reuse_actors=True,
                verbose=0,
            )
    interrupted()
    return sorted((_row(trial, config) for trial in analysis.trials), key=lambda row: row.number)


def trial_need(config: SearchConfig) -> Need:
    """What a trial asks of a cluster; for more of them Ray Tune asks by itself."""
    trial = {"CPU": float(config.threads)} | ({"GPU": config.gpus_per_trial} if config.gpus_per_trial else {})
    return Need([trial], [trial], "--threads or --gpus-per-trial")


def _run_trial(values: dict[str, Any], inputs: TrialInputs) -> None:
    """A whole trial in its own process."""
    torch.set_num_threads(threads(inputs.training))
    folder = inputs.training.output / tune.get_context().get_trial_id()
    job = plan(replace(inputs.training, output=folder, **signal_options(values)))
    run_trial(job, inputs.source, inputs.held_out, lambda report: tune.report(asdict(report)))


def _row(trial: Trial, config: SearchConfig) -> TrialRow:
    error = ""
    if trial.status == Trial.ERROR:
        lines = [line.strip() for line in str(trial.get_error()).splitlines() if line.strip()]
        error = next((line for line in reversed(lines) if "Error" in line), lines[-1] if lines else "no word of why")[:300]
    reports = read_reports(config.output / TRIALS_FOLDER / trial.trial_id)
    return row_of(_number(trial), trial.trial_id, trial.config, reports, config=config, error=error)


def _number(trial: Trial) -> int:
    """The number of a trial in the order of the search, from 1, which Ray writes before its tag."""
    return int(str(trial.experiment_tag).partition("_")[0])


@contextmanager
def _quiet() -> Iterator[None]:
    """Set `SETTINGS` where the user did not, and silence Ray Tune and Optuna: the recorder shows what happens."""
    with ExitStack() as undo:
        for name, value in SETTINGS.items():
            if name not in os.environ:
                os.environ[name] = value
                undo.callback(os.environ.pop, name, None)
        for name in ("ray.tune", "ray.train", "optuna"):
            logger = logging.getLogger(name)
            undo.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL)
        yield
