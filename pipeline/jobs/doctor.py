"""What this machine has, what fits and what is missing, in ten lines."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console

from pipeline.jobs.options import Compute, ConfigError
from pipeline.jobs.versions import git_commit, versions
from pipeline.photos.faces import INSTALL, finder_version
from pipeline.photos.identity import INSTALL as INSTALL_RECOGNISER
from pipeline.photos.identity import recogniser_version


def check_gpu(compute: Compute) -> None:
    """Raise ConfigError when the networks are to run on a GPU of this process and torch sees none."""
    import torch

    if compute.on_gpu and not torch.cuda.is_available():
        raise ConfigError("--gpus-per-actor asks for a GPU, but torch sees none here; leave it out to compute on the CPU")


@dataclass(frozen=True)
class DoctorConfig:
    """Say what this machine has, what fits and what is missing. Exit code: 0, or 1 when the shipped generator cannot be used."""


def run_doctor(_config: DoctorConfig, *, command: str, console: Console) -> int:
    """Print the findings; returns the exit code."""
    import torch

    from pipeline.generators.checkpoint import CheckpointError
    from pipeline.generators.precision import has_bf16
    from pipeline.generators.zoo import WEIGHTS, ZOO, load_generator, local_weights

    found = versions()

    def say(name: str, text: str) -> None:
        console.print(f"{name:12} {text}", highlight=False, soft_wrap=True)

    say("versions", ", ".join(f"{k} {v}" for k, v in found.items()))
    say("code", git_commit() or "installed package")
    say("cores", f"{os.cpu_count()}, torch uses {torch.get_num_threads()} threads")
    say("memory", f"{psutil.virtual_memory().available / 2**30:.1f} of {psutil.virtual_memory().total / 2**30:.1f} GB free")
    say("disk here", f"{shutil.disk_usage(Path.cwd()).free / 2**30:.0f} GB free")
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    say("GPU", ", ".join(gpus) or "none: networks run on the CPU (--gpus-per-actor 0, the default)")
    fast = bool(gpus) or has_bf16(torch.device("cpu"))
    say("bf16", "in hardware" if fast else "not in hardware: leave --precision at fp32")
    say("Ray", f"{found.get('ray', 'missing: pip install ray[default,data]')}; address {os.environ.get('RAY_ADDRESS', 'not set')}")
    say("MLflow", os.environ.get("MLFLOW_TRACKING_URI", "mlflow.db in the working folder"))
    say(
        "faces",
        f"found by {finder_version()}: --region faces" if finder_version() else f"cannot be found: {INSTALL} for --region faces",
    )
    person = recogniser_version()
    say("identity", f"by {person}: --identity" if person else f"cannot be measured: {INSTALL_RECOGNISER} for --identity")
    shipped_is_usable = True
    for name, row in ZOO.items():
        if local_weights(row) is None:
            continue
        try:
            generator = load_generator(name)
            say("generator", f"{name} ({generator.size} px): {', '.join(generator.classes)}")
        except CheckpointError as error:
            say("generator", f"{name} is not usable: {error}" + ("" if row.package else f" (looked in {WEIGHTS})"))
            shipped_is_usable = shipped_is_usable and bool(row.package)
    return 0 if shipped_is_usable else 1
