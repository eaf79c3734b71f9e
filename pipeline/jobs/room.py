"""Room on a Ray cluster for a run: whether there is enough, and the wait for it where machines come when asked for."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
from ray._private.state import state
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.autoscaler.sdk import request_resources
from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply  # type: ignore[attr-defined]
from ray.experimental.internal_kv import _internal_kv_get
from rich.console import Console

from pipeline.jobs.options import ConfigError

LOOK_SECONDS, TELL_SECONDS, QUIET_SECONDS = 2.0, 60.0, 60.0
"""Between two looks at a cluster, between two messages of a wait, and how long no machine may be on its way before it ends."""
GB = 10**9
_UNITS = {"CPU": ("cores", 1), "GPU": ("GPUs", 1), "memory": ("GB", GB)}
Bundle = Mapping[str, float]
"""Amounts of CPU, GPU and memory (bytes) that one process takes, or that one machine has."""


@dataclass(frozen=True)
class Need:
    """What a run asks of a cluster: ``all`` its processes, those without which it cannot ``begin``, and the flags for fewer."""

    all: Sequence[Bundle]
    begin: Sequence[Bundle]
    flags: str


def wait_for_room(need: Need, console: Console, *, fixed: bool) -> None:
    """Return as soon as the connected cluster has room for the run to begin.

    A cluster that grows is asked for the whole run. Raises ConfigError when the cluster can never hold it: at once when it is
    ``fixed``, else when its autoscaler says so or sends no machine.
    """
    if fits(need.all, _machines()):
        return
    if fixed:
        raise _too_small(need)
    request_resources(bundles=[dict(bundle) for bundle in need.all])
    try:
        _wait(need, console)
    finally:
        request_resources(bundles=[])  # from now on the work itself holds the machines


def fits(bundles: Iterable[Bundle], machines: Iterable[Bundle]) -> bool:
    """Whether the machines hold all bundles at the same time, the largest placed first."""
    free = [dict(machine) for machine in machines]
    for bundle in sorted(bundles, key=lambda bundle: (bundle.get("GPU", 0), bundle.get("CPU", 0)), reverse=True):
        for machine in free:
            if all(machine.get(name, 0) >= amount for name, amount in bundle.items()):
                machine.update({name: round(machine[name] - amount, 4) for name, amount in bundle.items()})
                break
        else:
            return False
    return True


def most(bundle: Bundle) -> int:
    """How many such processes the connected cluster holds when nothing else runs; at least one.

    Where its autoscaler has told Ray how far it grows, that counts; a cluster that grows without a limit counts as it is.
    """
    wanted = {name: amount for name, amount in bundle.items() if amount}
    grown = state.get_max_resources_from_cluster_config() or {}
    now = sum(how_many(wanted, machine) for machine in _machines())
    return max(1, now, how_many(wanted, {name: amount for name, amount in grown.items() if amount < sys.maxsize}))


def how_many(bundle: Bundle, machine: Bundle) -> int:
    """How many such bundles a machine holds."""
    return min(int(machine.get(name, 0) / amount + 1e-9) for name, amount in bundle.items())


def prospect(asked: Sequence[Bundle], status: dict[str, Any], reply: GetClusterStatusReply) -> str:
    """What the autoscaler makes of a request: "never", "coming", or "quiet" while it says nothing.

    ``status`` is the report of the first autoscaler, empty where the second one runs, which puts its report into ``reply``.
    """
    if report := status.get("autoscaler_report"):
        kinds = report["node_type_mapping"]
        if kinds and all(kind == f"node_{node}" for node, kind in kinds.items()):  # so it names the machines of a fixed cluster
            return "never"
        known = report["node_availability_summary"]["node_availabilities"].values()
        sold_out = any(not kind["is_available"] for kind in known)
        return "coming" if report["pending_nodes"] or report["pending_launches"] or sold_out else "quiet"
    for refused in reply.autoscaling_state.infeasible_cluster_resource_constraints:
        shapes = {_shape(each.request.resources_bundle): each.count for each in refused.resource_requests}
        if shapes == Counter(_shape(bundle) for bundle in asked):
            return "never"
    state = reply.autoscaling_state
    return "coming" if state.pending_instance_requests or state.pending_instances or state.failed_instance_requests else "quiet"


def _wait(need: Need, console: Console) -> None:
    began = moved = time.monotonic()
    told, seen = began, None
    while not fits(need.all, machines := _machines()):
        now, answer = time.monotonic(), prospect(need.all, *_reports())
        if answer == "coming":
            moved = now
            if fits(need.begin, machines):
                return
        if answer == "never" or now - moved > QUIET_SECONDS:
            raise _too_small(need)
        if machines != seen or now - told > TELL_SECONDS:
            console.print(f"waiting for machines since {now - began:.0f} s: {_balance(need)}", highlight=False, soft_wrap=True)
            told, seen = now, machines
        time.sleep(LOOK_SECONDS)


def _machines() -> list[Bundle]:
    resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [{name: each[name] for name in _UNITS if name in each} for each in resources]


def _reports() -> tuple[dict[str, Any], GetClusterStatusReply]:
    status = _internal_kv_get(DEBUG_AUTOSCALING_STATUS)
    client = GcsClient(ray.get_runtime_context().gcs_address)
    return json.loads(status) if status else {}, GetClusterStatusReply.FromString(client.get_cluster_status())


def _too_small(need: Need) -> ConfigError:
    return ConfigError(f"{_balance(need)}: give fewer with {need.flags}")


def _balance(need: Need) -> str:
    asked = {"CPU", "GPU"}.union(*need.all)
    machines = [{name: amount for name, amount in machine.items() if name in asked} for machine in _machines()]
    return f"the run needs {_amounts(need.all)}, the cluster has {_amounts(machines)}"


def _amounts(bundles: Iterable[Bundle]) -> str:
    """Like "8 x 1 GPUs + 1 x 0.5 cores"."""
    counts = Counter(_in_words(bundle) for bundle in bundles if any(bundle.values()))
    return " + ".join(f"{count} x {words}" for words, count in counts.items()) or "0 cores"


def _in_words(bundle: Bundle) -> str:
    return " and ".join(
        f"{round(amount / scale, 2):g} {unit}" for name, (unit, scale) in _UNITS.items() if (amount := bundle.get(name, 0))
    )


def _shape(bundle: Bundle) -> frozenset[tuple[str, float]]:
    return frozenset(bundle.items())
