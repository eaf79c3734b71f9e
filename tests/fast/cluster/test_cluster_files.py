"""The files of cluster/ and mlflow/ are what their readers (Ray, KubeRay, MLflow, Compose) accept, and agree with the project."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
LAUNCHER_FILES = ("cluster.yaml", "aws.yaml", "gcp.yaml")
KUBERAY_FILES = ("raycluster.yaml", "rayjob.yaml")


def load(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text())


def launcher_accepts(config: dict[str, Any]) -> dict[str, Any]:
    """The config as `ray up` completes it; raises what `ray up` would. The one place that uses Ray's private functions for it."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared: dict[str, Any] = prepare_config(config)
    validate_config(prepared)
    return prepared


def pod_templates(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    spec = manifest["spec"]
    cluster = spec["rayClusterSpec"] if manifest["kind"] == "RayJob" else spec
    return [group["template"]["spec"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


@pytest.mark.parametrize("name", LAUNCHER_FILES)
def test_the_launcher_accepts_the_file(name: str) -> None:
    prepared = launcher_accepts(load(f"cluster/{name}"))
    assert prepared["cluster_name"] == "disrupt"
    assert prepared["available_node_types"][prepared["head_node_type"]] is not None


@pytest.mark.parametrize("name", LAUNCHER_FILES)
def test_the_launcher_refuses_the_file_with_a_misspelt_key(name: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        launcher_accepts(load(f"cluster/{name}") | {"file_mount": {}})


def test_an_on_premise_cluster_keeps_every_worker_that_is_named() -> None:
    config = load("cluster/cluster.yaml")
    (node_type,) = launcher_accepts(config)["available_node_types"].values()
    assert node_type["min_workers"] == node_type["max_workers"] == len(config["provider"]["worker_ips"])


@pytest.mark.parametrize("name", LAUNCHER_FILES)
def test_hosts_get_all_that_the_package_needs_and_only_files_that_exist(name: str) -> None:
    mounts: dict[str, str] = load(f"cluster/{name}")["file_mounts"]
    local = {source for source in mounts.values() if not source.startswith("~")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {pattern.rstrip("*") for pattern in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    needed = {"pyproject.toml", "constraints.txt", project["project"]["readme"], *project["project"]["license-files"]}
    assert local == needed | {package for package in packages if (ROOT / package).is_dir()}
    assert all((ROOT / source).exists() for source in local)
    assert all(target == f"~/disrupt-app/{source}" for target, source in mounts.items() if source in local)


@pytest.mark.parametrize("name", LAUNCHER_FILES)
def test_hosts_share_one_token_and_all_use_it(name: str) -> None:
    config = load(f"cluster/{name}")
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert any("RAY_AUTH_MODE=token" in command for command in config["setup_commands"])


@pytest.mark.parametrize("name", ["aws.yaml", "gcp.yaml"])
def test_cloud_hosts_install_the_tested_ray_and_not_a_nightly_build(name: str) -> None:
    prepared = launcher_accepts(load(f"cluster/{name}"))
    commands = " ".join(prepared["head_setup_commands"] + prepared["worker_setup_commands"])
    assert f"ray[default]=={ray_version()}" in commands
    assert ".whl" not in commands


@pytest.mark.parametrize("name", ["aws.yaml", "gcp.yaml"])
def test_cloud_workers_are_spot_machines_and_the_head_is_not(name: str) -> None:
    types = load(f"cluster/{name}")["available_node_types"]
    spot = {kind: "'spot'" in str(node) or "'preemptible': True" in str(node) for kind, node in types.items()}
    assert spot == {"head": False, "gpu_worker": True}


def cloud_machines(file: Any) -> tuple[int, int, int]:
    """How many machines of how many GPUs and cores; those of AWS are in its own lists: a g5.2xlarge has one GPU and eight cores."""
    kind = file["available_node_types"]["gpu_worker"]
    size = kind["resources"] or {"g5.2xlarge": {"GPU": 1, "CPU": 8}}[kind["node_config"]["InstanceType"]]
    return kind["max_workers"], size["GPU"], size["CPU"]


def pods(file: Any) -> tuple[int, int, int]:
    """How many pods of how many GPUs and cores."""
    (group,) = (file["spec"].get("rayClusterSpec") or file["spec"])["workerGroupSpecs"]
    size = group["template"]["spec"]["containers"][0]["resources"]["requests"]
    return group["maxReplicas"], int(size["nvidia.com/gpu"]), int(size["cpu"])


@pytest.mark.parametrize(
    ("name", "machines"),
    [
        ("aws.yaml", cloud_machines),
        ("gcp.yaml", cloud_machines),
        ("kuberay/raycluster.yaml", pods),
        ("kuberay/rayjob.yaml", pods),
    ],
)
def test_the_command_of_a_cluster_that_grows_asks_for_all_of_each_of_its_machines(
    name: str, machines: Callable[[Any], tuple[int, int, int]]
) -> None:
    (command,) = re.findall(r"protect_dataset\.py.*", (ROOT / "cluster" / name).read_text())
    count, gpus, cores = machines(load(f"cluster/{name}"))
    assert f"--actors {count} --gpus-per-actor {gpus} --threads {cores}" in command


@pytest.mark.parametrize("name", KUBERAY_FILES)
def test_the_kuberay_manifest_fits_the_schema(name: str) -> None:
    manifest = load(f"cluster/kuberay/{name}")
    jsonschema.validate(manifest, kuberay_schema())
    assert all(spec["volumes"] for spec in pod_templates(manifest))


@pytest.mark.parametrize("name", KUBERAY_FILES)
def test_pods_mount_only_volumes_that_they_declare_and_ask_for_what_they_may_use(name: str) -> None:
    for spec in pod_templates(load(f"cluster/kuberay/{name}")):
        volumes = {volume["name"] for volume in spec["volumes"]}
        for container in spec["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            assert container["resources"]["requests"] == container["resources"]["limits"]


@pytest.mark.parametrize("change", [{"num-cpus": 0}, {"dashboard-host": None}])
def test_the_schema_refuses_start_parameters_that_are_not_strings(change: dict[str, Any]) -> None:
    manifest = load("cluster/kuberay/raycluster.yaml")
    manifest["spec"]["headGroupSpec"]["rayStartParams"] |= change
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(manifest, kuberay_schema())


def test_the_kuberay_files_name_the_tested_ray_and_one_image() -> None:
    manifests = [load(f"cluster/kuberay/{name}") for name in KUBERAY_FILES]
    dockerfile = (ROOT / "cluster/kuberay/Dockerfile").read_text()
    assert f"rayproject/ray:{ray_version()}-" in dockerfile
    assert {str(version) for text in manifests for version in re.findall(r"'rayVersion': '([^']+)'", str(text))} == {ray_version()}
    images = {container["image"] for manifest in manifests for spec in pod_templates(manifest) for container in spec["containers"]}
    assert len(images) == 1
    assert images.pop() in dockerfile


def test_the_upload_of_a_job_is_the_code_and_little_else() -> None:
    ignored = (ROOT / ".rayignore").read_text().split() + (ROOT / ".gitignore").read_text().split()
    assert {".git", ".venv/", "tests/"} <= set(ignored)
    assert not [line for line in ignored if line.strip("/") in {"pipeline", "tune", "cluster"}]


def test_mlflow_holds_no_python_file_that_would_hide_the_library() -> None:
    assert not list((ROOT / "mlflow").rglob("*.py"))


def test_mlflow_reads_the_project_and_its_entry_points() -> None:
    specification: Any = importlib.import_module("mlflow.projects._project_spec")
    project = specification.load_project(str(ROOT / "mlflow"))
    assert set(load("mlflow/MLproject")["entry_points"]) == {"protect", "evaluate", "detect", "train", "tune"}
    entry = project.get_entry_point("protect")
    command = entry.compute_command({"photos": "s3://bucket/a b", "out": "/x"}, storage_dir=None)
    assert "pipeline/protect_dataset.py 's3://bucket/a b' /x" in command


@pytest.mark.parametrize("name", ["protect", "evaluate", "detect", "train", "tune"])
def test_an_entry_point_calls_a_script_that_exists_with_flags_that_it_has(name: str) -> None:
    entry = load("mlflow/MLproject")["entry_points"][name]
    script = ROOT / re.findall(r"\S+\.py", entry["command"])[0]
    assert set(re.findall(r"{(\w+)}", entry["command"])) == set(entry["parameters"])
    shown = subprocess.run(
        [sys.executable, str(script), "--help"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    ).stdout
    for flag in re.findall(r"--[a-z-]+", entry["command"]):
        assert re.search(rf"{flag}\b", shown), f"{script.name} has no {flag}"


def test_mlflow_installs_what_the_project_declares() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert load("mlflow/python_env.yaml")["dependencies"] == declared


def test_the_tracking_server_keeps_runs_in_a_database_and_has_no_secret_of_its_own() -> None:
    text = (ROOT / "mlflow/server/compose.yaml").read_text()
    services = yaml.safe_load(text)["services"]
    assert services["server"]["environment"]["MLFLOW_BACKEND_STORE_URI"].startswith("postgresql://")
    assert all("healthcheck" in service for service in services.values())
    assert set(re.findall(r"\${POSTGRES_PASSWORD(.)", text)) == {":"}, "every use must refuse an empty password"
    settings = dict(
        line.split("=", 1) for line in (ROOT / "mlflow/server/.env.example").read_text().splitlines() if re.match(r"\w+=", line)
    )
    assert settings["POSTGRES_PASSWORD"] == ""
    assert set(re.findall(r"\${(\w+)", text)) == set(settings)


def test_the_tracking_server_runs_the_tested_mlflow() -> None:
    pinned = re.findall(r"mlflow==([\d.]+)", (ROOT / "constraints.txt").read_text())
    assert re.findall(r"mlflow==([\d.]+)", (ROOT / "mlflow/server/compose.yaml").read_text()) == pinned


def ray_version() -> str:
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if re.match(r"\w+==", line))
    return pins["ray"]


def kuberay_schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((Path(__file__).parent / "kuberay.schema.json").read_text())
    return schema


def test_the_rule_for_unfinished_uploads_is_the_one_that_the_page_shows() -> None:
    shown = (ROOT / "cluster/README.md").read_text(encoding="utf-8").partition("```json\n")[2].partition("```")[0]
    rule = json.loads((ROOT / "cluster/lifecycle.json").read_text(encoding="utf-8"))
    assert json.loads(shown) == rule
    assert rule["Rules"][0]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
