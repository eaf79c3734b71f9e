"""The one engine of all tables: attacks become protected files, runs become samples; what is there already is not done again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from rich.console import Console

from pipeline.jobs.options import SHIPPED, Compute, Record
from pipeline.jobs.options import Photos as Limits
from pipeline.ledger.run import open_run
from pipeline.protection.job import prepare
from pipeline.protection.options import ProtectConfig, signature
from pipeline.protection.run import plan, protect_shards
from pipeline.storage import open_storage, write_atomic
from pipeline.tables import planes
from pipeline.tables.cells import Attack, Cell, Net, Photos, Run
from pipeline.tables.config import TableError, TablesConfig
from pipeline.tables.measuring import measure
from pipeline.tables.nets import load
from pipeline.tables.numbers import Result, Sample, result_of

T = TypeVar("T")
R = TypeVar("R")
MEASURED_FORMAT = 1
"""Raised when the same files give other samples than before."""


@dataclass(frozen=True)
class Bench:
    """Where tables are made: their options, the folder of protected files and samples, and where progress is said."""

    config: TablesConfig
    console: Console

    @property
    def work(self) -> Path:
        """The folder of protected files and samples."""
        return self.config.work.resolve()

    def results(self, cells: Sequence[Cell]) -> list[Result]:
        """The numbers of these cells in their order; those without a net have a status instead."""
        runs = list(dict.fromkeys(run for cell in cells for run in cell.runs if not cell.missing))
        self.protect(run.attack for run in runs)
        found = dict(zip(runs, self._each("measured", _measured, [(self, run) for run in runs]), strict=True))
        return [self._result(cell, found) for cell in cells]

    def protect(self, attacks: Iterable[Attack]) -> None:
        """Have the files of these attacks."""
        places = {protect_options(self, attack, _photos(attack)).output: attack for attack in attacks}
        self._each("protected", _protected, [(self, attack) for attack in places.values()])

    def folder_of(self, attack: Attack) -> Path:
        """Where the files of an attack are."""
        return Path(protect_options(self, attack, _photos(attack)).output)

    def _result(self, cell: Cell, found: dict[Run, tuple[list[Sample], int]]) -> Result:
        if cell.missing:
            return Result(cell.labels, cell.missing)
        samples, missing = zip(*(found[run] for run in cell.runs), strict=True)
        config = self.config
        return result_of(cell.labels, samples, combine=cell.combine, missing=max(missing), times=config.bootstrap, seed=config.seed)

    def _each(self, done: str, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """``work`` of every item, in order; in several processes if so asked."""
        if self.config.jobs == 1 or len(items) < 2:
            return [self._said(done, i, items, work(item)) for i, item in enumerate(items, 1)]
        with ProcessPoolExecutor(self.config.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
            waiting = [pool.submit(_in_one_thread, work, item) for item in items]
            for i, future in enumerate(as_completed(waiting), 1):
                self._said(done, i, items, future.result())
            return [future.result() for future in waiting]

    def _said(self, done: str, i: int, items: Sequence[object], result: R) -> R:
        """``result``, after a line of progress."""
        self.console.print(f"{done} {i} of {len(items)}", highlight=False)
        return result

    def __reduce__(self) -> tuple[Callable[[TablesConfig], Bench], tuple[TablesConfig]]:
        """A console stays in its process."""
        return _silent, (self.config,)


def _silent(config: TablesConfig) -> Bench:
    return Bench(config, Console(quiet=True))


def _in_one_thread(work: Callable[[T], R], item: T) -> R:
    torch.set_num_threads(1)
    return work(item)


def protect_options(bench: Bench, attack: Attack, photos: Photos) -> ProtectConfig:
    """The options of ``disrupt protect`` that an attack means; its output is named by what decides its bytes."""
    weights = tuple(net.weights or SHIPPED for net in attack.nets)
    config = ProtectConfig(
        str(photos.place),
        "",
        generator=tuple(net.generator for net in attack.nets),
        weights=weights if any(net.weights for net in attack.nets) else (),
        classes=attack.classes,
        epsilon=attack.epsilon,
        recipe=attack.recipe,
        seed=bench.config.seed + attack.seed,
        compute=Compute(engine="local", gpus_per_actor=1.0 if bench.config.gpu else 0.0),
        photos=Limits(limit=photos.limit),
        record=Record(tracking=False),
        examples=0,
    )
    config = dataclasses.replace(config, **dict(attack.parts))  # type: ignore[arg-type]
    place = bench.work / "protected" / signature(config, tuple(_fingerprint(net) for net in attack.nets))
    return dataclasses.replace(config, output=str(place))


def _photos(attack: Attack) -> Photos:
    if attack.on is None:
        raise TableError(f"{attack.nets[0].label} has no photos to protect")
    return attack.on


def _fingerprint(net: Net) -> str:
    return planes.fingerprint(net.weights) if net.planes and net.weights else load(net).fingerprint


def _protected(item: tuple[Bench, Attack]) -> None:
    """Protect the photos of an attack; those that are done stay as they are."""
    bench, attack = item
    config = protect_options(bench, attack, _photos(attack))
    if attack.nets[0].planes:
        planes.protect_planes(config, _photos(attack), Path(config.output))
        return
    job = prepare(config)
    with open_run(config.output, signature=job.signature, config=config.what_changes_results()) as folder:
        for _ in protect_shards(job, folder, plan(job, folder), Console(quiet=True)):
            folder.beat()
        folder.write_manifest()


def _measured(item: tuple[Bench, Run]) -> tuple[list[Sample], int]:
    """The samples of a run, from the file that an earlier start left or by measuring."""
    bench, run = item
    photos = _photos(run.attack)
    protected = bench.folder_of(run.attack)
    facts = [MEASURED_FORMAT, protected.name, photos.limit, run.attack.epsilon, run.channel, run.measure, bench.config.seed]
    facts += [list(run.classes), _fingerprint(run.target), _fingerprint(run.frozen or run.target)]
    place = bench.work / "measured" / f"{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]}.json"
    if place.exists():
        kept = json.loads(place.read_text(encoding="utf-8"))
        return [Sample(*row) for row in kept["samples"]], kept["missing"]
    if run.target.planes:
        samples, missing = planes.measure_planes(run, protected, photos, gpu=bench.config.gpu)
    else:
        samples, missing = measure(run, protected, photos, gpu=bench.config.gpu, seed=bench.config.seed)
    rows = [dataclasses.astuple(sample) for sample in samples]
    place.parent.mkdir(parents=True, exist_ok=True)
    fs, path = open_storage(str(place))
    write_atomic(fs, path, json.dumps({"samples": rows, "missing": missing}).encode())
    return samples, missing
