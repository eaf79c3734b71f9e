"""One search from options to exit code: check, search on Ray, tables and report, train the best, keep a record."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import torch
from rich.console import Console

from pipeline.jobs.interrupt import heeded
from pipeline.jobs.options import SHIPPED, ConfigError, absolute_weights
from pipeline.jobs.ray import connected
from pipeline.jobs.tracking import Tracking
from pipeline.jobs.versions import versions
from pipeline.signals.sources import SourceName, opened, source_names
from pipeline.training.bundle import BUNDLE_FILE
from pipeline.training.config import TrainConfig
from pipeline.training.run import run_train
from pipeline.training.setup import Job, held_out_squares, open_source, plan
from tune.config import SearchConfig, signature, training_options, trial_options
from tune.folder import BEST_FILE, BEST_FOLDER, CSV_FILE, RAY_FOLDER, REPORT_FILE, TABLE_FILE, TRIALS_FOLDER, claimed, write_bytes
from tune.objective import HeldOut
from tune.record import PARENT_TAG, Recorder, Records
from tune.report import terminal_table, write_page
from tune.search import Given, search
from tune.space import start_of
from tune.study import importances
from tune.trials import TrialRow, as_csv, as_parquet, best_of, best_options, from_table

DONE, NOTHING_FOUND = 0, 1
PARENT, BEST = "parent", "best"
"""Names under which a search keeps its own runs in MLflow beside those of its trials."""


def run_search(config: SearchConfig, *, command: str, console: Console) -> int:
    """Search, write what was found, train the best; 0 when done, 1 when nothing has a score or the last training broke off.

    Raises the project's own ValueErrors for a wrong call, KeyboardInterrupt after Ctrl-C: what trials have done is kept.
    """
    config.check()
    job = plan(trial_options(config, start_of(config.space()), config.out / TRIALS_FOLDER))
    held_out = _held_out_generators(config)
    with claimed(config):
        if _is_over(config):
            console.print(f"{config.out} has all that was asked for; nothing to do", highlight=False, soft_wrap=True)
            return DONE
        records = Records(config.out)
        with _parent(config, records, command) as tracking:
            rows = _rows(config, job, held_out, Recorder(console, tracking, records, config), console)
            _conclude(config, rows, command, tracking)
            console.print(terminal_table(rows))
            best = best_of(rows)
            for name in (CSV_FILE, REPORT_FILE, *([BEST_FILE] if best else [])):
                console.print(f"{name:15} {config.out / name}", soft_wrap=True, highlight=False)
            if best is None:
                console.print("no trial has a score; report.html says why", style="bold red")
                return NOTHING_FOUND
            return _train_best(config, best, records, tracking, command=command, console=console)


def _is_over(config: SearchConfig) -> bool:
    trained = not config.final_steps or (config.out / BEST_FOLDER / BUNDLE_FILE).is_file()
    return trained and (config.out / BEST_FILE).is_file() and _searched(config).is_file()


def _searched(config: SearchConfig) -> Path:
    """The table of the trials, which is written when the search is over."""
    return config.out / TABLE_FILE


def _held_out_generators(config: SearchConfig) -> tuple[SourceName, ...]:
    """The generators of the score, each loaded once to see that it can be; raises ConfigError for one that is trained on."""
    held_out, trained = (
        source_names(names, absolute_weights(weights), shipped=SHIPPED)
        for names, weights in ((config.held_out_generator, config.held_out_weights), (config.generator, config.weights))
    )
    for source in held_out:
        opened(source, "cpu", torch.float32)
        if source in trained:
            raise ConfigError(f"--held-out-generator {source.name} is trained on too (--generator): give one that is not")
    return held_out


def _parent(config: SearchConfig, records: Records, command: str) -> Tracking:
    return records.opened(
        PARENT,
        config,
        run_name=f"tune {signature(config)}",
        params=config.what_changes_results(),
        tags={"command": command, "signature": signature(config)},
    )


def _rows(
    config: SearchConfig, job: Job, generators: tuple[SourceName, ...], recorder: Recorder, console: Console
) -> list[TrialRow]:
    """The trials: those of a search that is over as they are written down, else those of a search."""
    if _searched(config).is_file():
        return from_table(pq.read_table(_searched(config)))
    source = open_source(job)
    photos = held_out_squares(job).u8_NCHW.permute(0, 2, 3, 1).contiguous().numpy()
    if len(photos) < 2:
        raise ConfigError(f"split val of {config.data} has {len(photos)} photos; a score needs at least 2")
    count = min(config.photos, len(photos))
    pick = [round(i * (len(photos) - 1) / (count - 1)) for i in range(count)]
    held_out = HeldOut(tuple(photos[i] for i in pick), generators, config.least_psnr)
    names = ", ".join(generator.name for generator in generators)
    console.print(f"{config.trials} trials of up to {config.steps} steps; scored on {count} photos with {names}", highlight=False)
    try:
        with connected(config.address, console), heeded() as interrupted:
            return search(Given(config, source, held_out), recorder, interrupted=interrupted)
    finally:
        recorder.close()


def _conclude(config: SearchConfig, rows: list[TrialRow], command: str, tracking: Tracking) -> None:
    """Write tables, report and the best options, hand them to the record, and drop what only running trials need."""
    shares = importances(rows, config.space(), seed=config.seed)
    best = best_of(rows)
    page = write_page(rows, shares, config, config.what_changes_results(), command, versions=versions())
    write_bytes(config.out / CSV_FILE, as_csv(rows).encode())
    write_bytes(config.out / REPORT_FILE, page.encode())
    if best:
        write_bytes(config.out / BEST_FILE, best_options(config, best).encode())
    write_bytes(_searched(config), as_parquet(rows))
    for name in (CSV_FILE, TABLE_FILE, REPORT_FILE, BEST_FILE):
        if (config.out / name).is_file():
            tracking.artifact(config.out / name)
    tracking.metrics({"trials": len(rows)} | ({"ap": best.ap, "psnr": best.psnr, "best_trial": best.number} if best else {}))
    tracking.metrics({f"importance/{name}": share for name, (share, _) in shares.items()})
    for name in (TRIALS_FOLDER, RAY_FOLDER):
        shutil.rmtree(config.out / name, ignore_errors=True)


def _train_best(config: SearchConfig, best: TrialRow, records: Records, parent: Tracking, *, command: str, console: Console) -> int:
    """Train the best trial's values anew, for longer, into OUT/best, as `disrupt train` does; returns its exit code."""
    if not config.final_steps:
        return DONE
    console.print(f"training the values of trial {best.number} for {config.final_steps} steps", highlight=False)
    final = TrainConfig(
        data=config.data,
        output=config.out / BEST_FOLDER,
        steps=config.final_steps,
        gpus_per_worker=config.gpus_per_trial,
        tracking=config.tracking and parent.run_id is not None,
        experiment=config.experiment,
        register=config.register,
        **training_options(config, best.values),
    )
    if parent.run_id is not None:
        child = records.opened(BEST, config, run_name="best", params={}, tags={PARENT_TAG: parent.run_id})
        os.environ["MLFLOW_RUN_ID"] = child.run_id or ""
    try:
        return run_train(final, command=command, console=console)
    finally:
        os.environ.pop("MLFLOW_RUN_ID", None)
