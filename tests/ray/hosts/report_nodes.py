"""A job that writes down, as JSON, on which hosts it ran and where those import the project from: report_nodes.py OUT NODES."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


@ray.remote(num_cpus=0)
def describe() -> dict[str, str]:
    """The host that ran this task, what it imports and how it talks to the others."""
    import pipeline

    untyped: Any = ray
    return {
        "host": socket.gethostname(),
        "address": untyped.util.get_node_ip_address(),
        "pipeline": str(Path(str(pipeline.__file__)).resolve()),
        "auth": os.environ.get("RAY_AUTH_MODE", ""),
    }


def main(out: Path, nodes: int) -> None:
    """Write `out` once `nodes` nodes are alive; RuntimeError when they are not there in time."""
    untyped: Any = ray
    untyped.init(address="auto", log_to_driver=False)
    deadline = time.monotonic() + 120
    while len(alive := [node for node in untyped.nodes() if node["Alive"]]) < nodes:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(alive)} of {nodes} nodes joined in two minutes")
        time.sleep(0.5)
    on = [NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False) for node in alive]
    seen = ray.get([describe.options(scheduling_strategy=strategy).remote() for strategy in on])
    out.write_text(json.dumps(sorted(seen, key=lambda node: str(node["address"])), indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
