"""Generators for tests that kill: slow enough that a run has a middle, or deadly. `--generator tests.ray.slow_net:build`."""

from __future__ import annotations

import dataclasses
import os
import time

import ray
from torch import Tensor, nn

from pipeline.generators.generator import Generator
from tests.fast import tiny

BUILD = "tests.ray.slow_net:build"
BUILD_DEADLY = "tests.ray.slow_net:build_deadly"
BUILD_FAULTY = "tests.ray.slow_net:build_faulty"
PAUSE = "DISRUPT_TEST_PAUSE"


def build() -> Generator:
    """The tiny generator; every call waits as many seconds as the environment says."""
    quick, pause = tiny.build(), float(os.environ.get(PAUSE, "0"))

    def slow(net: nn.Module, x_BCHW: Tensor, c_BK: Tensor) -> Tensor:
        time.sleep(pause)
        return quick.translate(net, x_BCHW, c_BK)

    return dataclasses.replace(quick, translate=slow)


def build_deadly() -> Generator:
    """A generator that ends the process of the actor that uses it, as the system does when memory runs out."""

    def deadly(net: nn.Module, x_BCHW: Tensor, c_BK: Tensor) -> Tensor:
        if ray.get_runtime_context().get_actor_id():
            os._exit(1)
        return x_BCHW

    return Generator("deadly", nn.Identity(), {"same": ()}, 16, "deadly", translate=deadly)


def build_faulty() -> Generator:
    """A generator with a bug."""

    def faulty(net: nn.Module, x_BCHW: Tensor, c_BK: Tensor) -> Tensor:
        return x_BCHW * (1 / 0)

    return Generator("faulty", nn.Identity(), {"same": ()}, 16, "faulty", translate=faulty)
