"""One detection from options to exit code: find the pictures, run the stages, rows, summary, report, record."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
from rich.console import Console

from pipeline.containers.find import find_photos
from pipeline.containers.listing import PhotoRef
from pipeline.containers.samples import about_photos
from pipeline.detection.options import DetectConfig
from pipeline.detection.report import terminal_table, write_page
from pipeline.detection.row import DETECTION
from pipeline.detection.stages import Sight, part_job, refs_as_table
from pipeline.detection.summary import Summary, summarise, sums_of
from pipeline.jobs.doctor import check_gpu
from pipeline.jobs.flow import do_all
from pipeline.jobs.options import RAY_FROM, ConfigError, flat, signature_of
from pipeline.jobs.progress import Progress
from pipeline.jobs.tracking import Tracking, record_run
from pipeline.jobs.versions import versions
from pipeline.ledger.parts import read_parts
from pipeline.ledger.places import check_places
from pipeline.ledger.results import write_result, write_tables
from pipeline.ledger.run import work_folder
from pipeline.signals.bundle import Bundle, read_bundle
from pipeline.signals.key import VARIABLE, fingerprint, offsets_of, read_secret
from pipeline.storage import Folder

ROWS_FILE, REPORT_FILE = "detection.parquet", "report.html"


@dataclass(frozen=True)
class Job:
    """A checked call: its options with nothing left out, its bundle, its pictures, and what the secret decides."""

    config: DetectConfig
    bundle: Bundle
    refs: tuple[PhotoRef, ...]
    offsets: tuple[float, ...] | None
    key: str | None

    @property
    def in_containers(self) -> bool:
        """Whether the pictures are in containers."""
        return bool(self.refs and self.refs[0].container)

    @property
    def sight(self) -> Sight:
        """How the bundle's detector looks at pictures."""
        photos = self.config.photos
        return Sight(self.bundle.size, self.bundle.smallest, photos.max_pixels, photos.max_bytes)


def prepare(asked: DetectConfig) -> Job:
    """Check everything that can be checked before any work; raises ValueError (of some kind) that says the fix."""
    asked.check()
    config = dataclasses.replace(asked, out=asked.out_place())
    bundle = read_bundle(config.signals)
    bundle.thresholds(config.rate(bundle))  # refused before any work
    check_places(config.input, config.out)
    _check_out(config.out)
    if not config.compute.on_ray(0):
        check_gpu(config.compute)
    secret = read_secret(config.key_file) if config.key_file is not None or VARIABLE in os.environ else None
    offsets = None if secret is None else offsets_of(secret, bundle.count)
    listing = find_photos(config.input, containers=True, limit=config.photos.limit, image=config.image)
    return Job(config, bundle, listing.refs, offsets, None if secret is None else fingerprint(secret))


def run_detection(asked: DetectConfig, *, command: str, console: Console) -> int:
    """Judge pictures; returns the exit code. Errors of the call are raised as ValueError."""
    job = prepare(asked)
    what = "containers" if job.in_containers else "pictures"
    console.print(f"{len(job.refs)} {what}; {_about(job.bundle)}", highlight=False, soft_wrap=True)
    tags = {"command": command, "bundle": job.bundle.id}
    with record_run(job.config.record, "detect", flat(job.config) | {what: len(job.refs)}, tags) as tracking:
        progress = Progress(console, total=None if job.in_containers else len(job.refs), tracking=tracking)
        options = job.config.what_changes_results() | {"bundle": job.bundle.id, "signal_key": job.key}
        signature = signature_of([options, [[ref.key, ref.size_bytes] for ref in job.refs]])
        with work_folder(job.config.out, "detect", signature=signature, config=options) as work:
            done, compute = part_job(job.config, job.sight, job.offsets, work.folder), job.config.compute
            parts = do_all(job.refs, refs_as_table, done, about=about(job), compute=compute, console=console, progress=progress)
            progress.close()
            summary = conclude(job, read_parts(work.folder, parts), command=command, tracking=tracking)
    console.print(terminal_table(summary, rate=job.config.rate(job.bundle)))
    for name in (ROWS_FILE, REPORT_FILE):
        console.print(f"{name:20} {Folder(job.config.out).at(name)}", soft_wrap=True, highlight=False)
    return 1 if summary.counts["failed"] else 0


def about(job: Job) -> int | None:
    """About how many pictures are in containers, as far as that decides where they are judged; None where there are none."""
    if not job.in_containers:
        return None
    return about_photos(job.refs, image=job.config.image, enough=RAY_FROM) if job.config.compute.engine == "auto" else 0


def conclude(job: Job, tables: Iterator[pa.Table], *, command: str, tracking: Tracking) -> Summary:
    """Write rows, as they come from the parts, and report; hand them and the numbers to the record. Returns the summary."""
    folder = Folder(job.config.out)
    rate = job.config.rate(job.bundle)
    limits = job.bundle.thresholds(rate)
    total = sums_of(DETECTION.empty_table(), limits)

    def told() -> Iterator[pa.Table]:
        nonlocal total
        for table in tables:
            total += sums_of(table, limits)
            yield table

    write_tables(folder, ROWS_FILE, told(), DETECTION)
    summary = summarise(total, limits)
    page = write_page(summary, job.bundle, job.config.what_changes_results(), command, rate=rate, versions=versions())
    write_result(folder, REPORT_FILE, page.encode())
    tracking.metrics(finals(summary))
    tracking.text(page, REPORT_FILE)
    if folder.is_local:
        tracking.artifact(folder.at(ROWS_FILE))
    return summary


def finals(summary: Summary) -> dict[str, float]:
    """The numbers for the record: counts, shares of the judged pictures, thresholds."""
    values = {f"count_{status}": float(count) for status, count in summary.counts.items()}
    values |= {f"share_{decision.replace(' ', '_')}": summary.share(count) for decision, count in summary.decisions.items()}
    values |= {"threshold_manipulated": summary.limits.manipulated}
    if summary.limits.carries is not None:
        values |= {"share_carrying": summary.share(summary.carrying), "threshold_carries": summary.limits.carries}
    if summary.unfit is not None:
        values |= {"count_unfit": float(summary.unfit)}
    return values


def _about(bundle: Bundle) -> str:
    what = f"{bundle.count} signals" if bundle.count else "no signals: it judges by the picture alone"
    return f"bundle {bundle.id} ({what})"


def _check_out(out: str) -> None:
    folder = Folder(out)
    if folder.exists(REPORT_FILE) and not folder.exists(ROWS_FILE):
        raise ConfigError(f"{folder.at(REPORT_FILE)} is there already and not of a detection; give another folder with --out")
