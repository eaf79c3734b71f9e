"""From runs to numbers: photos are protected, the files measured as `disrupt evaluate` does it, and nothing is done twice."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rich.console import Console
from torch import Tensor

from pipeline.evaluation import run as evaluation
from pipeline.evaluation.flow import evaluate_stages
from pipeline.evaluation.look import look
from pipeline.evaluation.options import EvaluateConfig
from pipeline.evaluation.row import EVALUATION, EvaluationRow, as_table, in_order
from pipeline.evaluation.summary import CLEAN, summarise_table
from pipeline.generators.generator import Generator
from pipeline.images import THRESHOLD
from pipeline.images.effect import l1, l2
from pipeline.jobs.console import PlainConsole
from pipeline.jobs.options import SHIPPED, Compute, Photos, signature_of
from pipeline.jobs.parts import fold
from pipeline.jobs.progress import Progress
from pipeline.jobs.tracking import no_record
from pipeline.ledger.parts import write_manifest
from pipeline.ledger.run import open_run
from pipeline.protection import run as protection
from pipeline.protection.job import prepare
from pipeline.protection.options import ProtectConfig, signature
from pipeline.protection.plan import plan_run
from pipeline.storage import open_storage, write_atomic
from pipeline.tables import planes
from pipeline.tables.cells import Net, Row, Run
from pipeline.tables.nets import load
from pipeline.tables.options import TablesConfig

R = TypeVar("R")
CONSOLE = PlainConsole(highlight=False)


MEASURES: dict[str, Callable[[Generator, Generator, Sequence[Tensor], str], Tensor]] = {
    "noise": lambda net, frozen, x, c: net(x[3], c) - net(x[1], c),
    "to input": lambda net, frozen, x, c: net(x[2], c) - x[1],
    "no disruption": lambda net, frozen, x, c: net(x[1], c) - x[1],
    "to untouched output": lambda net, frozen, x, c: net(x[2], c) - frozen(x[0], c),
    "drift": lambda net, frozen, x, c: net(x[0], c) - frozen(x[0], c),
    "given back": lambda net, frozen, x, c: net.translate(net.net, x[0], x[0].new_zeros(1, len(net.classes[c]))) - x[0],
}
"""What `disrupt evaluate` does not compare: (net, the net before it was changed, what they see, class) -> a difference.

