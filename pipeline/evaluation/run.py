"""One evaluation from options to exit code: pair the files, run the stages, rows, summary, report, record."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from pipeline.containers.find import find_photos, walk_photos
from pipeline.containers.listing import PhotoRef
from pipeline.containers.samples import about_photos
from pipeline.evaluation.flow import part_job
from pipeline.evaluation.measures import Tested, check_classes, load_tested
from pipeline.evaluation.options import EvaluateConfig, ProtectedRun, fill_in, read_run
from pipeline.evaluation.pairs import Pair, match, match_containers, pairs_as_table
from pipeline.evaluation.report import terminal_table, write_page
from pipeline.evaluation.row import UNFINISHED, evaluation_schema
from pipeline.evaluation.summary import Summary, as_csv, summarise
from pipeline.evaluation.sums import ALL, merged
from pipeline.generators.trial import notes_on
from pipeline.jobs.doctor import check_gpu
from pipeline.jobs.flow import do_all
from pipeline.jobs.options import RAY_FROM, ConfigError, flat, signature_of
from pipeline.jobs.progress import Progress
from pipeline.jobs.tracking import Tracking, record_run
from pipeline.jobs.versions import versions
from pipeline.ledger.manifest import parts_of_containers, read_manifest, steps_of
from pipeline.ledger.parts import read_parts, read_sums
from pipeline.ledger.places import check_places
from pipeline.ledger.results import write_result, write_tables
from pipeline.ledger.run import work_folder
from pipeline.photos import identity
from pipeline.photos.faces import finder_version
from pipeline.storage import Folder

ROWS_FILE, SUMMARY_FILE, REPORT_FILE = "evaluation.parquet", "summary.csv", "report.html"


@dataclass(frozen=True)
class Job:
    """A checked call: its options with nothing left out, its generators and its pairs; ``notes`` are for people, one line each."""

    config: EvaluateConfig
    tested: list[Tested]
    pairs: list[Pair]
    run: ProtectedRun | None
    notes: tuple[str, ...]

    @property
    def containers(self) -> list[PhotoRef]:
        """The original containers that are to be measured; none where photos are."""
        return [pair.original for pair in self.pairs if pair.original and pair.original.container]

    @property
    def sizes(self) -> tuple[int, ...]:
        """The native sides of the generators."""
        return tuple(dict.fromkeys(one.generator.size for one in self.tested))

    @property
    def attacked(self) -> tuple[str, ...]:
        """The tested generators that the files were protected against, as far as that is on record."""
        names = self.run.generators if self.run else ()
        return tuple(one.label for name, one in zip(self.config.generator, self.tested, strict=True) if name in names)


def prepare(asked: EvaluateConfig) -> Job:
    """Check everything that can be checked before any work; raises ValueError (of some kind) that says the fix."""
    asked.check()
    if asked.identity and identity.recogniser_version() is None:
        raise ConfigError(f"--identity needs the extra identity, which is not installed: {identity.INSTALL}; or leave it out")
    run = read_run(asked.protected)
    config = fill_in(asked, run)
    for place in (config.originals, config.protected):
        check_places(place, config.out)
    _check_out(config.out)
    tested = load_tested(config)
    check_classes(asked.classes, tested)
    if not config.compute.on_ray(0):
        check_gpu(config.compute)
    whole = config.photos.limit is None
    originals = find_photos(config.originals, containers=True, limit=config.photos.limit, image=config.image).refs
    if config.region == "box" and not any(ref.boxes for ref in originals):
        raise ConfigError(
            "--region box needs ORIGINALS as a table with the columns left, top, right, bottom; or give --region square"
        )
    if config.region == "faces" and finder_version() is None and (run is None or run.region != "faces"):
        raise ConfigError(
            f"--region faces: {config.protected} does not say where the faces are, and the extra faces is not installed"
        )
    if originals[0].container:
        held = [ref for ref in walk_photos(config.protected, containers="only") if ref.container]
        pairs = match_containers(originals, held, parts_of_containers(config.protected), whole=whole)
    else:
        pairs = match(originals, find_photos(config.protected).refs, read_manifest(config.protected), whole=whole)
    return Job(config, tested, pairs, run, tuple(note for one in tested for note in notes_on(one.generator, one.classes)))


def run_evaluation(asked: EvaluateConfig, *, command: str, console: Console) -> int:
    """Measure pairs of files; returns the exit code. Errors of the call are raised as ValueError."""
    job = prepare(asked)
    config = job.config
    names = ", ".join(f"{one.label} ({len(one.classes)} classes)" for one in job.tested)
    containers = job.containers
    what = "pairs of containers" if containers else "pairs"
    console.print(f"{len(job.pairs)} {what}; generator {names}; channels {', '.join(config.channels)}", highlight=False)
    for note in job.notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)
    about = about_photos(containers, image=config.image, enough=RAY_FROM) if containers and config.compute.engine == "auto" else 0
    tags = {"command": command} | ({"protect_signature": job.run.signature} if job.run else {})
    with record_run(config.record, "evaluate", flat(config) | {"pairs": len(job.pairs)}, tags) as tracking:
        progress = Progress(console, total=None if containers else len(job.pairs), tracking=tracking)
        columns = evaluation_schema(identity=config.identity).names
        signature = signature_of([options(config), columns, [_facts(pair) for pair in job.pairs]])
        with work_folder(config.out, "evaluate", signature=signature, config=options(config)) as work:
            done = part_job(config, job.sizes, work.folder)
            known = about if containers else None
            parts = do_all(job.pairs, pairs_as_table, done, about=known, compute=config.compute, console=console, progress=progress)
            progress.close()
            summary = summary_of(job, work.folder, parts)
            conclude(job, work.folder, parts, summary, command=command, tracking=tracking)
    console.print(terminal_table(summary))
    for name in (ROWS_FILE, SUMMARY_FILE, REPORT_FILE):
        console.print(f"{name:20} {Folder(config.out).at(name)}", soft_wrap=True, highlight=False)
    return 1 if any(summary.counts[status] for status in UNFINISHED) else 0


def _facts(pair: Pair) -> list[Any]:
    """What tells a pair from another of its name, without opening its files."""
    files = [[ref.uri, ref.size_bytes] for ref in (pair.original, pair.protected) if ref]
    return [pair.key, pair.sha256_in, pair.sha256_out, *files]


def summary_of(job: Job, work: Folder, parts: Sequence[str]) -> Summary:
    """The numbers of the parts, whose rows are in memory a part at a time."""
    summary = summarise(
        merged(read_sums(work, parts)),
        read_parts(work, parts),
        generators=[one.label for one in job.tested],
        channels=job.config.channels,
        classes=[name for one in job.tested for name in one.classes],
        bootstrap=job.config.bootstrap,
        seed=job.config.seed,
    )
    return dataclasses.replace(summary, steps=steps_of(job.config.protected) if job.run else None)


def conclude(job: Job, work: Folder, parts: Sequence[str], summary: Summary, *, command: str, tracking: Tracking) -> None:
    """Write rows, as they come from the parts, summary and report, and hand them and the numbers to the record."""
    folder = Folder(job.config.out)
    page = write_page(summary, options(job.config), command, attacked=job.attacked, versions=versions())
    write_tables(folder, ROWS_FILE, read_parts(work, parts), evaluation_schema(identity=job.config.identity))
    write_result(folder, SUMMARY_FILE, as_csv(summary).encode())
    write_result(folder, REPORT_FILE, page.encode())
    tracking.metrics(finals(summary))
    tracking.text(page, REPORT_FILE)
    tracking.text(as_csv(summary), SUMMARY_FILE)
    if folder.is_local:
        tracking.artifact(folder.at(ROWS_FILE))


def options(config: EvaluateConfig) -> dict[str, Any]:
    """The options that decide the numbers, as plain values."""
    without = {"engine", "address", "actors", "threads", "tracking", "experiment", "config", "red_team"}
    without |= set() if config.identity else {"identity"}
    plain = {name: value for name, value in flat(config).items() if name not in without}
    return {name: list(map(str, value)) if isinstance(value, tuple) else value for name, value in plain.items()}


def finals(summary: Summary) -> dict[str, float]:
    """The numbers for the record: counts, quality, and the means over all classes as ``measure/generator/channel``."""
    values = {f"count_{status}": float(count) for status, count in summary.counts.items()}
    values |= {"psnr_mean": summary.psnr_mean, "psnr_min": summary.psnr_min, "ssim_mean": summary.ssim_mean}
    for line in summary.lines:
        if line.class_name == ALL:
            values |= {f"{name}/{line.generator}/{line.channel}": mean for name, mean in line.means.items()}
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _check_out(out: str) -> None:
    folder = Folder(out)
    strange = [name for name in (SUMMARY_FILE, REPORT_FILE) if folder.exists(name)]
    if strange and not folder.exists(ROWS_FILE):
        raise ConfigError(f"{folder.at(strange[0])} is there already and not of an evaluation; give another folder with --out")
