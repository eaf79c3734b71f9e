"""One protection run from options to exit code: list, plan, run the flow, manifest, report, record."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Iterator
from functools import partial

import pyarrow as pa
from rich.console import Console

from pipeline.containers.listing import PhotoRef
from pipeline.containers.naming import LEAVES_FOLDER, output_names, unsafe_reason
from pipeline.jobs.flow import run_stages
from pipeline.jobs.options import flat
from pipeline.jobs.progress import Progress
from pipeline.jobs.tracking import Tracking, record_run
from pipeline.jobs.versions import versions
from pipeline.ledger.errors import LedgerError
from pipeline.ledger.layout import REPORT_FILE, is_reserved
from pipeline.ledger.parts import latest_rows, read_columns
from pipeline.ledger.plan import attempt_of
from pipeline.ledger.results import write_result
from pipeline.ledger.run import RunFolder, open_run
from pipeline.ledger.schema import ManifestRow
from pipeline.photos.encode import FORMATS
from pipeline.protection.dry_run import estimate
from pipeline.protection.examples import read_examples
from pipeline.protection.flow import fail, protect_stages, write_works
from pipeline.protection.job import Job, prepare
from pipeline.protection.options import ProtectConfig
from pipeline.protection.report import terminal_table, write_report
from pipeline.protection.row import Work
from pipeline.protection.stages.write import Destination
from pipeline.protection.summary import Summary, summarise

Shards = list[tuple[str, list[Work]]]


def run_protect(config: ProtectConfig, *, command: str, console: Console) -> int:
    """Protect photos; returns the exit code. Errors of the call are raised as ValueError."""
    job = prepare(config)
    if config.dry_run:
        return estimate(job, console=console)
    ignored = f", {job.listing.ignored_count} other files ignored" if job.listing.ignored_count else ""
    console.print(f"{len(job.refs)} photos in {config.input}{ignored}; {job.about}", highlight=False)
    began = time.monotonic()
    with open_run(config.output, signature=job.signature, config=job.options, retry_failed=config.retry_failed) as run:
        shards = plan(job, run)
        count = sum(len(works) for _, works in shards)
        if count < len(job.refs):
            console.print(f"{len(job.refs) - count} are done already; {count} to go", highlight=False)
        params = flat(config) | {"recipe_resolved": dataclasses.asdict(config.resolved_recipe()), "photos": len(job.refs)}
        tags = {"command": command, "signature": job.signature}
        with record_run(config.record, f"protect {job.signature}", params, tags) as tracking:
            progress = Progress(console, total=count, tracking=tracking)
            for rows in protect_shards(job, run, shards, console):
                progress.add(rows)
                run.beat()
            progress.close()
            wall = time.monotonic() - began
            summary = conclude(job, run, command=command, tracking=tracking, wall_seconds=wall if count == len(job.refs) else None)
    console.print(terminal_table(summary))
    console.print(f"report: {run.folder.at(REPORT_FILE)}", soft_wrap=True, highlight=False)
    return 1 if summary.counts["failed"] or summary.counts["not_disrupted"] else 0


def plan(job: Job, run: RunFolder) -> Shards:
    """The micro-shards still to be done, each photo with the name of its output; a local output that is gone is done again."""
    config = job.config
    kept = earlier_outputs(run)
    names = name_outputs(job, kept)
    gone = {key for key, output in kept.items() if run.folder.is_local and not run.folder.exists(output)}
    per_actor = max(1, -(-len(job.refs) // (4 * config.compute.actors)))
    shards = run.plan(job.refs, max_count=min(config.shard_count, per_actor), max_bytes=config.shard_mb * 2**20, again=gone)
    return [(shard.id, [_work(ref, names) for ref in shard.refs]) for shard in shards]


def earlier_outputs(run: RunFolder) -> dict[str, str]:
    """The outputs that the run's earlier starts wrote, by key. Raises LedgerError for one that would lie outside the folder."""
    before = latest_rows(read_columns(run.folder, ["key", "output", "shard"]))
    outputs = {key: name for key, name in zip(*(before[name].to_pylist() for name in ("key", "output")), strict=True) if name}
    for name in outputs.values():
        if reason := unsafe_reason(name):
            raise LedgerError(f"{run.folder.path} records the output {name!r}: {reason}. Give another output folder.")
    return outputs


def name_outputs(job: Job, kept: dict[str, str]) -> dict[str, str]:
    """Output names of all inputs that can have one, whatever ``--limit``; what is ``kept`` from before keeps its name."""
    suffix = FORMATS[job.config.format].suffix
    fresh = [ref.key for ref in job.listing.refs if ref.key not in kept and not ref.refused and not unsafe_reason(ref.key)]
    reserved = [key for key in fresh if is_reserved(key)]
    return kept | output_names([key for key in fresh if key not in reserved], suffix=suffix, taken=list(kept.values()))


def _work(ref: PhotoRef, names: dict[str, str]) -> Work:
    if ref.key not in names and not ref.refused:
        ref = dataclasses.replace(ref, refused=unsafe_reason(ref.key) or LEAVES_FOLDER)
    return Work(ref=ref, output=names.get(ref.key, ""))


def protect_shards(job: Job, run: RunFolder, shards: Shards, console: Console) -> Iterator[list[ManifestRow]]:
    """The rows of each shard as they are committed."""
    if not shards:
        return
    config = job.config
    generator = ", ".join(config.generator) if config.disrupts() else None
    to = Destination(run.folder, job.signature, generator, job.signer.bundle.id if job.signer else None)
    write = partial(write_works, config=config, to=to, attempt=attempt_of(shards[0][0]))
    stages = protect_stages(config, job.signer, write)
    works = [works for _, works in shards]
    yield from run_stages(works, stages, partial(fail, write=write), compute=config.used_compute(), console=console)


def conclude(job: Job, run: RunFolder, *, command: str, tracking: Tracking, wall_seconds: float | None) -> Summary:
    """Write manifest and report, hand them and the final numbers to the record; returns the summary."""
    manifest = run.write_manifest()
    rows: pa.Table = run.rows()
    summary = summarise(rows, wall_seconds=wall_seconds)
    page = write_report(
        rows,
        job.options,
        read_examples(rows, job.refs, job.generators, job.config, run),
        command,
        wall_seconds=wall_seconds,
        versions=versions(),
    )
    write_result(run.folder, REPORT_FILE, page.encode())
    finals = {"l1": summary.everything.l1, "l2": summary.everything.l2, "share_disrupted": summary.everything.disrupted}
    finals |= {"psnr_mean": summary.psnr_mean, "psnr_min": summary.psnr_min, "ssim_mean": summary.ssim_mean}
    finals |= {f"count_{status}": float(count) for status, count in summary.counts.items()}
    tracking.metrics({name: value for name, value in finals.items() if math.isfinite(value)})
    tracking.text(page, REPORT_FILE)
    tracking.text(json.dumps(job.options, indent=2, ensure_ascii=False), "config.json")
    if run.folder.is_local:
        tracking.artifact(manifest)
    return summary
