"""Runs on record: a real SQLite file, a server that is down, a server that never answers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.jobs.tracking import Tracking, flatten, open_tracking

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory of its own, with a space in its name, and none of the caller's mlflow settings."""
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "my photos"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield folder
    assert not [name for name in os.environ if name.startswith("MLFLOW_")], "settings leaked into the environment"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database made once: laying out its tables takes seconds."""
    folder = tmp_path_factory.mktemp("template")
    open_tracking(experiment="protect", run_name="first", uri=f"sqlite:///{folder / 'mlflow.db'}").close()
    return folder / "mlflow.db"


def client_of(uri: str) -> MlflowClient:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow.tracking import MlflowClient

        return MlflowClient(uri)


def recorded(tracking: Tracking) -> Any:
    assert tracking.run_id is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return client_of(tracking.uri).get_run(tracking.run_id)


def steps_and_values(tracking: Tracking, metric: str) -> list[tuple[int, float]]:
    assert tracking.run_id is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [(point.step, point.value) for point in client_of(tracking.uri).get_metric_history(tracking.run_id, metric)]


def test_a_run_is_recorded_in_a_new_database_in_the_working_directory(workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    report = workplace / "report.html"
    report.write_text("<p>done</p>", encoding="utf-8")
    with open_tracking(
        experiment="protect", run_name="holiday", params={"epsilon": 6, "pgd": {"steps": 10}}, tags={"who": "me"}
    ) as run:
        run.metrics({"images": 16, "l2/Blond Hair": 0.5}, step=1)
        run.metrics({"images": 32, "l2/Blond Hair": float("nan")}, step=2)
        run.artifact(report)
        run.text("epsilon: 6\n", "config/config.yaml")
    assert capfd.readouterr() == ("", "")

    assert sorted(path.name for path in workplace.iterdir()) == ["mlartifacts", "mlflow.db", "report.html"]
    found = recorded(run)
    assert (found.info.status, found.info.run_name) == ("FINISHED", "holiday")
    assert found.data.params == {"epsilon": "6", "pgd.steps": "10"}
    assert found.data.tags["who"] == "me"
    assert found.data.tags["version.python"] == sys.version.split()[0]
    assert steps_and_values(run, "images") == [(1, 16), (2, 32)]
    stored = {path.name: path.read_text(encoding="utf-8") for path in (workplace / "mlartifacts").rglob("*") if path.is_file()}
    assert stored == {"report.html": "<p>done</p>", "config.yaml": "epsilon: 6\n"}


def test_an_exception_marks_the_run_as_failed_and_an_interrupt_as_killed(template: Path) -> None:
    for error, status in ((ValueError("x"), "FAILED"), (KeyboardInterrupt(), "KILLED")):
        with (
            pytest.raises(type(error)),
            open_tracking(experiment="protect", run_name="n", uri=f"sqlite:///{template}") as run,
        ):
            raise error
        assert recorded(run).info.status == status


def test_the_server_of_the_environment_is_used_and_a_given_one_wins(
    template: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{template}")
        run = open_tracking(experiment="protect", run_name="n")
        assert run.uri == f"sqlite:///{template}"
        run.close()
        patched.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        assert open_tracking(experiment="protect", run_name="n", uri=f"sqlite:///{template}").run_id is not None
    assert list(workplace.iterdir()) == []


def test_a_run_named_in_the_environment_is_continued_once(template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"sqlite:///{template}"
    outer = open_tracking(experiment="protect", run_name="outer", uri=uri, params={"epsilon": "given outside"})
    assert outer.run_id is not None
    monkeypatch.setenv("MLFLOW_RUN_ID", outer.run_id)
    inner = open_tracking(experiment="protect", run_name="inner", uri=uri, params={"epsilon": 6, "steps": 10})
    assert inner.run_id == outer.run_id
    assert recorded(inner).data.params == {"epsilon": "given outside", "steps": "10"}
    assert open_tracking(experiment="protect", run_name="next", uri=uri).run_id != outer.run_id


def test_many_long_and_odd_parameters_are_recorded(template: Path) -> None:
    params = {f"p{k}": k for k in range(230)} | {"a long one": "x" * 9000, "odd:name|<b>": 1}
    run = open_tracking(experiment="protect", run_name="n", uri=f"sqlite:///{template}", params=params)
    found = recorded(run).data.params
    assert len(found) == 232
    assert found["a long one"].startswith("x" * 1000)
    assert found["odd_name__b_"] == "1"


def test_more_points_than_one_request_takes_are_recorded(template: Path) -> None:
    run = open_tracking(experiment="protect", run_name="n", uri=f"sqlite:///{template}")
    run.metrics({f"m{k}": float(k) for k in range(1100)})
    found = recorded(run).data.metrics
    assert len(found) == 1100
    assert found["m1099"] == 1099


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


@pytest.mark.parametrize("scheme", ["http", "postgresql", "mysql+pymysql"])
def test_a_server_that_is_down_costs_one_line_and_a_short_wait(
    scheme: str, workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    began = time.monotonic()
    with open_tracking(experiment="e", run_name="n", uri=f"{scheme}://me:secret@127.0.0.1:{port}/x", params={"a": 1}) as run:
        run.metrics({"a": 1.0}, step=1)
        run.artifact(workplace / "absent")
        run.text("x", "x.txt")
    assert time.monotonic() - began < 12
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("warning: MLflow at ") and err.count("\n") == 1
    assert f"127.0.0.1:{port}" in err
    assert "secret" not in err + run.uri
    assert run.run_id is None


def test_a_server_that_never_answers_costs_one_line_and_a_short_wait(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        began = time.monotonic()
        run = open_tracking(experiment="e", run_name="n", uri=f"http://127.0.0.1:{server.getsockname()[1]}")
    assert run.run_id is None
    assert time.monotonic() - began < 15
    assert capfd.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("uri", ["sqlite:////proc/nowhere/mlflow.db", "nonsense://x", "./mlruns"])
def test_a_place_that_takes_no_records_costs_one_line(uri: str, capfd: pytest.CaptureFixture[str]) -> None:
    open_tracking(experiment="e", run_name="n", uri=uri).close()
    assert capfd.readouterr().err.count("\n") == 1


def test_a_broken_database_costs_one_line_and_stays_as_it_is(workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    database = workplace / "mlflow.db"
    database.write_bytes(b"not a database " * 100)
    open_tracking(experiment="e", run_name="n").close()
    assert capfd.readouterr().err.count("\n") == 1
    assert database.read_bytes() == b"not a database " * 100


def test_points_that_could_not_be_sent_go_with_the_next_ones(template: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = open_tracking(experiment="protect", run_name="n", uri=f"sqlite:///{template}")
    away = template.with_suffix(".away")
    template.rename(away)
    template.mkdir()  # the database is gone for a while
    run.metrics({"images": 1}, step=1)
    run.metrics({"images": 2}, step=2)
    template.rmdir()
    away.rename(template)
    run.metrics({"images": 3}, step=3)
    run.close()
    assert capfd.readouterr().err.count("\n") == 1
    assert recorded(run).info.status == "FINISHED"
    assert steps_and_values(run, "images") == [(1, 1), (2, 2), (3, 3)]


def test_two_processes_that_start_together_share_one_new_database(workplace: Path) -> None:
    code = (
        "from pipeline.jobs.tracking import open_tracking\n"
        "with open_tracking(experiment='together', run_name='n') as run: run.metrics({'a': 1.0})\n"
        "print(run.run_id)"
    )
    command = [sys.executable, "-c", code]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    running = [
        subprocess.Popen(command, cwd=workplace, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    results = [process.communicate(timeout=120) for process in running]
    assert [err for _, err in results] == [""] * 2
    assert len({out.strip() for out, _ in results} - {"None"}) == 2
    assert [path.name for path in workplace.iterdir()] == ["mlflow.db"]


def test_mlflow_is_not_imported_before_a_record_is_opened() -> None:
    code = "import sys, pipeline.jobs.tracking; print('mlflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@settings(deadline=None)
@given(st.recursive(st.integers(), lambda inner: st.dictionaries(st.from_regex("[a-z]{1,3}", fullmatch=True), inner, max_size=3)))
def test_flattening_keeps_every_leaf(tree: Any) -> None:
    def leaves(node: Any) -> list[str]:
        return [leaf for child in node.values() for leaf in leaves(child)] if isinstance(node, dict) else [str(node)]

    assert sorted(flatten({"root": tree}).values()) == sorted(leaves(tree))
