"""The detection on a real local Ray: the rows of the plain loop, whatever the number of actors."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import ray

from pipeline.cli import detect
from tests.fast import tiny
from tests.fast.signals.bundles import tiny_bundle

pytestmark = pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\..*")  # Ray copies its own deprecated settings


@pytest.fixture(scope="module", autouse=True)
def local_ray() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray warns that it will leave CUDA_VISIBLE_DEVICES alone one day
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        yield
        ray.shutdown()


def test_one_actor_two_actors_and_the_plain_loop_give_the_same_rows_to_the_last_digit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.photo_folder(tmp_path / "photos", {f"{'in/' if i % 3 else ''}p{i}.{'jpg' if i % 2 else 'png'}": i for i in range(9)})
    (tmp_path / "photos" / "broken.png").write_text("not a picture")
    bundle = tiny_bundle(tmp_path)
    monkeypatch.setenv("DISRUPT_SIGNAL_KEY", "a secret of more than sixteen bytes")
    tables = []
    for words in (["--engine", "local"], ["--engine", "ray", "--actors", "1"], ["--engine", "ray", "--actors", "2"]):
        out = ["--out", str(tmp_path / "out"), "--no-tracking", "--false-positive-rate", "0.5"]
        assert detect([str(tmp_path / "photos"), "--signals", str(bundle), *out, *words]) == 1
        tables.append(pq.read_table(tmp_path / "out" / "detection.parquet"))
    assert tables[0].equals(tables[1]) and tables[0].equals(tables[2])
    assert tables[0]["status"].to_pylist().count("judged") == 9
