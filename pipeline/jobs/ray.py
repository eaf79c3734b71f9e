"""A connection to Ray: to a cluster that runs, or to one started here for the length of a run."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import ray
from ray._private.services import find_bootstrap_address
from rich.console import Console

from pipeline.jobs.options import ConfigError

ANSWER_SECONDS = 5.0
_LOG_LEVEL = "RAY_BACKEND_LOG_LEVEL"


@contextmanager
def connected(address: str, console: Console) -> Iterator[None]:
    """Be connected to the cluster at ``address`` ("auto": a running one, else one started here; "local": one started here).

    Raises ConfigError when no cluster answers at a given address. A connection that exists already is used and left open.
    """
    if ray.is_initialized():
        yield
        return
    address = resolve(address)
    try:
        with _quiet_core():
            _connect(address)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(f"no Ray cluster at {address}: {error}; start one, or leave --address out") from error
    have = ray.cluster_resources()
    where = "started here" if address == "local" else f"cluster at {address}"
    console.print(f"Ray: {where}, {have.get('CPU', 0):g} cores, {have.get('GPU', 0):g} GPUs", highlight=False)
    try:
        yield
    finally:
        ray.shutdown()


def resolve(address: str) -> str:
    """What "auto" means here: RAY_ADDRESS, else the cluster that `ray start` left running on this host, else "local".

    Ray's own "auto" would also pick the private cluster of any other program on this host, and die with it.
    """
    if address != "auto":
        return address
    named = os.environ.get("RAY_ADDRESS", "auto")
    if named != "auto":
        return named
    recorded: str | None = find_bootstrap_address(None)
    return recorded if recorded and _answers(recorded) else "local"


def _connect(address: str) -> None:
    init = partial(ray.init, log_to_driver=False, logging_level=logging.WARNING)
    if address == "local":
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
        init(address="local", include_dashboard=False)
        return
    if not _answers(address):  # Ray would try for minutes
        raise ConnectionError("nobody answers there")
    init(address=address)


def _answers(address: str) -> bool:
    """Whether something listens at [ray://]HOST:PORT."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS):
            return True
    except (OSError, ValueError):
        return False


@contextmanager
def _quiet_core() -> Iterator[None]:
    """Ray's C++ core writes to its log files, not to the user's terminal; RAY_BACKEND_LOG_LEVEL in the environment shows it again.

    Setting that level prints a line of its own, so the error stream is closed for the length of the block.
    """
    if _LOG_LEVEL in os.environ:
        yield
        return
    os.environ[_LOG_LEVEL] = "fatal"
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        del os.environ[_LOG_LEVEL]
