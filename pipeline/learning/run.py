"""Universal perturbations from options to exit code: check, claim OUT, learn, measure on other people, write, keep a record."""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
import time
from collections.abc import Callable

from rich.console import Console

from pipeline.jobs.interrupt import defer_sigint
from pipeline.jobs.options import flat
from pipeline.jobs.progress import clock
from pipeline.jobs.tracking import Tracking, record_run
from pipeline.jobs.versions import versions
from pipeline.learning.held_out import as_card, examples, lines, measure
from pipeline.learning.job import BUNDLE_FILE, STATE_FILE, Job, LearningError, open_state, prepare, save_state
from pipeline.learning.options import UniversalConfig
from pipeline.learning.report import REPORT_FILE, in_grey, terminal_table, write_report
from pipeline.ledger.owner import claim
from pipeline.storage import Folder, write_uri
from pipeline.universal.bundle import cosines, universal_of, write_universal
from pipeline.universal.learn import State, advance

DONE, BROKEN_OFF = 0, 1
RUN_FILE = ".disrupt/universal.json"
"""The options of the run that a folder belongs to."""


def run_universal(config: UniversalConfig, *, command: str, console: Console) -> int:
    """Learn as the options say; returns the exit code.

    Raises the project's own ValueErrors for a wrong call, KeyboardInterrupt after Ctrl-C: the state reached then is kept.
    """
    job = prepare(config)
    for note in job.notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)
    out = Folder(str(config.output))
    is_begun = out.exists(STATE_FILE)
    with claim(out, RUN_FILE, verb="universal", signature=job.signature, config=job.options, is_begun=is_begun):
        state = open_state(job)
        skipped = f", {job.faces.skipped} that cannot be read are left out" if job.faces.skipped else ""
        what = f"{config.count} perturbations" if config.count > 1 else "one perturbation"
        console.print(f"{what} of {job.side} px from {len(job.faces.names)} faces{skipped}", highlight=False)
        name, tags = f"universal {job.signature}", {"command": command, "signature": job.signature}
        with record_run(config.record, name, flat(config), tags) as tracking:
            try:
                with defer_sigint() as is_interrupted:
                    state = learn(job, state, console=console, tracking=tracking, is_interrupted=is_interrupted)
            except LearningError as error:
                console.print(f"learning broke off: {error}", style="bold red", highlight=False, soft_wrap=True)
                tracking.close("FAILED")
                return BROKEN_OFF
            if not state.is_done:
                raise KeyboardInterrupt
            return finish(job, state, command=command, console=console, tracking=tracking)


def learn(job: Job, state: State, *, console: Console, tracking: Tracking, is_interrupted: Callable[[], bool]) -> State:
    """The state after all steps, or that at which Ctrl-C was pressed; it is on disk."""
    config, faces_NCHW, pairs = job.config, job.faces.in_memory, job.pairs
    began = printed = time.monotonic()
    first, every_step, pause = _taken(state, job), config.count * job.plan.all_steps, 1.0 if console.is_terminal else 15.0
    values: list[float] = []
    while not state.is_done and not is_interrupted():
        state, value = advance(state, job.plan, pairs, faces_NCHW)
        values.append(value)
        if not (math.isfinite(value) and state.velocity_CHW.isfinite().all()):
            raise LearningError(f"what a network makes of a photo is not finite, or its gradient: perturbation {state.member + 1}")
        taken, now = _taken(state, job), time.monotonic()
        if taken % config.every == 0 or state.is_done:
            save_state(state, config.output)
            tracking.metrics({"objective": sum(values) / len(values)}, step=taken)
            values.clear()
        if now - printed >= pause:
            printed, seconds = now, (now - began) / (taken - first)
            line = f"{taken}/{every_step} steps, {seconds:.2f} s/step, {clock((every_step - taken) * seconds)} left, {value:.3g}   "
            console.print(line, end="\r" if console.is_terminal else "\n", highlight=False)
    save_state(state, config.output)
    return state


def finish(job: Job, state: State, *, command: str, console: Console, tracking: Tracking) -> int:
    """Write the bundle with what it does to held-out people, the report and the record, and say how to use it."""
    config, perturbations_nCHW = job.config, state.perturbations_nCHW.numpy()
    path = config.output / BUNDLE_FILE
    on_faces = all(generator.faces for generator in job.generators)
    universal = universal_of(perturbations_nCHW, epsilon=config.epsilon, networks=job.networks, faces=on_faces, card={})
    samples, grey = (measure(universal, job.generators, config.classes, job.others, config.held_out, grey=g) for g in (False, True))
    rows = lines(samples)
    cosines_nn = cosines(perturbations_nCHW)
    card = {
        "config": job.options,
        "measured": as_card(rows),
        "measured_grey": as_card(lines(grey)),
        "measured_on": f"split {job.split}, squares of {job.side} px in whole levels",
        "cosines": cosines_nn.round(4).tolist(),
        "versions": versions(),
    }
    write_universal(path, dataclasses.replace(universal, card=card))
    shown = examples(universal, job.generators, config.classes, job.others, config.examples)
    page = write_report(job, samples, lines(grey), shown, cosines_nn, command=command)
    write_uri(config.output / REPORT_FILE, page.encode())
    for row in (row for row in rows if row.class_name == "all"):
        finals = {
            "l1": row.l1,
            "l2": row.l2,
            "levelled": row.levelled,
            "share_disrupted": row.disrupted,
            "share_visible": row.visible,
        }
        tracking.metrics({f"{row.generator}_{name}": value for name, value in finals.items()})
    tracking.text(page, REPORT_FILE)
    tracking.text(json.dumps(job.options, indent=2, ensure_ascii=False), "config.json")
    tracking.model([path, path.with_suffix(".json")], "disrupt-universal")
    console.print(terminal_table([*rows, *in_grey(lines(grey))]))
    key = " --key-file KEY" if config.count > 1 else ""
    console.print(f"written: {path}, report: {config.output / REPORT_FILE}", highlight=False, soft_wrap=True)
    use = f"disrupt protect PHOTOS PROTECTED --recipe none --universal {shlex.quote(str(path))}{key}"
    console.print(f"protect photos with it:\n  {use}", highlight=False, soft_wrap=True)
    return DONE


def _taken(state: State, job: Job) -> int:
    """The steps of all perturbations so far."""
    return state.member * job.plan.all_steps + state.step
