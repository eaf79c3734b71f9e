"""Room for a run: what fits, what an autoscaler answers, and a run on a cluster that has no core until one is asked for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply  # type: ignore[attr-defined]

from pipeline.jobs.room import GB, Bundle, fits, how_many, prospect
from tests.conftest import ROOT
from tests.fast import tiny
from tests.ray import outcome

ASKED: list[Bundle] = [{"CPU": 1.5}, {"CPU": 1.5}, {"CPU": 0.5}]
HEAD = "f" * 51 + "00000"
CLUSTER = {
    "cluster_name": "grows",
    "max_workers": 3,
    "idle_timeout_minutes": 5,
    "upscaling_speed": 1.0,
    "provider": {"type": "fake_multinode", "head_node_id": HEAD, "gcs_address": "127.0.0.1:6379", "disable_node_updaters": True},
    "auth": {"ssh_user": "nobody"},
    "head_node_type": "ray.head.default",
    "available_node_types": {
        "ray.head.default": {"resources": {}, "node_config": {}, "max_workers": 0},
        "worker": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 3},
    },
    **{f"{part}_commands": [] for part in ("initialization", "setup", "head_setup", "worker_setup")},
    **{f"{part}_start_ray_commands": [] for part in ("head", "worker")},
    "file_mounts": {},
    "cluster_synced_files": [],
}
"""A cluster of Ray's own fake machines: each worker is a raylet on this machine."""
RUN = f"""
set -e
mkdir -p /tmp/ray && mount -t tmpfs ray /tmp/ray
ip link set lo up
RAY_FAKE_CLUSTER=1 RAY_OVERRIDE_NODE_ID_FOR_TESTING={HEAD} RAY_enable_autoscaler_v2=0 AUTOSCALER_UPDATE_INTERVAL_S=1 \\
    ray start --head --node-ip-address=127.0.0.1 --port=6379 --num-cpus=0 --autoscaling-config="$0" --include-dashboard=false
exec "$@"
"""
"""Runs a command beside such a cluster, in namespaces of its own."""


def test_a_machine_holds_as_many_processes_as_its_scarcest_resource_allows() -> None:
    machine = {"CPU": 7.0, "GPU": 2.0}
    assert how_many({"CPU": 2}, machine) == 3
    assert how_many({"CPU": 1, "GPU": 0.1}, machine) == 7
    assert how_many({"CPU": 1, "GPU": 0.4}, machine) == 5
    assert how_many({"CPU": 1, "GPU": 1}, {"CPU": 64.0}) == 0


@pytest.mark.parametrize(
    ("machines", "enough"),
    [
        ([{"CPU": 3.5}], True),
        ([{"CPU": 2}, {"CPU": 2}], True),
        ([{"CPU": 2}, {"CPU": 1}, {"CPU": 1}], False),  # enough cores, but no machine for the second
        ([{"CPU": 3.4}], False),
        ([{}], False),
        ([], False),
    ],
)
def test_processes_fit_when_each_has_a_machine_that_holds_it(machines: list[Bundle], enough: bool) -> None:
    assert fits(ASKED, machines) is enough


def test_memory_limits_how_many_processes_a_machine_holds() -> None:
    assert how_many({"CPU": 1, "memory": 1.5 * GB}, {"CPU": 64.0, "memory": 16 * GB}) == 10
    assert how_many({"CPU": 1, "memory": 1.5 * GB}, {"CPU": 64.0}) == 0
    assert not fits([{"CPU": 1, "memory": 9 * GB}] * 2, [{"CPU": 8, "memory": 16 * GB}])


def test_tenths_of_a_gpu_fill_it_to_the_last() -> None:
    assert fits([{"GPU": 0.1}] * 10 + [{"CPU": 0.5}], [{"CPU": 8, "GPU": 1}])
    assert not fits([{"GPU": 0.1}] * 11, [{"CPU": 8, "GPU": 1}])


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"node_type_mapping": {"0a": "node_0a", "0b": "node_0b"}}, "never"),
        ({"node_type_mapping": {}}, "quiet"),
        ({}, "quiet"),
        ({"pending_launches": {"gpu_worker": 4}}, "coming"),
        ({"pending_nodes": [["10.0.0.2", "gpu_worker", "setting-up"]]}, "coming"),
        ({"node_availability_summary": {"node_availabilities": {"gpu_worker": {"is_available": False}}}}, "coming"),
    ],
)
def test_the_first_autoscaler_is_understood(changes: dict[str, Any], answer: str) -> None:
    report = {
        "pending_nodes": [],
        "pending_launches": {},
        "node_availability_summary": {"node_availabilities": {"gpu_worker": {"is_available": True}}},
        "node_type_mapping": {"10.0.0.1": "head"},
    }
    assert prospect(ASKED, {"autoscaler_report": report | changes}, GetClusterStatusReply()) == answer


@pytest.mark.parametrize(
    ("refused", "answer"), [([({"CPU": 1.5}, 2), ({"CPU": 0.5}, 1)], "never"), ([({"CPU": 50.0}, 1)], "quiet")]
)
def test_the_second_autoscaler_refuses_this_request_or_one_that_was_taken_back(
    refused: list[tuple[dict[str, float], int]], answer: str
) -> None:
    reply = GetClusterStatusReply()
    constraint = reply.autoscaling_state.infeasible_cluster_resource_constraints.add()
    for bundle, count in refused:
        constraint.resource_requests.add(count=count).request.resources_bundle.update(bundle)
    assert prospect(ASKED, {}, reply) == answer


@pytest.mark.parametrize("sign", ["pending_instance_requests", "pending_instances", "failed_instance_requests"])
def test_the_second_autoscaler_fetches_machines(sign: str) -> None:
    reply = GetClusterStatusReply()
    getattr(reply.autoscaling_state, sign).add(ray_node_type_name="gpu_worker")
    assert prospect(ASKED, {}, reply) == "coming"


def test_a_cluster_without_an_autoscaler_says_nothing() -> None:
    assert prospect(ASKED, {}, GetClusterStatusReply()) == "quiet"


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("unshare"), reason="namespaces need root")
def test_a_run_asks_a_cluster_without_cores_for_machines_and_waits_for_them(tmp_path: Path) -> None:
    tiny.nine_photos(tmp_path / "photos")
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(CLUSTER))
    alone = ["unshare", "--net", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc"]
    words = [sys.executable, "-m", "pipeline.protect_dataset", "photos", "out", "--generator", tiny.BUILD, "--no-tracking"]
    run = subprocess.run(
        [*alone, "bash", "-c", RUN, "cluster.yaml", *words, "--address", "127.0.0.1:6379", "--actors", "2", "--examples", "1"],
        cwd=tmp_path,
        env=os.environ
        | {"PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    assert "waiting for machines" in run.stdout
    assert set(outcome.statuses(tmp_path / "out").values()) == {"protected"}
