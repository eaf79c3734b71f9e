"""The folder of a training: whose it is, one job at a time, and the newest checkpoint in it."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.generators.checkpoint import CheckpointError
from pipeline.jobs.options import ConfigError
from pipeline.ledger.errors import unwritable
from pipeline.ledger.layout import OWN
from pipeline.ledger.lock import take_lock
from pipeline.storage import open_storage, write_atomic
from pipeline.training.setup import RUN_FILE, STATE_FILE, Job
from pipeline.training.state import read_checkpoint

RAY_FOLDER = ".disrupt/ray"
"""Where Ray Train keeps its checkpoints, below the folder of the training."""


CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


@contextmanager
def claimed(job: Job) -> Iterator[None]:
    """Inside, the folder belongs to this job.

    Raises ConfigError when it holds something else or a training with other options, LedgerError when another job works in it or it
    cannot be written.
    """
    _check_owner(job)
    fs, path = open_storage(job.out)
    try:
        lock = take_lock(fs, path)
        try:
            facts = {"signature": job.signature, "options": job.config.what_changes_results()}
            write_atomic(fs, str(job.out / RUN_FILE), json.dumps(facts, indent=2, default=str).encode())
            yield
        finally:
            lock.release()
    except OSError as error:
        if error.errno in CANNOT_WRITE:
            raise unwritable(str(job.out), error) from error
        raise


def _check_owner(job: Job) -> None:
    file = job.out / RUN_FILE
    if not file.is_file():
        if job.out.is_dir() and any(entry.name != OWN for entry in job.out.iterdir()):
            raise ConfigError(f"OUT {job.out} is not empty and was not made by disrupt train: give another folder")
        return
    kept = json.loads(file.read_text(encoding="utf-8"))
    if kept["signature"] == job.signature or not any(_checkpoints(job)):
        return
    before, now = (json.loads(json.dumps(facts, default=str)) for facts in (kept["options"], job.config.what_changes_results()))
    names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    changes = ", ".join(f"{name} {_word(before.get(name))} (now {_word(now.get(name))})" for name in names) or "another version"
    raise ConfigError(
        f"OUT {job.out} holds a training with other options: {changes}. Give another folder; "
        f"--init-from {job.out / STATE_FILE} starts it from the networks trained here"
    )


def _word(value: object) -> str:
    return "default" if value is None else str(value)


def newest_state(job: Job) -> Path | None:
    """The checkpoint to go on from, in its place; None when there is none. One of Ray's that is further is put there first."""
    found = furthest_state(job)
    if found is not None and found != job.state_file:
        put_in_place(found, job.state_file)
        return job.state_file
    return found


def furthest_state(job: Job) -> Path | None:
    """The checkpoint with the most steps, in its place or among Ray's; None when there is none.

    Ray may not know of its last ones yet when a worker dies, and the very last may be cut off.
    """
    steps = {path: _step(path) for path in _checkpoints(job)}
    reached = {path: step for path, step in steps.items() if step >= 0 or path == job.state_file}
    return max(reached, key=lambda path: reached[path], default=None)


def forget_ray(job: Job) -> None:
    """Remove Ray's checkpoints, which take as much room again; to be called once the furthest is in its place."""
    shutil.rmtree(job.out / RAY_FOLDER, ignore_errors=True)


def _checkpoints(job: Job) -> list[Path]:
    """All checkpoints of the folder, whole or not: the one in place, and those that Ray keeps."""
    in_place = [job.state_file] if job.state_file.exists() else []
    return [*in_place, *(job.out / RAY_FOLDER).glob(f"*/checkpoint_*/{STATE_FILE}")]


def put_in_place(path: Path, place: Path) -> None:
    """Copy a checkpoint so that ``place`` holds the old one or all of the new one."""
    temporary = place.with_name(f".{place.name}.{secrets.token_hex(4)}.tmp")
    try:
        with path.open("rb") as file, temporary.open("xb") as copy:
            shutil.copyfileobj(file, copy)
            copy.flush()
            os.fsync(copy.fileno())
        temporary.replace(place)
    finally:
        temporary.unlink(missing_ok=True)


def _step(path: Path) -> int:
    """The step that a checkpoint reached; -1 for none or a damaged one."""
    try:
        return int(read_checkpoint(path).get("step", -1))
    except CheckpointError:
        return -1
