"""A search on a real local Ray, with relative paths: killed in the middle it resumes every trial, each with its run in MLflow."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
import yaml

from pipeline.signals.bundle import read_bundle
from pipeline.training.systems.signals import SignalSystem
from tests.fast.tune.small import TINY, write_photos
from tune.objective import read_reports

pytestmark = pytest.mark.xdist_group("tune")  # one search, in one process
ROOT = Path(__file__).resolve().parents[2]
TRIALS, STEPS = 4, 5
WAIT_SECONDS = 240


def words(*more: str) -> list[str]:
    steps = ["--trials", str(TRIALS), "--steps", str(STEPS), "--final-steps", "2", "--address", "local"]
    return ["photos", "out", *TINY, *steps, *more]


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    """The search in a process group of its own."""
    settings = {"PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled", "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}"}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "tune/search_signals.py"), *words(*more)],
        cwd=folder,
        env=os.environ | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL to the search; to what it started only where that does not end by itself."""
    below = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(below, timeout=30)
    for one in alive:
        one.kill()


def told(folder: Path) -> dict[str, list[int]]:
    """The steps that each trial has told so far."""
    trials = folder / "out/.disrupt/trials"
    return {path.name: [report.step for report in read_reports(path)] for path in (trials.iterdir() if trials.is_dir() else ())}


def wait_for(folder: Path, process: subprocess.Popen[str], *, trials: int, steps: int) -> dict[str, list[int]]:
    """What was told when so many trials had told scores of so many steps in all, of those that Ray's picture of the search holds.

    The picture is taken now and then: a trial that a kill meets before it is in one is begun anew under another name.
    """
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        pictures = [path.read_text() for path in (folder / "out/.disrupt/ray/search").glob("experiment_state-*.json")]
        known = {name: each for name, each in told(folder).items() if any(name in picture for picture in pictures)}
        reached = [max(each, default=0) for each in known.values()]
        if len(reached) >= trials and sum(reached) >= steps:
            return known
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    raise AssertionError(f"no scores after {WAIT_SECONDS} seconds")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("search")
    write_photos(place / "photos")
    yield place


@dataclass(frozen=True)
class Story:
    """A search that was stopped by Ctrl-C, begun again and killed, begun again and left alone."""

    stopped: tuple[int, str]
    """Exit code and words."""
    before: dict[str, list[int]]
    """The steps that each trial had told when it was killed."""
    ended: tuple[int, str]


@pytest.fixture(scope="module")
def story(folder: Path) -> Story:
    process = start(folder)
    wait_for(folder, process, trials=1, steps=1)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=WAIT_SECONDS)
    stopped = (process.returncode, said)
    process = start(folder)
    before = wait_for(folder, process, trials=2, steps=STEPS + 1)
    kill(process)
    process = start(folder)
    said, _ = process.communicate(timeout=WAIT_SECONDS)
    return Story(stopped, before, (process.returncode, said))


def test_all_tests_of_the_search_run_in_one_process(request: pytest.FixtureRequest, worker_id: str) -> None:
    assert worker_id == "master" or request.node.nodeid.endswith("@tune"), "pytest-xdist does not see the group of these tests"


def test_ctrl_c_stops_a_search_which_says_how_to_go_on(story: Story) -> None:
    code, said = story.stopped
    assert code == 130, said
    assert "Run the same command again" in said
    assert "Traceback" not in said


def test_a_killed_search_goes_on_with_all_its_trials(folder: Path, story: Story) -> None:
    before, (code, said) = story.before, story.ended
    assert code == 0, said
    rows = pq.read_table(folder / "out/trials.parquet").to_pylist()
    assert [row["number"] for row in rows] == list(range(1, TRIALS + 1))
    assert before.keys() <= {row["id"] for row in rows}, "a trial that had begun was lost"
    assert {row["status"] for row in rows} <= {"done", "stopped"}, said
    assert all(row["step"] >= max(before.get(row["id"], []), default=0) for row in rows)
    usual = SignalSystem()
    assert (rows[0]["magnitude"], rows[0]["signals"]) == (usual.magnitude, usual.count), (
        "the first trial has the values that a training starts with"
    )
    assert "best.yaml" in said


def test_a_search_with_relative_paths_has_every_score(folder: Path, story: Story) -> None:
    rows = pq.read_table(folder / "out/trials.parquet").to_pylist()
    assert len(rows) == TRIALS
    for row in rows:
        assert not math.isnan(row["ap_early"]), "the first score that all trials have"
        assert 0 <= row["ap"] <= 1
        assert row["step"] >= 2


def test_the_best_values_are_trained_into_a_bundle(folder: Path, story: Story) -> None:
    rows = pq.read_table(folder / "out/trials.parquet").to_pylist()
    best = max(rows, key=lambda row: (row["step"], row["ap"], row["psnr"]))
    bundle = read_bundle(folder / "out/best/bundle.safetensors")
    options = yaml.safe_load((folder / "out/best.yaml").read_text())
    assert bundle.count == options["signals"] == best["signals"]
    assert bundle.budget == pytest.approx(best["budget"], rel=1e-4)
    assert (folder / "out/report.html").read_text().count("<svg") >= 1


def test_the_record_is_one_run_with_a_run_inside_for_each_trial_and_for_the_best(folder: Path, story: Story) -> None:
    rows = pq.read_table(folder / "out/trials.parquet").to_pylist()
    runs = json.loads((folder / "out/.disrupt/records.json").read_text())
    assert runs.keys() >= {"parent", "best", *(row["id"] for row in rows)}
    assert len(runs) <= TRIALS + 2 + 2, "more runs than trials, and those that the kill lost before they were in a picture"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow.tracking import MlflowClient

        client: Any = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
        on_record = {run.info.run_id: run for run in client.search_runs([client.get_experiment_by_name("tune").experiment_id])}
        curves = {row["id"]: client.get_metric_history(runs[row["id"]], "ap") for row in rows}
        artifacts = {item.path for item in client.list_artifacts(runs["parent"])}
        (version,) = client.search_model_versions("name='disrupt-signals'")
    assert set(on_record) >= set(runs.values())
    orphans = [on_record.pop(name).info.status for name in set(on_record) - set(runs.values())]
    assert orphans in ([], ["RUNNING"]), "no run was begun twice, but for one whose id the kill came before"
    ended = [on_record[runs[name]].info.status for name in ("parent", "best", *(row["id"] for row in rows))]
    assert set(ended) == {"FINISHED"}
    parents = {run.data.tags.get("mlflow.parentRunId") for name, run in on_record.items() if name != runs["parent"]}
    assert parents == {runs["parent"]}
    for row in rows:
        assert float(on_record[runs[row["id"]]].data.params["magnitude"]) == row["magnitude"]
        steps = [point.step for point in curves[row["id"]]]
        assert steps == list(range(1, row["step"] + 1)), "each score is on record, once"
    assert {"report.html", "trials.csv", "trials.parquet", "best.yaml"} <= artifacts
    assert version.run_id == runs["best"]


def test_a_search_that_is_over_is_left_alone_and_other_options_are_refused(
    folder: Path, story: Story, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.verbs import tune

    monkeypatch.chdir(folder)
    assert tune(words()) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert tune(words("--seed", "1")) == 2
    assert "made with other options (seed: 0 there, 1 now)" in capsys.readouterr().err
    assert tune(words("--range", "k=0.9:0.1")) == 2
    assert "0.9 is above 0.1" in capsys.readouterr().err
    assert tune(words("--held-out-generator", "tests.fast.tiny:build")) == 2
    assert "is trained on too" in capsys.readouterr().err
