"""cluster/cluster.yaml as it ships, on real SSH hosts: up, submit, job submit, down. Each host lives in namespaces of its own."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml

from pipeline.generators.checkpoint import save_weights
from pipeline.generators.stargan import StarGANGenerator
from tests.fast import tiny
from tests.ray import outcome
from tests.ray.hosts.ssh_hosts import ROOT, Machine, Network, missing, ssh_hosts
from tests.verbs import protect

PROTECT = "pipeline/protect_dataset.py"
REPORT_NODES = ROOT / "tests" / "ray" / "hosts" / "report_nodes.py"
HOSTS = 3
LONG = 20
"""Photos of a run in whose middle a host is lost."""


@dataclass(frozen=True)
class Cluster:
    """A cluster that `ray up` brought up, as the laptop sees it; `shared` is the folder that all hosts share."""

    network: Network
    config: Path
    shared: Path

    def submit(self, script: str | Path, *args: str | Path, timeout_s: float = 300) -> tuple[int, str]:
        """Exit code and output of `ray submit CONFIG SCRIPT -- ARGS`."""
        done = self.network.laptop.run("ray", "submit", self.config, script, "--", *args, timeout_s=timeout_s, check=False)
        return done.returncode, done.stdout

    def submit_job(self, script: str | Path, *args: str | Path, timeout_s: float = 300) -> tuple[int, str]:
        """Exit code and output of `ray job submit --working-dir . -- python SCRIPT ARGS` through the tunnel of `ray dashboard`."""
        laptop = self.network.laptop
        with laptop.running("ray", "dashboard", self.config, log=self.shared / "dashboard.log"):
            wait_for_port(laptop, 8265)
            job = ["ray", "job", "submit", "--working-dir", ".", "--", "python", script, *args]
            env = {"RAY_API_SERVER_ADDRESS": "http://127.0.0.1:8265", "RAY_AUTH_MODE": "token"}
            done = laptop.run(*job, env=env, timeout_s=timeout_s, check=False)
        return done.returncode, done.stdout


def wait_for_port(machine: Machine, port: int) -> None:
    deadline = time.monotonic() + 60
    while machine.run("bash", "-c", f"</dev/tcp/127.0.0.1/{port}", check=False).returncode != 0:
        assert time.monotonic() < deadline, f"nothing listens on port {port} of {machine.name}"
        time.sleep(0.5)


def write_config(network: Network, folder: Path) -> Path:
    """The shipped file with only the three places changed that its comments ask users to edit."""
    config = yaml.safe_load((ROOT / "cluster" / "cluster.yaml").read_text())
    head, *workers = network.addresses
    config["provider"] |= {"head_ip": head, "worker_ips": workers}
    config["auth"] = {"ssh_user": "root", "ssh_private_key": str(network.key)}
    path = folder / "cluster.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if reason := missing():
        if os.environ.get("CI"):
            pytest.fail(f"CI must be able to make SSH hosts: {reason}")
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("cluster")
    with ssh_hosts(folder, count=HOSTS) as network:
        config = write_config(network, folder)
        network.laptop.run("ray", "get-auth-token", "--generate")
        network.laptop.run("ray", "up", "-y", config)
        yield Cluster(network, config, folder)
        network.laptop.run("ray", "down", "-y", config)
        still = network.hosts[0].run("bash", "-c", "ps ax -o args | grep '[g]cs_server'", check=False)
        assert still.stdout == "", "the head still runs Ray after `ray down`"


def test_ray_submit_runs_the_script_on_every_host_with_the_code_that_ray_up_installed(cluster: Cluster) -> None:
    out = cluster.shared / "submitted.json"
    code, output = cluster.submit(REPORT_NODES.relative_to(ROOT), out, str(HOSTS))
    assert code == 0, output
    seen = json.loads(out.read_text())
    assert [(node["host"], node["address"]) for node in seen] == [(f"host{i}", f"10.77.0.{i}") for i in range(1, HOSTS + 1)]
    homes = [host.home for host in cluster.network.hosts]
    assert [node["pipeline"] for node in seen] == [str(home / "disrupt-app" / "pipeline" / "__init__.py") for home in homes]
    assert {node["auth"] for node in seen} == {"token"}


def test_ray_job_submit_ships_the_working_tree_to_every_host(cluster: Cluster) -> None:
    out = cluster.shared / "job.json"
    code, output = cluster.submit_job(REPORT_NODES, out, str(HOSTS))
    assert code == 0, output
    seen = json.loads(out.read_text())
    assert [node["host"] for node in seen] == [f"host{i}" for i in range(1, HOSTS + 1)]
    assert all("working_dir_files" in node["pipeline"] for node in seen), "the installed code ran, not the shipped one"


@pytest.fixture(scope="module")
def protecting(cluster: Cluster) -> list[str]:
    """The options of a small protection run: six photos and a narrow StarGAN in a released file's form, on the shared folder."""
    tiny.photo_folder(cluster.shared / "photos", {f"p{i}.png": i for i in range(6)})
    torch.manual_seed(0)
    net = StarGANGenerator(4, 2, 1)
    for weight in net.parameters():
        weight.data *= 3  # steep enough to be disrupted
    card = {"classes": json.dumps(tiny.CLASSES), "size": "16"}
    save_weights(net, cluster.shared / "tiny.safetensors", metadata=card)
    options = ["--generator", "stargan", "--weights", str(cluster.shared / "tiny.safetensors"), "--actors", "2", "--no-tracking"]
    return [str(cluster.shared / "photos"), *options]


