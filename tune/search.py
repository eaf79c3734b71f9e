"""The search on Ray Tune: Optuna proposes values, each trial trains in a process of its own, ASHA stops the worse half early.

    this process                                      each trial (Ray starts one that died again)
    values <- Optuna <- scores                         state, reports <- OUT/.disrupt/trials/ID
    records in MLflow, lines on the terminal <-------- score every so many steps; state, reports -> OUT/.disrupt/trials/ID

Ray's picture of the search is written every second: a search that was killed goes on from there, its trials from their checkpoints.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune
from ray.tune import ResumeConfig
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from pipeline.jobs.options import ConfigError
from pipeline.training.batches import Source
from pipeline.training.setup import plan
from tune.config import SearchConfig, trial_options
from tune.folder import RAY_FOLDER, trial_folder
from tune.objective import HeldOut, Report, read_reports, run_trial
from tune.record import Recorder
from tune.space import start_of
from tune.study import distributions, sampler
from tune.trials import TrialRow, row_of

NAME = "search"
ASHA_FILE = "asha.pkl"
RETRIES = 2
"""How often a trial whose process died is started again."""
SETTINGS = {
    "TUNE_GLOBAL_CHECKPOINT_S": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
"""How Ray Tune behaves here; it takes these from the environment alone."""


@dataclass(frozen=True)
class Given:
    """What all trials share."""

    config: SearchConfig
    source: Source
    held_out: HeldOut


def search(given: Given, recorder: Recorder, *, interrupted: Callable[[], None]) -> list[TrialRow]:
    """Run the trials that are missing on the connected cluster; the rows of all, in the order of the search.

    ``interrupted`` raises KeyboardInterrupt after Ctrl-C. Raises ConfigError when the cluster cannot hold a trial.
    """
    config = given.config
    check_cluster(config)
    space = config.space()
    start = {name: _whole(value, space[name].kind) for name, value in start_of(space).items() if space[name].is_open}
    place = config.out / RAY_FOLDER
    goes_on = any((place / NAME).glob("experiment_state-*.json"))
    with _quiet():
        asha = ASHAScheduler(
            time_attr="step", metric="ap", mode="max", max_t=config.steps, grace_period=config.grace, reduction_factor=2
        )
        if goes_on and (place / ASHA_FILE).is_file():
            asha.restore(str(place / ASHA_FILE))
        optuna = OptunaSearch(
            distributions(space), metric="ap", mode="max", sampler=sampler(config.seed), points_to_evaluate=[start]
        )
        warnings.filterwarnings("ignore", "The reported value is ignored", UserWarning)  # a trial that goes on reports again
        analysis = tune.run(
            tune.with_parameters(_trial, given=given),
            name=NAME,
            storage_path=str(place),
            config={name: _whole(each.low, each.kind) for name, each in space.items() if not each.is_open},
            search_alg=optuna,
            scheduler=asha,
            num_samples=config.trials,
            time_budget_s=None if config.minutes is None else 60 * config.minutes,
            max_concurrent_trials=config.concurrency,
            resources_per_trial={"cpu": config.threads} | ({"gpu": config.gpus_per_trial} if config.gpus_per_trial else {}),
            max_failures=RETRIES,
            raise_on_failed_trial=False,
            resume_config=ResumeConfig(errored=ResumeConfig.ResumeType.RESUME) if goes_on else None,  # type: ignore[arg-type]
            trial_dirname_creator=_named,
            callbacks=[_Listener(recorder, config, asha, place / ASHA_FILE, interrupted)],
            reuse_actors=True,
            verbose=0,
        )
    interrupted()
    return sorted((_row(trial, config) for trial in analysis.trials), key=lambda row: row.number)


def check_cluster(config: SearchConfig) -> None:
    """Raise ConfigError when the cluster has too few cores or GPUs for a trial; Ray would wait for ever."""
    have = ray.cluster_resources()
    for resource, needed, flag in (("CPU", config.threads, "--threads"), ("GPU", config.gpus_per_trial, "--gpus-per-trial")):
        if needed > have.get(resource, 0.0):
            raise ConfigError(
                f"a trial needs {needed:g} {resource}s, the cluster has {have.get(resource, 0.0):g}: give fewer with {flag}"
            )


def _trial(values: dict[str, Any], given: Given) -> None:
    """A trial's whole life in its own process."""
    torch.set_num_threads(given.config.threads)
    folder = trial_folder(given.config.out, tune.get_context().get_trial_id())
    job = plan(trial_options(given.config, values, folder))
    run_trial(job, given.source, given.held_out, lambda report: tune.report(asdict(report)))


class _Listener(tune.Callback):
    """Passes what Ray Tune says in this process on to the recorder, and keeps the scheduler's state, which Ray does not."""

    def __init__(
        self, recorder: Recorder, config: SearchConfig, asha: ASHAScheduler, file: Path, interrupted: Callable[[], None]
    ) -> None:
        self._recorder = recorder
        self._config = config
        self._asha = asha
        self._file = file
        self._interrupted = interrupted

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._recorder.started(_number(trial), trial.trial_id, trial.config)

    def on_trial_result(self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any) -> None:
        if "step" in result:
            report = Report(**{name: result[name] for name in Report.__dataclass_fields__})
            self._recorder.reported(_number(trial), trial.trial_id, report)
            self._keep()

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._recorder.ended(_row(trial, self._config))
        self._keep()

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._recorder.ended(replace(_row(trial, self._config), status="failed"))

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self._interrupted()

    def _keep(self) -> None:
        new = self._file.with_suffix(".tmp")
        self._asha.save(str(new))
        new.replace(self._file)


def _row(trial: Trial, config: SearchConfig) -> TrialRow:
    error = ""
    if trial.status == Trial.ERROR:
        lines = [line.strip() for line in str(trial.get_error()).splitlines() if line.strip()]
        error = next((line for line in reversed(lines) if "Error" in line), lines[-1] if lines else "no word of why")[:300]
    reports = read_reports(trial_folder(config.out, trial.trial_id))
    return row_of(_number(trial), trial.trial_id, trial.config, reports, config=config, error=error)


def _number(trial: Trial) -> int:
    """A trial's place in the order of the search, which Ray writes before its tag."""
    return int(str(trial.experiment_tag).partition("_")[0])


def _named(trial: Trial) -> str:
    return f"trial-{trial.trial_id}"


def _whole(value: float, kind: str) -> float:
    return int(value) if kind == "whole" else value


@contextmanager
def _quiet() -> Iterator[None]:
    """Ray Tune and Optuna as `SETTINGS` say, and silent: what happens is told by the recorder. The user's own settings win."""
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