They see, each (1, 3, S, S) in [-1, 1]: the original that went through no channel, then original, protected file and original with
noise after the channel. A condition of zeros asks for no change.
"""


def fill(config: TablesConfig, rows: Sequence[Row]) -> list[Row]:
    """The rows with their numbers; one without a net says so, published ones stay as they are."""
    missing = [[net.missing for run in row.runs for net in (*run.nets, run.net, run.frozen) if net and net.missing] for row in rows]
    rows = [row._replace(status=reasons[0] if reasons else row.status) for row, reasons in zip(rows, missing, strict=True)]
    runs = list(dict.fromkeys(run for row in rows if not row.status for run in row.runs))
    protect(config, runs)
    tables = dict(zip(runs, _each("measured", measure, config, runs), strict=True))
    return [row if row.status else _with_numbers(config, row, [tables[run] for run in row.runs]) for row in rows]


def protect(config: TablesConfig, runs: Iterable[Run]) -> None:
    """Write the protected files of these runs; files that are there stay."""
    _each("protected", _protect, config, list({folder_of(config, run): run for run in runs if not run.net.planes}.values()))


def _protect(config: TablesConfig, run: Run) -> None:
    options = _protect_options(config, run)
    job = prepare(options)
    with open_run(options.output, signature=job.signature, config=job.options) as folder:
        plan, parts = plan_run(job, folder)
        console = Console(quiet=True)
        progress = Progress(console, total=plan.total, tracking=no_record())
        protection.do_parts(job, folder, plan, parts, console=console, progress=progress)
        write_manifest(folder.folder, plan.parts, plan.total)


def folder_of(config: TablesConfig, run: Run) -> Path:
    """The folder with the protected files of a run."""
    return Path(_protect_options(config, run).output)


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


def measure(config: TablesConfig, run: Run) -> pa.Table:
    """The rows of a run, in the form of evaluation.parquet; measured now, or read where an earlier start left them."""
    folder = folder_of(config, run)
    facts = [folder.name, run.photos.limit, run.channel, run.measure, config.seed]
    facts += [list(run.measured), EVALUATION.names, _fingerprint(run.net), _fingerprint(run.frozen or run.net)]
    path = config.work.resolve() / "measured" / f"{signature_of(facts)}.parquet"
    if not path.exists():
        sink = pa.BufferOutputStream()
        rows = _scenes(run, _protect_options(config, run)) if run.net.planes else _evaluate(run, evaluation_of(config, run))
        pq.write_table(as_table(rows), sink)
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


def _evaluate(run: Run, job: evaluation.Job) -> Iterator[EvaluationRow]:
    """The rows of an evaluation, or of a run whose measure is one of `MEASURES`, made in this process."""
    if run.measure == "output":
        stages = [stage.make() for stage in evaluate_stages(job.config, job.sizes)]
        for pair in job.pairs:
            yield from fold(stages, [pair])
        return
    device = torch.device(job.config.compute.device)
    net, frozen = load(run.net).to(device), load(run.frozen or run.net).to(device)
    for pair in job.pairs:
        (looked,) = look([pair], job.config, job.sizes)
        row = dataclasses.replace(looked.row, generator=run.net.label, channel=run.channel)
        if (run.channel, net.size) not in looked.seen:
            yield dataclasses.replace(row, status="failed", reason=row.reason or looked.problems.get(run.channel))
            continue
        seen = np.concatenate([looked.seen[CLEAN, net.size][0, :1], looked.seen[run.channel, net.size][0]])
        for name in job.tested[0].classes:
            with torch.no_grad():
                d = MEASURES[run.measure](net, frozen, torch.from_numpy(seen).to(device).split(1), name)
            yield _with_difference(dataclasses.replace(row, class_name=name), d)


def _scenes(run: Run, options: ProtectConfig) -> Iterator[EvaluationRow]:
    """The rows of a net that translates label maps."""
    for key, x_1PHW, y_1PHW in planes.disrupted_planes(options):
        net = planes.load(options.weights[0])
        with torch.no_grad():
            d = net(y_1PHW) - net(x_1PHW)
        row = EvaluationRow(key=key, status="measured", generator=run.net.label, class_name=planes.CLASS, channel=CLEAN)
        yield _with_difference(row, d)


def _with_difference(row: EvaluationRow, d: Tensor) -> EvaluationRow:
    """The row with L1 and L2 of a difference (1, ...) of outputs, or failed where it is not finite."""
    if not d.isfinite().all():
        return dataclasses.replace(row, status="failed", stage="generator", reason="values that are not numbers")
    l2_1 = float(l2(d.double()))
    return dataclasses.replace(row, l1=float(l1(d.double())), l2=l2_1, disrupted=l2_1 >= THRESHOLD)


def _with_numbers(config: TablesConfig, row: Row, tables: Sequence[pa.Table]) -> Row:
    """The row with the numbers of the tables of its runs."""
    table = in_order(tables)
    if row.strongest:
        samples = sorted(table.to_pylist(), key=lambda sample: sample["l2"] or 0.0)
        table = pa.Table.from_pylist(list({(one["key"], one["class"]): one for one in samples}.values()), schema=EVALUATION)
    generators, channel = table["generator"].drop_null().unique().to_pylist(), row.runs[0].channel
    names = {"generators": generators, "channels": (CLEAN, channel), "classes": ()}
    summary = summarise_table(table, **names, bootstrap=config.draws, seed=config.seed)
    line = summary.line(generators[0], channel) if generators else None
    status = "measured" if line else "failed: no photo could be measured"
    return row._replace(status=status, line=line, missing=summary.total - summary.counts["measured"])


def _each(verb: str, work: Callable[[TablesConfig, Run], R], config: TablesConfig, runs: Sequence[Run]) -> list[R]:
    """``work`` of every run, in order, with a line of progress for each."""
    results = []
    for i, run in enumerate(runs, 1):
        results.append(work(config, run))
        CONSOLE.print(f"{verb} {i} of {len(runs)}")
    return results


def _fingerprint(net: Net) -> str:
    return planes.fingerprint(net.weights) if net.planes and net.weights else load(net).fingerprint
