"""One training from options to exit code: check, open, train here or on Ray, write the weights, keep a record."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path

import torch
from rich.console import Console

from pipeline.jobs.options import ConfigError
from pipeline.jobs.tracking import Tracking, no_record, open_tracking
from pipeline.training.batches import Source
from pipeline.training.bundle import export_bundle
from pipeline.training.config import TrainConfig
from pipeline.training.errors import TrainError
from pipeline.training.export import export
from pipeline.training.folder import claimed, forget_ray, newest_state
from pipeline.training.session import End, interrupt_noted, train
from pipeline.training.setup import LOG_FILE, Job, held_out_squares, open_source, open_state, plan, threads
from pipeline.training.signals import SignalSystem
from pipeline.training.state import TrainState
from pipeline.training.watch import Watch

DONE, BROKEN_OFF = 0, 1


def run_train(config: TrainConfig, *, command: str, console: Console, run_id: str | None = None) -> int:
    """Train as the options say; returns 0 when the training is done or its time is up, 1 when it broke off.

    ``run_id`` is the run in MLflow to continue; without it the training gets a new one.
    Raises the project's own ValueErrors for a wrong call, KeyboardInterrupt after Ctrl-C: what is checkpointed is kept.
    """
    job = plan(config)
    _check_gpu(config)
    with claimed(job):
        torch.set_num_threads(threads(config))
        source = open_source(job)
        if source.skipped:
            console.print(f"{source.skipped} pictures cannot be read and are left out", highlight=False)
        state = _opened(job)
        if state.step >= job.settings.steps:
            console.print(f"{job.out} has all its {job.settings.steps} steps; nothing to do", highlight=False)
            return _finish(job, no_record(), console, ended="done")
        with _tracking(job, command, run_id) as tracking:
            watch = Watch(console, out=job.out, steps=job.settings.steps, minutes=config.minutes, tracking=tracking)
            try:
                ended = _train_on_ray(job, source, watch, console) if config.workers else _train_here(job, state, source, watch)
            except TrainError as error:
                console.print(f"training broke off: {error}", style="bold red", highlight=False, soft_wrap=True)
                tracking.close("FAILED")
                return BROKEN_OFF
            finally:
                watch.close()
            if said := watch.fall():
                console.print(f"losses, first to last: {said}", highlight=False, soft_wrap=True)
            code = _finish(job, tracking, console, ended=ended)
            if ended == "interrupted":
                raise KeyboardInterrupt
            return code


def _opened(job: Job) -> TrainState:
    """The state to go on from; for a training on Ray only to check it, so that a checkpoint that does not fit is refused here."""
    device = "cuda" if job.config.gpus_per_worker and not job.config.workers else "cpu"
    return open_state(job, device=device, checkpoint=newest_state(job))


def _train_here(job: Job, state: TrainState, source: Source, watch: Watch) -> End:
    with interrupt_noted() as interrupted:
        return train(job, state, source, tell=watch, save=lambda state: state.save(job.state_file), interrupted=interrupted)


def _train_on_ray(job: Job, source: Source, watch: Watch, console: Console) -> End:
    from pipeline.jobs.ray import connected
    from pipeline.training.driver import train_on_ray, workers_need

    with connected(job.config.address, console, workers_need(job)):
        return train_on_ray(job, source, watch)


def _finish(job: Job, tracking: Tracking, console: Console, *, ended: End) -> int:
    """Write the averaged generators, hand them to the record, and say how to use them."""
    checkpoint = newest_state(job)
    if checkpoint is None:
        return DONE
    forget_ray(job)
    state = open_state(job, checkpoint=checkpoint)
    paths = _written(job, state)
    tracking.artifact(job.out / LOG_FILE)
    tracking.model([*paths], job.config.register or f"disrupt-{job.config.system}")
    if ended != "done":
        again = "the same command goes on"
        console.print(f"stopped at step {state.step} of {job.settings.steps}; {again}", highlight=False, soft_wrap=True)
    console.print(f"written: {', '.join(str(path) for path in paths)}", highlight=False, soft_wrap=True)
    for line in how_to_use(job, paths):
        console.print(line, highlight=False, soft_wrap=True)
    return DONE


def _written(job: Job, state: TrainState) -> list[Path]:
    """What the training is for: the weights of its generators, or the bundle of its signals."""
    if isinstance(job.system, SignalSystem):
        config = job.config.what_changes_results()
        return [export_bundle(job.system, state, held_out_squares(job), job.out, config=config).path]
    return export(job.config.system, state.G_ema, job.out, size=job.sizes.image, blur=job.config.blur)


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


def _tracking(job: Job, command: str, run_id: str | None) -> Tracking:
    if not job.config.tracking:
        return no_record()
    params = dataclasses.asdict(job.config) | {"resolved": dataclasses.asdict(job.settings) | dataclasses.asdict(job.sizes)}
    params["resolved"] |= {"batch": job.batch, "weights": json.dumps(dataclasses.asdict(job.system), default=str)}  # type: ignore[call-overload]
    tags = {"command": command, "signature": job.signature}
    name = f"train {job.config.system} {job.signature}"
    return open_tracking(experiment=job.config.experiment, run_name=name, params=params, tags=tags, run_id=run_id)


def _check_gpu(config: TrainConfig) -> None:
    if config.gpus_per_worker and not config.workers and not torch.cuda.is_available():
        raise ConfigError("--gpus-per-worker asks for a GPU, but torch sees none here; leave it out to train on the CPU")
