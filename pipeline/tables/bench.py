"""From runs to numbers: photos are protected, the files measured as `disrupt evaluate` does it, and nothing is done twice."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rich.console import Console
from torch import Tensor

from pipeline.evaluation import run as evaluation
from pipeline.evaluation.flow import evaluate_stages
from pipeline.evaluation.look import look
from pipeline.evaluation.options import EvaluateConfig
from pipeline.evaluation.row import EVALUATION, EvaluationRow, as_table, joined
from pipeline.evaluation.summary import CLEAN, summarise
from pipeline.generators.generator import Generator
from pipeline.jobs.options import SHIPPED, Compute, Photos
from pipeline.jobs.stages import run_here
from pipeline.ledger.run import open_run
from pipeline.protection import run as protection
from pipeline.protection.job import prepare
from pipeline.protection.options import ProtectConfig, signature
from pipeline.storage import open_storage, write_atomic
from pipeline.tables import planes
from pipeline.tables.cells import Net, Row, Run
from pipeline.tables.nets import load
from pipeline.tables.options import TablesConfig

T = TypeVar("T")
R = TypeVar("R")
CONSOLE, QUIET = Console(markup=False, emoji=False, highlight=False), Console(quiet=True)


class Sight(NamedTuple):
    """What the nets see of a pair: the original, the protected file and the original with noise, each (1, 3, S, S) in [-1, 1].

    ``untouched`` is the original that went through no channel.
    """

    untouched: Tensor
    original: Tensor
    protected: Tensor
    noisy: Tensor


def unchanged(net: Generator, x_1CHW: Tensor, name: str) -> Tensor:
    """The output when no change is asked for: a condition of zeros."""
    return net.translate(net.net, x_1CHW, x_1CHW.new_zeros(1, len(net.classes[name])))


MEASURES: dict[str, Callable[[Generator, Generator, Sight, str], Tensor]] = {
    "noise": lambda net, frozen, see, c: net(see.noisy, c) - net(see.original, c),
    "to input": lambda net, frozen, see, c: net(see.protected, c) - see.original,
    "no disruption": lambda net, frozen, see, c: net(see.original, c) - see.original,
    "to untouched output": lambda net, frozen, see, c: net(see.protected, c) - frozen(see.untouched, c),
    "drift": lambda net, frozen, see, c: net(see.untouched, c) - frozen(see.untouched, c),
    "given back": lambda net, frozen, see, c: unchanged(net, see.untouched, c) - see.untouched,
}
"""What `disrupt evaluate` does not compare: (net, the net before it was changed, what they see, class) -> a difference."""


def fill(config: TablesConfig, rows: Sequence[Row]) -> list[Row]:
    """The rows with their numbers; one without a net says so, published ones stay as they are."""
    rows = [dataclasses.replace(row, status=_missing_net(row) or row.status) for row in rows]
    runs = list(dict.fromkeys(run for row in rows if not row.status for run in row.runs))
    protect(config, runs)
    tables = dict(zip(runs, _each(config, "measured", measure, runs), strict=True))
    return [row if row.status else _with_numbers(config, row, [tables[run] for run in row.runs]) for row in rows]


def protect(config: TablesConfig, runs: Iterable[Run]) -> None:
    """Write the protected files of these runs; files that are there stay."""
    _each(config, "protected", _protect, list({folder_of(config, run): run for run in runs}.values()))


def folder_of(config: TablesConfig, run: Run) -> Path:
    """The folder with the protected files of a run."""
    return Path(_protect_options(config, run).output)


def measure(config: TablesConfig, run: Run) -> pa.Table:
    """The rows of a run, in the form of evaluation.parquet; measured now, or read where an earlier start left them."""
    facts = [folder_of(config, run).name, run.photos.limit, run.channel, run.measure, config.seed]
    facts += [list(run.measured), _fingerprint(run.net), _fingerprint(run.frozen or run.net)]
    path = config.work.resolve() / "measured" / f"{digest(facts)}.parquet"
    if not path.exists():
        if run.net.planes:
            table = as_table(planes.measure(run, folder_of(config, run), gpu=config.gpu))
        elif run.measure == "output":
            table = joined([as_table(rows) for rows in _evaluate(evaluation_of(config, run))])
        else:
            table = as_table(_compare(run, evaluation_of(config, run)))
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        write_atomic(*open_storage(str(path)), sink.getvalue().to_pybytes())
    return pq.read_table(path)


def evaluation_of(config: TablesConfig, run: Run) -> evaluation.Job:
    """The evaluation of the protected files of a run by its net."""
    options = EvaluateConfig(
        str(run.photos.path),
        str(folder_of(config, run)),
        generator=(run.net.generator,),
        weights=(run.net.weights or SHIPPED,),
        classes=load(run.net).select_classes(run.measured),
        channels=(run.channel,),
        seed=config.seed,
        compute=Compute(engine="local", gpus_per_actor=float(config.gpu)),
        photos=Photos(limit=run.photos.limit),
    )
    return evaluation.prepare(options)


def _evaluate(job: evaluation.Job) -> Iterator[list[EvaluationRow]]:
    """The rows of an evaluation, made in this process."""
    return run_here(evaluation.shards(job), evaluate_stages(job.config, job.sizes))


def _compare(run: Run, job: evaluation.Job) -> Iterator[EvaluationRow]:
    """The rows of a run whose measure is one of `MEASURES`."""
    device = torch.device(job.config.compute.device)
    net, frozen = load(run.net).to(device), load(run.frozen or run.net).to(device)
    for pair in job.pairs:
        looked = look([pair], job.config, job.sizes)[0]
        row = dataclasses.replace(looked.row, generator=run.net.label, channel=run.channel)
        if (run.channel, net.size) not in looked.seen:
            yield dataclasses.replace(row, status="failed", reason=row.reason or looked.problems.get(run.channel))
            continue
        untouched = torch.from_numpy(looked.seen[CLEAN, net.size][:1]).to(device)
        sight = Sight(untouched, *torch.from_numpy(looked.seen[run.channel, net.size]).to(device).split(1))
        for name in job.tested[0].classes:
            with torch.no_grad():
                d = MEASURES[run.measure](net, frozen, sight, name)
            yield planes.with_difference(dataclasses.replace(row, class_name=name), d)


def _missing_net(row: Row) -> str:
    nets = [net for run in row.runs for net in (*run.nets, run.net, run.frozen) if net]
    return next((net.missing for net in nets if net.missing), "")


def _with_numbers(config: TablesConfig, row: Row, tables: Sequence[pa.Table]) -> Row:
    """The row with the numbers of the tables of its runs."""
    table = joined(tables)
    if row.strongest:
        samples = sorted(table.to_pylist(), key=lambda sample: sample["l2"] or 0.0)
        table = pa.Table.from_pylist(list({(one["key"], one["class"]): one for one in samples}.values()), schema=EVALUATION)
    generators, channel = table["generator"].drop_null().unique().to_pylist(), row.runs[0].channel
    names = {"generators": generators, "channels": (CLEAN, channel), "classes": ()}
    summary = summarise(table, **names, bootstrap=config.draws, seed=config.seed)
    line = summary.line(generators[0], channel) if generators else None
    missing = summary.total - summary.counts["measured"]
    status = "measured" if line else "failed: no photo could be measured"
    return dataclasses.replace(row, status=status, line=line, missing=missing)


def _each(config: TablesConfig, verb: str, work: Callable[[TablesConfig, T], R], items: Sequence[T]) -> list[R]:
    """``work`` of every item, in order, with a line of progress for each; in several processes if so asked."""
    if config.jobs == 1 or len(items) < 2:
        return list(_count(verb, map(partial(work, config), items), len(items)))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(config.jobs, context, torch.set_num_threads, (1,)) as pool:
        return list(_count(verb, pool.map(partial(work, config), items), len(items)))


def _count(verb: str, results: Iterable[R], total: int) -> Iterator[R]:
    for i, result in enumerate(results, 1):
        CONSOLE.print(f"{verb} {i} of {total}")
        yield result


def _protect_options(config: TablesConfig, run: Run) -> ProtectConfig:
    """The options of ``disrupt protect`` that a run means; its output is named by what decides its bytes."""
    options = ProtectConfig(
        str(run.photos.path),
        "",
        generator=tuple(net.generator for net in run.nets),
        weights=tuple(net.weights or SHIPPED for net in run.nets),
        classes=run.attacked,
        epsilon=run.epsilon,
        recipe=run.recipe,
        seed=config.seed + run.seed,
        compute=Compute(engine="local", gpus_per_actor=float(config.gpu)),
        photos=Photos(limit=run.photos.limit),
    )
    options = dataclasses.replace(options, **dict(run.parts))  # type: ignore[arg-type]
    folder = config.work.resolve() / "protected" / signature(options, tuple(map(_fingerprint, run.nets)))
    return dataclasses.replace(options, output=str(folder))


def _protect(config: TablesConfig, run: Run) -> None:
    options = _protect_options(config, run)
    if run.nets[0].planes:
        planes.protect(options)
        return
    job = prepare(options)
    with open_run(options.output, signature=job.signature, config=job.options) as folder:
        for _ in protection.protect_shards(job, folder, protection.plan(job, folder), QUIET):
            folder.beat()
        folder.write_manifest()


def _fingerprint(net: Net) -> str:
    return planes.fingerprint(net.weights) if net.planes and net.weights else load(net).fingerprint


def digest(facts: object) -> str:
    """16 hex digits that name what these facts decide."""
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
