"""One training from options to exit code: check, claim the folder, train here or on Ray, write the weights, keep a record."""

from __future__ import annotations

import dataclasses
import json
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch
from rich.console import Console

from pipeline.jobs.interrupt import defer_sigint
from pipeline.jobs.options import ConfigError, flat
from pipeline.jobs.tracking import Tracking, no_record, record_run
from pipeline.ledger.owner import claim
from pipeline.signals.manipulation import notes_on_sources
from pipeline.storage import Folder
from pipeline.training.data.faces import FacesSource
from pipeline.training.data.label_pairs import LabelPairs
from pipeline.training.data.store import FOLDER as PICTURES
from pipeline.training.data.store import Decode, Part, decode_here, describe
from pipeline.training.data.unpaired import Unpaired
from pipeline.training.export import export, export_bundle
from pipeline.training.job import Job, held_out_squares, open_source, open_state, plan, threads
from pipeline.training.loop import SaveDue, Stopped, train
from pipeline.training.options import TrainConfig, TrainError
from pipeline.training.report import LOG_FILE, Report
from pipeline.training.state import RAY_FOLDER, checkpoints, settle_checkpoint
from pipeline.training.systems.signals import SignalSystem

DONE, BROKEN_OFF = 0, 1
RUN_FILE = ".disrupt/train.json"
"""The options of the training that a folder belongs to."""
PAUSE_SECONDS = 15.0
"""Between two lines about pictures that are decoded."""


def run_train(config: TrainConfig, *, command: str, console: Console, run_id: str | None = None) -> int:
    """Train as the options say; returns 0 when the training is done or its time is up, 1 when it broke off.

    ``run_id`` names a run on record to continue. Raises the project's own ValueErrors for a wrong call, KeyboardInterrupt after
    Ctrl-C: the last checkpoint stays.
    """
    job = plan(config)
    if config.gpus_per_worker and not config.workers and not torch.cuda.is_available():
        raise ConfigError("--gpus-per-worker asks for a GPU, but torch sees none here; leave it out to train on the CPU")
    with (
        claim(
            Folder(job.out),
            RUN_FILE,
            verb="train",
            signature=job.signature,
            config=config.what_changes_results(),
            is_begun=bool(checkpoints(job.out)),
            advice=f"Give another folder; --init-from {job.state_file} starts it from the networks trained here.",
        ),
        ExitStack() as stack,
    ):
        for note in notes_on_sources(job.system.sources) if isinstance(job.system, SignalSystem) else ():
            console.print(f"note: {note}", highlight=False, soft_wrap=True)
        torch.set_num_threads(threads(config))
        device = "cuda" if config.gpus_per_worker and not config.workers else "cpu"
        state = open_state(job, device=device, checkpoint=settle_checkpoint(job.out))  # on Ray only to refuse one that does not fit
        if state.step >= job.settings.steps:
            console.print(f"{job.out} has all its {job.settings.steps} steps; nothing to do", highlight=False)
            return _finish(job, no_record(), console)
        connect = partial(_connect, job, console, stack) if config.workers else None
        source = open_source(job, partial(decode_parts, console=console, connect=connect))
        say_what_is_read(job, source, console)
        with _open_record(job, command, run_id) as tracking:
            if config.workers:
                from pipeline.training.driver import train_on_ray

                _connect(job, console, stack)
                events = train_on_ray(job, source)
            else:
                is_interrupted = stack.enter_context(defer_sigint())
                events = train(state, job.system, source, job.settings, job.schedule, is_interrupted=is_interrupted)
            report = Report(console, out=job.out, steps=job.settings.steps, minutes=config.minutes, tracking=tracking)
            why = "done"
            try:
                for event in events:
                    if isinstance(event, SaveDue):
                        state.save(job.state_file)
                    elif isinstance(event, Stopped):
                        why = event.why
                    report.add(event)
            except TrainError as error:
                console.print(f"training broke off: {error}", style="bold red", highlight=False, soft_wrap=True)
                tracking.close("FAILED")
                return BROKEN_OFF
            finally:
                report.close()
            if changes := report.changes():
                console.print(f"losses, first to last: {changes}", highlight=False, soft_wrap=True)
            code = _finish(job, tracking, console)
            if why == "interrupted":
                raise KeyboardInterrupt
            return code


