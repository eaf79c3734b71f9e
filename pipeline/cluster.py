"""A connection to Ray: to a cluster that runs, or to one started here for the length of a run."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import ray
from rich.console import Console

from pipeline.config import ConfigError


@contextmanager
def connected(address: str, console: Console) -> Iterator[None]:
    """Be connected to the cluster at ``address`` ("auto": a running one, else one started here; "local": one started here).

    Raises ConfigError when no cluster answers at a given address. A connection that exists already is used and left open.
    """
    if ray.is_initialized():
        yield
        return
    try:
        where = _connect(address)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(f"no Ray cluster at {address}: {error}; start one, or leave --address out") from error
    have = ray.cluster_resources()
    console.print(f"Ray: {where}, {have.get('CPU', 0):g} cores, {have.get('GPU', 0):g} GPUs", highlight=False)
    try:
        yield
    finally:
        ray.shutdown()


def _connect(address: str) -> str:
    init = partial(ray.init, log_to_driver=False, logging_level=logging.WARNING)
    if address == "auto":
        try:
            init(address=os.environ.get("RAY_ADDRESS", "auto"))
        except ConnectionError:
            if "RAY_ADDRESS" in os.environ:
                raise
        else:
            return "running cluster"
    if address in ("auto", "local"):
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
        init(address="local", include_dashboard=False)
        return "started here"
    init(address=address)
    return address
