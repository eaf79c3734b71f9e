"""What all tests share: where the shared pictures are, and when to do without."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Generated examples are not timed, since a busy machine is no bug; in CI they are the same every time.
settings.register_profile("untimed", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("untimed")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which torch sees no GPU."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared data and golden files; absent outside the project's own machines, but never in CI."""
    folder = Path(os.environ.get("DISRUPT_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"CI has shared data, but {folder} is missing")
        pytest.skip(f"needs the shared data folder; set DISRUPT_SHARED (looked in {folder})")
    return folder


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    """A Ray of three CPUs, whatever this machine has."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray warns that it will leave CUDA_VISIBLE_DEVICES alone one day
        ray.init(address="local", num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        yield
        ray.shutdown()
