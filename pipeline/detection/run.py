"""One detection from options to exit code: find the pictures, run the stages, rows, summary, report, record."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass

import pyarrow as pa
from rich.console import Console

from pipeline.containers.find import find_photos
from pipeline.containers.listing import PhotoRef
from pipeline.detection.decide import Expectation, thresholds
from pipeline.detection.options import DetectConfig
from pipeline.detection.report import terminal_table, write_page
from pipeline.detection.row import in_order
from pipeline.detection.stages import Sight, part_job, refs_as_table
from pipeline.detection.summary import Summary, summarise
from pipeline.jobs.doctor import check_gpu
from pipeline.jobs.flow import do_all
from pipeline.jobs.options import ConfigError, flat, signature_of
from pipeline.jobs.progress import Progress
from pipeline.jobs.tracking import Tracking, record_run
from pipeline.jobs.versions import versions
from pipeline.ledger.manifest import read_manifest
from pipeline.ledger.places import base_folder, check_places
from pipeline.ledger.results import write_result, write_table
from pipeline.ledger.run import work_folder
from pipeline.signals.bundle import Bundle, read_bundle
from pipeline.signals.key import VARIABLE, read_secret
from pipeline.storage import Folder

ROWS_FILE, REPORT_FILE = "detection.parquet", "report.html"


@dataclass(frozen=True)
class Job:
    """A checked call: its options with nothing left out, its bundle, its pictures, and what their names stand for."""

    config: DetectConfig
    bundle: Bundle
    refs: tuple[PhotoRef, ...]
    expect: Expectation | None

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
    check_places(config.input, config.out)
    _check_out(config.out)
    if not config.compute.on_ray(0):
        check_gpu(config.compute)
    expect = _expectation(config, bundle)
    return Job(config, bundle, find_photos(config.input).refs[: config.photos.limit], expect)


def run_detection(asked: DetectConfig, *, command: str, console: Console) -> int:
    """Judge pictures; returns the exit code. Errors of the call are raised as ValueError."""
    job = prepare(asked)
    console.print(f"{len(job.refs)} pictures; {_about(job.bundle)}", highlight=False, soft_wrap=True)
    tags = {"command": command, "bundle": job.bundle.id}
    with record_run(job.config.record, "detect", flat(job.config) | {"pictures": len(job.refs)}, tags) as tracking:
        progress = Progress(console, total=len(job.refs), tracking=tracking)
        options = job.config.what_changes_results() | {"bundle": job.bundle.id}
        signature = signature_of([options, [[ref.key, ref.size_bytes] for ref in job.refs]])
        with work_folder(job.config.out, "detect", signature=signature, config=options) as work:
            done = part_job(job.config, job.sight, work.folder)
            compute = job.config.compute
            table = in_order(do_all(job.refs, refs_as_table, done, compute=compute, console=console, progress=progress))
            progress.close()
            table = job.expect(table) if job.expect else table
            summary = summarise(table, thresholds(job.bundle, job.config.false_positive_rate))
            conclude(job, table, summary, command=command, tracking=tracking)
    console.print(terminal_table(summary, rate=job.config.false_positive_rate))
    for name in (ROWS_FILE, REPORT_FILE):
        console.print(f"{name:20} {Folder(job.config.out).at(name)}", soft_wrap=True, highlight=False)
    return 1 if summary.counts["failed"] else 0


def conclude(job: Job, table: pa.Table, summary: Summary, *, command: str, tracking: Tracking) -> None:
    """Write rows and report, and hand them and the numbers to the record."""
    folder = Folder(job.config.out)
    rate = job.config.false_positive_rate
    page = write_page(summary, job.bundle, job.config.what_changes_results(), command, rate=rate, versions=versions())
    write_result(folder, REPORT_FILE, page.encode())
    write_table(folder, ROWS_FILE, table)
    tracking.metrics(finals(summary))
    tracking.text(page, REPORT_FILE)
    if folder.is_local:
        tracking.artifact(folder.at(ROWS_FILE))


def finals(summary: Summary) -> dict[str, float]:
    """The numbers for the record: counts, shares of the judged pictures, thresholds."""
    values = {f"count_{status}": float(count) for status, count in summary.counts.items()}
    values |= {f"share_{decision}": summary.share(count) for decision, count in summary.decisions.items()}
    values |= {"threshold_manipulated": summary.limits.manipulated}
    if summary.limits.carries is not None:
        values |= {"share_carrying": summary.share(summary.carrying), "threshold_carries": summary.limits.carries}
    if summary.matching is not None:
        values |= {"count_matching": float(summary.matching), "count_another_name": float(summary.stranger_count)}
    return values


def _expectation(config: DetectConfig, bundle: Bundle) -> Expectation | None:
    """What names stand for: nothing without a secret or without signals. The manifest of a protection run knows its names."""
    if config.key_file is None and VARIABLE not in os.environ:
        return None
    secret = read_secret(config.key_file)
    if not bundle.count:
        return None
    written = read_manifest(base_folder(config.input)) or []
    return Expectation(secret, bundle.count, {row["output"]: row["key"] for row in written if row["output"]})


def _about(bundle: Bundle) -> str:
    what = f"{bundle.count} signals" if bundle.count else "no signals: it judges by the picture alone"
    return f"bundle {bundle.id} ({what})"


def _check_out(out: str) -> None:
    folder = Folder(out)
    if folder.exists(REPORT_FILE) and not folder.exists(ROWS_FILE):
        raise ConfigError(f"{folder.at(REPORT_FILE)} is there already and not of a detection; give another folder with --out")
