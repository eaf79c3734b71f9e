"""Where a run computes: in one process or on Ray, on the CPU or a GPU; the options that say so are the same for every verb."""

from __future__ import annotations

import os
from typing import Protocol

from pipeline.protection.options import ConfigError

RAY_FROM = 1000
"""From this many photos on, starting Ray costs less than it saves."""


class Compute(Protocol):
    """The options that say where a run computes."""

    @property
    def engine(self) -> str:
        """auto, local or ray."""
        ...

    @property
    def address(self) -> str:
        """The Ray cluster."""
        ...

    @property
    def actors(self) -> int:
        """Processes that hold the generators."""
        ...

    @property
    def gpus_per_actor(self) -> float:
        """GPUs of each; 0 computes on the CPU."""
        ...

    def on_gpu(self) -> bool:
        """Whether the networks run on a GPU."""
        ...


def wants_ray(config: Compute, count: int) -> bool:
    """Whether a run of ``count`` photos goes to Ray."""
    if config.engine != "auto":
        return config.engine == "ray"
    return config.actors > 1 or config.address != "auto" or "RAY_ADDRESS" in os.environ or count >= RAY_FROM


def check_gpu(config: Compute) -> None:
    """Raise ConfigError when a GPU is asked for in this process and there is none."""
    import torch

    if config.on_gpu() and not wants_ray(config, 0) and not torch.cuda.is_available():
        raise ConfigError("--gpus-per-actor asks for a GPU, but torch sees none here; leave it out to compute on the CPU")