def test_ray_job_submit_of_the_protect_job_writes_the_same_files_as_the_plain_loop(
    cluster: Cluster, protecting: list[str], tmp_path: Path
) -> None:
    photos, *options = protecting
    code, output = cluster.submit_job(PROTECT, photos, cluster.shared / "job", *options)
    assert code == 0, output
    assert "Ray: cluster at 10.77.0.1:6379" in output
    assert protect([photos, str(tmp_path / "out"), *options, "--engine", "local"]) == 0
    assert outcome.digests(cluster.shared / "job") == outcome.digests(tmp_path / "out")
    assert outcome.rows(cluster.shared / "job") == outcome.rows(tmp_path / "out")


def test_a_wrong_option_of_a_submitted_job_reaches_the_laptop_as_a_message(cluster: Cluster, protecting: list[str]) -> None:
    code, output = cluster.submit(PROTECT, *protecting[:1], cluster.shared / "refused", *protecting[1:], "--epsilon", "300")
    assert code != 0
    assert "--epsilon must be from 1 to 64" in output


def test_the_exit_code_of_the_script_reaches_the_laptop(cluster: Cluster) -> None:
    code, output = cluster.submit(REPORT_NODES.relative_to(ROOT), cluster.shared / "no" / "such" / "folder.json", "1")
    assert code != 0
    assert "FileNotFoundError" in output


def test_nobody_without_the_token_gets_in(cluster: Cluster) -> None:
    status = "ray status --address=10.77.0.1:6379"
    no_token = cluster.network.hosts[0].run("env", "RAY_AUTH_MODE=disabled", "bash", "-c", status, check=False, timeout_s=120)
    assert no_token.returncode != 0
    assert "nauthenticated" in no_token.stdout


def lose_a_host(cluster: Cluster, out: Path, over: threading.Event, lost: list[str]) -> None:
    """Kill the raylet of a host that is not the head and holds an actor, once some parts are committed."""
    while not over.is_set():
        busy = [host for host in cluster.network.hosts[1:] if host.processes("MapWorker")]
        if busy and 2 <= outcome.parts(out) < LONG // 2:
            lost.append(busy[0].name)
            busy[0].processes("raylet/raylet")[0].kill()
            return
        time.sleep(0.1)


def test_ray_submit_of_the_protect_job_outlives_a_host(cluster: Cluster, protecting: list[str], tmp_path: Path) -> None:
    out, over, lost = cluster.shared / "outlived", threading.Event(), list[str]()
    photos = tiny.photo_folder(cluster.shared / "more", {f"p{i:02}.png": i % 7 for i in range(LONG)})
    words = [*protecting[1:], "--actors", str(HOSTS), "--part-photos", "2", "--steps", "120"]
    code, output = cluster.submit(REPORT_NODES.relative_to(ROOT), cluster.shared / "all.json", str(HOSTS))
    assert code == 0, output
    thread = threading.Thread(target=lose_a_host, args=(cluster, out, over, lost))
    thread.start()
    try:
        code, output = cluster.submit(PROTECT, photos, out, *words)
    finally:
        over.set()
        thread.join()
    assert code == 0, output
    assert "Ray: cluster at 10.77.0.1:6379" in output
    assert lost, "the run was over before a host was lost"
    assert protect([str(photos), str(tmp_path / "out"), *words, "--engine", "local"]) == 0
    assert outcome.digests(out) == outcome.digests(tmp_path / "out")
    assert outcome.rows(out) == outcome.rows(tmp_path / "out")
