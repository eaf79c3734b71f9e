"""A connection to Ray: to a cluster that runs, or to one started here for the length of a run."""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import ray
from ray._private import ray_constants
from ray._private.services import find_bootstrap_address
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]
from rich.console import Console

from pipeline.jobs.options import ConfigError
from pipeline.jobs.room import Need, wait_for_room

ANSWER_SECONDS = 5.0
_CLIENT = "ray://"
_LOG_LEVEL = "RAY_BACKEND_LOG_LEVEL"


@contextmanager
def connected(address: str, console: Console, need: Need) -> Iterator[None]:
    """Be connected to the cluster at ``address`` ("auto": a running one, else one started here; "local": one started here).

    The block begins when the cluster has room for what the run needs. Raises ConfigError when no cluster answers at a given
    address, or when it can never hold the run. A connection that exists already is used and left open.
    """
    if ray.is_initialized():
        wait_for_room(need, console, fixed=False)
        yield
        return
    address = resolve(address)
    local = address == "local"
    with _own_token() if local else nullcontext():
        try:
            with _quiet_core():
                _connect(address)
        except Exception as error:
            is_plain = type(error) is Exception  # Ray has no class for a node that does not come up
            if not (is_plain or isinstance(error, (ConnectionError, ValueError, RuntimeError))):
                raise
            fix = "try again when the machine is less busy" if local else "start one, or leave --address out"
            raise ConfigError(f"no Ray cluster at {address}: {error}; {fix}") from error
        try:
            have = ray.cluster_resources()
            where = "started here" if local else f"cluster at {address}"
            console.print(f"Ray: {where}, {have.get('CPU', 0):g} cores, {have.get('GPU', 0):g} GPUs", highlight=False)
            wait_for_room(need, console, fixed=local or address.startswith(_CLIENT))
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
        # A node of a machine that takes part in no cluster has the loopback address, and all its processes listen there alone.
        before, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
        try:
            init(address="local", include_dashboard=False)
        finally:
            ray_constants.ENABLE_RAY_CLUSTER = before
        return
    if not _answers(address):  # Ray would try for minutes
        raise ConnectionError("nobody answers there")
    init(address=address)


@contextmanager
def _own_token() -> Iterator[None]:
    """Whoever reaches a Ray started inside the block needs a token that only its processes know; outside, all is as it was."""
    own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    before = {name: os.environ[name] for name in own if name in os.environ}
    os.environ.update(own)
    _reread_authentication()
    try:
        yield
    finally:
        for name in own:
            del os.environ[name]
        os.environ.update(before)
        _reread_authentication()


def _reread_authentication() -> None:
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def _answers(address: str) -> bool:
    """Whether something listens at [ray://]HOST:PORT."""
    host, _, port = address.removeprefix(_CLIENT).rpartition(":")
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
