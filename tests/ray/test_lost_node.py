"""A cluster of two nodes that loses one of them in the middle of a run: the run ends with the bytes of an undisturbed one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray.cluster_utils import Cluster

from tests.fast import tiny
from tests.ray import outcome, slow_net
from tests.verbs import protect

pytestmark = [
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\..*", r"ignore::FutureWarning:ray\..*", r"ignore::ResourceWarning"),
]
COUNT = 32
WORDS = ["--generator", slow_net.BUILD, "--steps", "6", "--part-photos", "4", "--no-tracking", "--examples", "0", "--actors", "2"]
SOON = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 500}
"""Ray asks each node for a sign of life so often; a node is lost at the fifth that does not answer, by default after 15 s."""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head node and a worker node of one core, so that each has one of two actors."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    monkeypatch.setenv(slow_net.PAUSE, "0.05")
    head: dict[str, Any] = {"num_cpus": 1, "include_dashboard": False, "_system_config": SOON}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()


def lose_a_node(cluster: Cluster, out: Path, over: threading.Event, lost: list[int]) -> None:
    """Kill the worker node with its actor once some parts are committed; the number of parts by then goes to ``lost``."""
    (worker,) = cluster.worker_nodes
    raylet = psutil.Process(worker.all_processes["raylet"][0].process.pid)
    while not over.is_set():
        if holds_actors(raylet) and outcome.parts(out) >= 2:
            lost.append(outcome.parts(out))
            cluster.remove_node(worker, allow_graceful=False)
            return
        time.sleep(0.1)


def holds_actors(raylet: psutil.Process) -> bool:
    """Whether an actor of the protecting stage runs on the node of this raylet."""
    with suppress(psutil.NoSuchProcess):
        return any("MapWorker" in " ".join(process.cmdline()) for process in raylet.children(recursive=True))
    return False


def test_a_run_that_loses_a_node_in_the_middle_ends_with_all_rows_and_the_same_bytes(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = tiny.photo_folder(tmp_path / "photos", {f"p{i:02}.png": i % 7 for i in range(COUNT)})
    lost: list[int] = []
    over = threading.Event()
    thread = threading.Thread(target=lose_a_node, args=(cluster, tmp_path / "out", over, lost))
    thread.start()
    try:
        assert protect([str(photos), str(tmp_path / "out"), "--address", cluster.address, *WORDS]) == 0
    finally:
        over.set()
        thread.join()
    assert lost and lost[0] < COUNT // 4, "the run was over before the node was lost"
    monkeypatch.setenv(slow_net.PAUSE, "0")
    assert protect([str(photos), str(tmp_path / "looped"), "--engine", "local", *WORDS, "--actors", "1"]) == 0
    assert outcome.digests(tmp_path / "out") == outcome.digests(tmp_path / "looped")
    assert outcome.rows(tmp_path / "out") == outcome.rows(tmp_path / "looped")
    assert set(outcome.statuses(tmp_path / "out").values()) == {"protected"}
