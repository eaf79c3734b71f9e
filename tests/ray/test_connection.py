"""How a run finds its Ray: it never waits for a cluster that is not there, and never moves into another program's."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
import ray
from rich.console import Console

from pipeline.jobs import ray as cluster
from pipeline.jobs.options import ConfigError

NOBODY = "127.0.0.1:9"
PRIVATE = """
import ray
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
print("ready", flush=True)
input()
"""


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setattr(cluster, "find_bootstrap_address", lambda folder: None)


@pytest.mark.parametrize("address", [NOBODY, f"ray://{NOBODY}", "no port"])
def test_an_address_where_nobody_answers_is_refused_within_seconds(address: str) -> None:
    began = time.monotonic()
    with pytest.raises(ConfigError, match="no Ray cluster at"), cluster.connected(address, Console(quiet=True)):
        pass
    assert time.monotonic() - began < 10
    assert not ray.is_initialized()


def test_the_address_in_the_environment_is_taken_and_its_absence_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", NOBODY)
    with pytest.raises(ConfigError, match=NOBODY), cluster.connected("auto", Console(quiet=True)):
        pass


def test_a_cluster_that_died_without_a_word_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "find_bootstrap_address", lambda folder: NOBODY)
    assert cluster.resolve("auto") == "local"


def test_ray_that_another_program_started_for_itself_is_left_alone() -> None:
    with subprocess.Popen([sys.executable, "-c", PRIVATE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        try:
            assert cluster.resolve("auto") == "local"
        finally:
            other.communicate("\n", timeout=60)


def test_ray_started_here_says_nothing_on_the_error_stream_and_ends_with_the_block(capfd: pytest.CaptureFixture[str]) -> None:
    with cluster.connected("auto", Console(quiet=True)):
        assert ray.is_initialized()
        assert "RAY_BACKEND_LOG_LEVEL" not in os.environ
    assert not ray.is_initialized()
    assert capfd.readouterr().err == ""