def _connect(job: Job, console: Console, stack: ExitStack) -> None:
    """Be connected to the cluster until the stack is left."""
    from pipeline.jobs.ray import connected
    from pipeline.training.driver import workers_need

    stack.enter_context(connected(job.config.address, console, workers_need(job)))


def decode_parts(parts: Sequence[Part], *, console: Console, connect: Callable[[], None] | None) -> Iterator[Part]:
    """Decode parts on the cluster that ``connect`` connects to, with None in this process, and say how far that is."""
    console.print(f"decoding the pictures once, into {parts[0].folder}", highlight=False, soft_wrap=True)
    said, done, pictures = time.monotonic(), 0, 0

    def say() -> None:
        nonlocal said
        if time.monotonic() - said > PAUSE_SECONDS:
            said = time.monotonic()
            console.print(f"{done}/{len(parts)} parts" + (f", {pictures} pictures" if pictures else ""), highlight=False)

    def tell() -> None:
        nonlocal pictures
        pictures += 1
        say()

    decode: Decode = partial(decode_here, tell=tell)
    if connect:
        from pipeline.training.feed import decode_on_ray

        connect()
        decode = decode_on_ray
    for part in decode(parts):
        done += 1
        say()
        yield part


def say_what_is_read(job: Job, source: FacesSource | Unpaired | LabelPairs, console: Console) -> None:
    """Say how many pictures a training has, where they are, and how many are left out."""
    lines = [describe(source.pictures, job.config.memory_mb)] if source.pictures else []
    lines += [f"{source.skipped} pictures cannot be read and are left out"] if source.skipped else []
    if isinstance(source, FacesSource) and source.train.unlabelled:
        lines.append(f"{source.train.unlabelled} pictures have no labels and are left out")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def _finish(job: Job, tracking: Tracking, console: Console) -> int:
    """Write what the training is for, hand it to the record, and say how to use it."""
    checkpoint = settle_checkpoint(job.out)
    if checkpoint is None:
        return DONE
    shutil.rmtree(job.out / RAY_FOLDER, ignore_errors=True)  # as large again; the furthest is in its place now
    state = open_state(job, checkpoint=checkpoint)
    if isinstance(job.system, SignalSystem):
        config = job.config.what_changes_results()
        paths = [export_bundle(job.system, state, held_out_squares(job), job.out, config=config)]
    else:
        paths = export(job.system, state.G_ema, job.out, size=job.sizes.image, blur=job.config.blur)
    if state.step >= job.settings.steps:
        shutil.rmtree(job.out / PICTURES, ignore_errors=True)
    tracking.artifact(job.out / LOG_FILE)
    tracking.model([*paths], job.config.register or f"disrupt-{job.config.system}")
    lines = [f"written: {', '.join(str(path) for path in paths)}", *how_to_use(job, paths)]
    if state.step < job.settings.steps:
        lines.insert(0, f"stopped at step {state.step} of {job.settings.steps}; run the same command again to resume")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)
    return DONE


def how_to_use(job: Job, paths: list[Path]) -> list[str]:
    """How to use what was trained, ready to be typed; nothing for a system that does not take photos."""
    if isinstance(job.system, SignalSystem) and job.system.count:
        bundle = shlex.quote(str(paths[0]))
        return [
            "sign photos, and tell later which were manipulated:",
            f"  disrupt protect PHOTOS SIGNED --recipe none --signals {bundle} --key-file KEY",
            f"  disrupt detect PICTURES --signals {bundle}",
        ]
    if not job.row.zoo:
        return []
    words = ["disrupt", "protect", "PHOTOS", "PROTECTED", "--generator", job.row.zoo, "--weights"]
    return ["protect photos against it:", *(f"  {shlex.join([*words, str(path)])}" for path in paths)]


def _open_record(job: Job, command: str, run_id: str | None) -> Tracking:
    resolved = dataclasses.asdict(job.settings) | dataclasses.asdict(job.sizes) | {"batch": job.batch}
    resolved["weights"] = json.dumps(dataclasses.asdict(job.system), default=str)  # type: ignore[call-overload]
    name, tags = f"train {job.config.system} {job.signature}", {"command": command, "signature": job.signature}
    return record_run(job.config.record, name, flat(job.config) | {"resolved": resolved}, tags, run_id=run_id)
