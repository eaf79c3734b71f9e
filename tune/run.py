"""One search from options to exit code: check, search on Ray, tables and report, train the best, keep a record."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from functools import partial

import pyarrow.parquet as pq
import torch
from rich.console import Console

from pipeline.jobs.interrupt import watch_sigint
from pipeline.jobs.options import SHIPPED, ConfigError, Record
from pipeline.jobs.ray import connected
from pipeline.jobs.tracking import Tracking
from pipeline.jobs.versions import versions
from pipeline.ledger.layout import OWN
from pipeline.ledger.owner import claim
from pipeline.signals.manipulation import SourceName, load_source, notes_on_sources, source_names
from pipeline.storage import Folder, write_uri
from pipeline.training.export import BUNDLE_FILE
from pipeline.training.job import Job, held_out_squares, open_source, plan
from pipeline.training.options import TrainConfig
from pipeline.training.run import decode_parts, run_train, say_what_is_read
from tune.objective import HeldOut
from tune.options import SearchConfig, signature, training_options, trial_options
from tune.report import open_run, terminal_table, write_page
from tune.search import RAY_FOLDER, TRIALS_FOLDER, TrialInputs, search, trial_need
from tune.space import first_values
from tune.trials import TrialRow, as_csv, as_parquet, best_of, best_options, from_table, importances

DONE, NO_SCORE = 0, 1
SEARCH_FILE = f"{OWN}/search.json"
TABLE_FILE, CSV_FILE, REPORT_FILE, BEST_FILE = "trials.parquet", "trials.csv", "report.html", "best.yaml"
BEST_FOLDER = "best"


def run_search(config: SearchConfig, *, command: str, console: Console) -> int:
    """Search, write the results, train the best; 0 when done, 1 when no trial has a score or the last training broke off.

    Raises the project's own ValueErrors for a wrong call, KeyboardInterrupt after Ctrl-C: the work of trials is kept.
    """
    config.check()
    first = plan(trial_options(config, first_values(config.space()), config.output.absolute() / TRIALS_FOLDER))
    generators = _load_generators(config)
    own = signature(config)
    with claim(Folder(config.output), SEARCH_FILE, verb="tune", signature=own, config=config.what_changes_results()):
        table = config.output / TABLE_FILE
        is_trained = not config.final_steps or (config.output / BEST_FOLDER / BUNDLE_FILE).is_file()
        if is_trained and table.is_file() and (config.output / BEST_FILE).is_file():
            console.print(f"{config.output} has all that was asked for; nothing to do", highlight=False, soft_wrap=True)
            return DONE
        for note in notes_on_sources(generators):
            console.print(f"note: {note}", highlight=False, soft_wrap=True)
        tags, params = {"command": command, "signature": own}, config.what_changes_results()
        with open_run(config, "parent", f"tune {own}", params, tags) as record:
            rows = from_table(pq.read_table(table)) if table.is_file() else _search(config, first, generators, record, console)
            _write_results(config, rows, command, record)
            console.print(terminal_table(rows))
            best = best_of(rows)
            for name in (CSV_FILE, REPORT_FILE, *([BEST_FILE] if best else [])):
                console.print(f"{name:15} {config.output / name}", soft_wrap=True, highlight=False)
            if best is None:
                console.print("no trial has a score; report.html says why", style="bold red")
                return NO_SCORE
            return _train_best(config, best, record, command=command, console=console) if config.final_steps else DONE


def _load_generators(config: SearchConfig) -> tuple[SourceName, ...]:
    """The generators of the score, each loaded once as a check; raises ConfigError for one that is trained on."""
    shown = config.manipulations
    held_out, trained = (
        source_names(names, weights, shipped=SHIPPED)
        for names, weights in ((config.held_out_generator, config.held_out_weights), (shown.generator, shown.weights))
    )
    for source in held_out:
        load_source(source, "cpu", torch.float32)
        if source in trained:
            raise ConfigError(f"--held-out-generator {source.name} is trained on too (--generator): give one that is not")
    return held_out


def _search(
    config: SearchConfig, first: Job, generators: tuple[SourceName, ...], record: Tracking, console: Console
) -> list[TrialRow]:
    """The rows of a search on Ray; ``first`` is the training of the first trial."""
    with ExitStack() as stack:

        def connect() -> None:
            stack.enter_context(connected(config.address, console, trial_need(config)))

        source = open_source(first, partial(decode_parts, console=console, connect=connect))
        say_what_is_read(first, source, console)
        inputs = TrialInputs(first.config, source, _held_out(config, first, generators, console))
        connect()
        interrupted = stack.enter_context(watch_sigint())
        return search(config, inputs, record, console, interrupted=interrupted)


def _held_out(config: SearchConfig, first: Job, generators: tuple[SourceName, ...], console: Console) -> HeldOut:
    photos = held_out_squares(first).in_memory.permute(0, 2, 3, 1).contiguous().numpy()
    if len(photos) < 2:
        raise ConfigError(f"split val of {config.data} has {len(photos)} photos; a score needs at least 2")
    count = min(config.photos, len(photos))
    pick = [round(i * (len(photos) - 1) / (count - 1)) for i in range(count)]
    names = ", ".join(generator.name for generator in generators)
    console.print(f"{config.trials} trials of up to {config.steps} steps; scored on {count} photos with {names}", highlight=False)
    return HeldOut(tuple(photos[i] for i in pick), generators, config.least_psnr)


def _write_results(config: SearchConfig, rows: list[TrialRow], command: str, record: Tracking) -> None:
    """Write tables, report and the best options, copy them to the record, and remove the folders of running trials."""
    shares = importances(rows, config.space(), seed=config.seed)
    best = best_of(rows)
    page = write_page(rows, shares, config, command, versions=versions())
    files = {CSV_FILE: as_csv(rows).encode(), REPORT_FILE: page.encode()}
    files |= {BEST_FILE: best_options(config, best).encode()} if best else {}
    files[TABLE_FILE] = as_parquet(rows)  # last: it says that the search is over
    for name, data in files.items():
        write_uri(config.output / name, data)
        record.artifact(config.output / name)
    record.metrics({"trials": len(rows)} | ({"ap": best.ap, "psnr": best.psnr, "best_trial": best.number} if best else {}))
    record.metrics({f"importance/{name}": share for name, (share, _) in shares.items()})
    for name in (TRIALS_FOLDER, RAY_FOLDER):
        shutil.rmtree(config.output / name, ignore_errors=True)


def _train_best(config: SearchConfig, best: TrialRow, parent: Tracking, *, command: str, console: Console) -> int:
    """Train the best trial's values anew, for longer, into OUT/best, as `disrupt train` does; returns its exit code."""
    console.print(f"training the values of trial {best.number} for {config.final_steps} steps", highlight=False)
    record = open_run(config, "best", "best", {}, {}, parent=parent)
    final = TrainConfig(
        data=config.data,
        output=config.output / BEST_FOLDER,
        steps=config.final_steps,
        gpus_per_worker=config.gpus_per_trial,
        record=Record(record.run_id is not None, config.record.experiment),
        register=config.register,
        **training_options(config, best.values),
    )
    return run_train(final, command=command, console=console, run_id=record.run_id)
