"""One protection run from options to exit code: plan, do the parts, manifest, report, record."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Sequence

from rich.console import Console

from pipeline.containers.samples import about_photos
from pipeline.jobs.flow import run_parts
from pipeline.jobs.options import RAY_FROM, flat
from pipeline.jobs.progress import Progress
from pipeline.jobs.tracking import Tracking, record_run
from pipeline.jobs.versions import versions
from pipeline.ledger.layout import REPORT_FILE
from pipeline.ledger.parts import read_sums, write_manifest
from pipeline.ledger.plan import Plan, planned
from pipeline.ledger.results import write_result
from pipeline.ledger.run import RunFolder, open_run
from pipeline.ledger.schema import manifest_schema
from pipeline.protection.dry_run import estimate
from pipeline.protection.examples import read_examples
from pipeline.protection.flow import part_job
from pipeline.protection.job import Job, prepare
from pipeline.protection.options import ProtectConfig
from pipeline.protection.plan import in_containers, plan_run, planned_refs
from pipeline.protection.preview import preview
from pipeline.protection.report import terminal_table, write_report
from pipeline.protection.sizes import with_webp_tried
from pipeline.protection.summary import EVERYTHING, Summary, summarise
from pipeline.protection.sums import Sums, merged


def run_protect(config: ProtectConfig, *, command: str, console: Console) -> int:
    """Protect photos; returns the exit code. Errors of the call are raised as ValueError."""
    job = prepare(config)
    for note in job.notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)
    if config.preview:
        return preview(job, command=command, console=console)
    if config.dry_run:
        return estimate(job, console=console)
    began = time.monotonic()
    with open_run(config.output, signature=job.signature, config=job.options, retry_failed=config.retry_failed) as run:
        plan, parts = plan_run(job, run)
        count = sum(map(plan.count, parts))
        what = "containers" if in_containers(run, plan) else "photos"
        ignored = f", {plan.ignored} other files ignored" if plan.ignored else ""
        console.print(f"{plan.total} {what} in {config.input}{ignored}; {job.about}", highlight=False)
        if count < plan.total:
            console.print(f"{plan.total - count} are done already; {count} to go", highlight=False)
        params = flat(job.config) | {"recipe_resolved": dataclasses.asdict(config.resolved_recipe()), what: plan.total}
        tags = {"command": command, "signature": job.signature}
        with record_run(config.record, f"protect {job.signature}", params, tags) as tracking:
            progress = Progress(console, total=count if what == "photos" else None, tracking=tracking)
            sums = do_parts(job, run, plan, parts, console=console, progress=progress)
            progress.close()
            wall = time.monotonic() - began if count == plan.total else None
            summary = conclude(job, run, plan, sums, command=command, tracking=tracking, wall_seconds=wall)
    console.print(terminal_table(summary))
    console.print(f"report: {run.folder.at(REPORT_FILE)}", soft_wrap=True, highlight=False)
    return 1 if summary.counts["failed"] or summary.counts["not_disrupted"] else 0


def do_parts(job: Job, run: RunFolder, plan: Plan, parts: Sequence[str], *, console: Console, progress: Progress) -> Sums:
    """The sums of the whole plan, of which these parts are done now."""
    waiting = set(parts)
    total = merged(read_sums(run.folder, [name for name in plan.parts if name not in waiting]))
    compute = job.config.used_compute()
    photos = sum(map(plan.count, parts))
    if compute.engine == "auto" and in_containers(run, plan):
        refs = (ref for name in parts for ref in planned_refs(planned(run.folder, name)))
        photos = about_photos(refs, image=job.config.image, enough=RAY_FROM)
    for sums in run_parts(parts, part_job(job, run), photos=photos, compute=compute, console=console, progress=progress):
        run.check()
        total = merged([total, sums]) if total else sums
    return total


def conclude(
    job: Job, run: RunFolder, plan: Plan, sums: Sums, *, command: str, tracking: Tracking, wall_seconds: float | None
) -> Summary:
    """Write manifest and report, hand them and the final numbers to the record; returns the summary."""
    run.check()
    manifest = write_manifest(run.folder, plan.parts, sums["rows"], manifest_schema(identity=job.config.identity))
    sums = with_webp_tried(sums, job.config, run)
    summary = summarise(sums, wall_seconds=wall_seconds)
    examples = read_examples(sums, job.generators, job.config, run)
    page = write_report(sums, job.options, examples, command, wall_seconds=wall_seconds, versions=versions())
    write_result(run.folder, REPORT_FILE, page.encode())
    every = summary.everything
    finals = {"l1": every.l1, "l2": every.l2, "share_disrupted": every.disrupted, "share_visible": every.visible}
    if found := summary.identities.get(EVERYTHING):
        finals |= {"identity": found.mean, "identity_clean": found.mean_clean}
        finals |= {"share_other_person": found.other, "share_other_person_clean": found.other_clean}
    finals |= {"psnr_mean": summary.psnr_mean, "psnr_min": summary.psnr_min, "ssim_mean": summary.ssim_mean}
    finals |= {f"count_{status}": float(count) for status, count in summary.counts.items()}
    tracking.metrics({name: value for name, value in finals.items() if math.isfinite(value)})
    tracking.text(page, REPORT_FILE)
    tracking.text(json.dumps(job.options, indent=2, ensure_ascii=False), "config.json")
    if run.folder.is_local and manifest is not None:
        tracking.artifact(manifest)
    return summary
