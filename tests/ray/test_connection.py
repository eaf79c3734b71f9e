"""How a run gets its Ray: it waits for no cluster that is not there, moves into no other program's, and lets nobody in."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import psutil
import pytest
import ray
from rich.console import Console

from pipeline.jobs import ray as cluster
from pipeline.jobs.options import ConfigError
from pipeline.jobs.room import Need

LITTLE = Need([{"CPU": 0.5}], [{"CPU": 0.5}], "--actors")
NOBODY = "127.0.0.1:9"
PRIVATE = """
import ray
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
print("ready", flush=True)
input()
"""
ASK = """
import sys
from ray._raylet import GcsClient
print(GcsClient(sys.argv[1]).internal_kv_get(b"session_name", namespace=b"session"))
"""


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setattr(cluster, "find_bootstrap_address", lambda folder: None)


@pytest.mark.parametrize(("raised", "expected"), [(Exception("timed out"), ConfigError), (TypeError("a bug"), TypeError)])
def test_a_ray_that_does_not_start_is_no_bug_and_a_bug_is_no_ray_that_does_not_start(
    raised: Exception, expected: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**options: object) -> None:
        raise raised

    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(expected), cluster.connected("local", Console(quiet=True), LITTLE):
        pass


@pytest.mark.parametrize("address", [NOBODY, f"ray://{NOBODY}", "no port"])
def test_an_address_where_nobody_answers_is_refused_within_seconds(address: str) -> None:
    began = time.monotonic()
    with pytest.raises(ConfigError, match="no Ray cluster at"), cluster.connected(address, Console(quiet=True), LITTLE):
        pass
    assert time.monotonic() - began < 10
    assert not ray.is_initialized()


def test_the_address_in_the_environment_is_taken_and_its_absence_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", NOBODY)
    with pytest.raises(ConfigError, match=NOBODY), cluster.connected("auto", Console(quiet=True), LITTLE):
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
    with cluster.connected("auto", Console(quiet=True), LITTLE):
        assert ray.is_initialized()
        assert "RAY_BACKEND_LOG_LEVEL" not in os.environ
    assert not ray.is_initialized()
    assert capfd.readouterr().err == ""


def test_ray_started_here_listens_on_no_address_that_others_reach() -> None:
    others = {each.address for card in psutil.net_if_addrs().values() for each in card if each.family == socket.AF_INET}
    with cluster.connected("local", Console(quiet=True), LITTLE):
        ray.get(ray.remote(lambda: None).remote())  # a worker has a door of its own
        port = int(ray.get_runtime_context().gcs_address.rpartition(":")[2])
        family = [psutil.Process(), *psutil.Process().children(recursive=True)]
        doors = [each for process in family for each in process.net_connections("inet") if each.status == "LISTEN"]
        for address in others - {"127.0.0.1"} | {"127.0.0.2"}:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((address, port), timeout=5)
    assert port in {door.laddr.port for door in doors}
    assert {door.laddr.ip.removeprefix("::ffff:") for door in doors} <= {"127.0.0.1", "::1"}


def test_ray_started_here_answers_nobody_without_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    def answers(**auth: str) -> bool:
        words = [sys.executable, "-c", ASK, ray.get_runtime_context().gcs_address]
        return subprocess.run(words, env=os.environ | auth, capture_output=True, timeout=60, check=False).returncode == 0

    monkeypatch.setenv("RAY_AUTH_TOKEN", "of another cluster")
    with cluster.connected("local", Console(quiet=True), LITTLE):
        assert answers()
        assert not answers(RAY_AUTH_MODE="disabled")
        assert not answers(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="a" * 64)
    assert (os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"]) == ("disabled", "of another cluster")
