"""The record of a run in MLflow: the only place that imports mlflow, and it does so when a record is opened.

A server or database that is down costs one line on stderr and never the run: from then on the same calls do nothing, or try
again after a pause when the record had been opened before.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import secrets
import socket
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import urlsplit

from pipeline.jobs.options import Record
from pipeline.jobs.versions import git_commit, versions

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

Status = Literal["FINISHED", "FAILED", "KILLED"]

OPEN_SECONDS, CALL_SECONDS, ARTIFACT_SECONDS = 4, 10, 60
PAUSE_SECONDS = 60.0
DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


class Tracking:
    """A run on record. No method raises when the record cannot be reached.

    ``run_id`` is None when there is no record; ``uri`` is where it is, without a password.
    """

    def __init__(self, client: MlflowClient | None, *, run_id: str | None, uri: str) -> None:
        self.run_id = run_id
        self.uri = _without_password(uri)
        self._client = client
        self._pending: list[Metric] = []
        self._warned = client is None
        self._not_before = 0.0

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Add one point at ``step`` to the curve of each value; points that could not be sent go with the next ones."""
        self.curves([(step, values)])

    def curves(self, points: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Add a point to the curve of each value at each of the steps, all in one message; as ``metrics`` does."""
        if self._client is None or not points:
            return
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        self._pending += [
            Metric(_name(key), float(value), now_ms, step) for step, values in points for key, value in values.items()
        ]
        self._call(self._send_pending)

    def artifact(self, path: str | Path, folder: str | None = None) -> None:
        """Copy a file to the record, under ``folder`` if given."""
        self._call(lambda client, run_id: client.log_artifact(run_id, str(path), folder), seconds=ARTIFACT_SECONDS)

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags of the run."""
        self._call(lambda client, run_id: [client.set_tag(run_id, key, value) for key, value in values.items()])

    def reached(self, key: str) -> int:
        """The last step at which the curve ``key`` has a point on record; -1 when there is none, or no record."""
        steps = [-1]
        self._call(lambda client, run_id: steps.extend(point.step for point in client.get_metric_history(run_id, _name(key))))
        return max(steps)

    def text(self, text: str, name: str) -> None:
        """Store ``text`` in the record as the file ``name``."""
        self._call(lambda client, run_id: client.log_text(run_id, text, name), seconds=ARTIFACT_SECONDS)

    def model(self, paths: Sequence[str | Path], name: str) -> None:
        """Store the files under ``model`` and register them as the next version of the model ``name``."""
        for path in paths:
            self.artifact(path, "model")
        self._call(lambda client, run_id: _register(client, run_id, _name(name)), seconds=ARTIFACT_SECONDS)

    def close(self, status: Status = "FINISHED") -> None:
        """End the run on record; later calls do nothing."""
        self._not_before = 0.0
        if self._pending:
            self._call(self._send_pending)
        self._not_before = 0.0
        self._call(lambda client, run_id: client.set_terminated(run_id, status))
        self._client = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.close("FINISHED")
        else:
            self.close("FAILED" if issubclass(kind, Exception) else "KILLED")

    def _send_pending(self, client: MlflowClient, run_id: str) -> None:
        while self._pending:
            client.log_batch(run_id, metrics=self._pending[:1000])
            del self._pending[:1000]

    def _call(self, call: Callable[[MlflowClient, str], Any], *, seconds: int = CALL_SECONDS) -> None:
        """Run ``call``; when it fails, say so once and leave the record alone for a while."""
        if self._client is None or self.run_id is None or time.monotonic() < self._not_before:
            return
        try:
            with _calling(seconds):
                call(self._client, self.run_id)
        except _failures() as error:
            self._not_before = time.monotonic() + PAUSE_SECONDS
            if not self._warned:
                self._warned = True
                _warn(f"MLflow at {self.uri} failed; its record of this run may have gaps", error)


def open_tracking(
    *,
    experiment: str,
    run_name: str,
    uri: str | None = None,
    params: Mapping[str, object] | None = None,
    tags: Mapping[str, str] | None = None,
    run_id: str | None = None,
) -> Tracking:
    """A new run on record, with its parameters (nested ones flattened with dots), tags, versions and git commit.

    Without ``uri`` the record goes to MLFLOW_TRACKING_URI, else to ``mlflow.db`` in the working directory, with the artifacts in
    ``mlartifacts`` beside it. Under ``mlflow run``, which names a run in MLFLOW_RUN_ID, that run is continued; so is the run
    ``run_id`` if the record still has it. When the record cannot be opened, one line on stderr says why and the result does
    nothing.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / 'mlflow.db'}"
    try:
        _reach_database(uri)
        with _calling(OPEN_SECONDS):
            client = _open_client(uri)
            known = os.environ.pop("MLFLOW_RUN_ID", None) or _still_there(client, run_id)
            run_id = _start(client, uri, known, experiment=experiment, run_name=run_name, params=params or {}, tags=tags or {})
    except _failures() as error:
        _warn(f"MLflow at {_without_password(uri)} cannot be reached; this run goes on without a record", error)
        return Tracking(None, run_id=None, uri=uri)
    return Tracking(client, run_id=run_id, uri=uri)


def record_run(record: Record, run_name: str, params: Mapping[str, object], tags: Mapping[str, str]) -> Tracking:
    """A new run on record as the options say."""
    if not record.tracking:
        return no_record()
    return open_tracking(experiment=record.experiment, run_name=run_name, params=params, tags=tags)


def no_record() -> Tracking:
    """A record that keeps nothing, for runs that want none."""
    return Tracking(None, run_id=None, uri="")


def _register(client: MlflowClient, run_id: str, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    client.create_model_version(name, source=f"{client.get_run(run_id).info.artifact_uri}/model", run_id=run_id)


def flatten(params: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Nested mappings as one level of dotted names with values as text: ``{"a": {"b": 1}}`` -> ``{"a.b": "1"}``."""
    flat: dict[str, str] = {}
    for key, value in params.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[_name(f"{prefix}{key}")] = str(value)
    return flat


def _still_there(client: MlflowClient, run_id: str | None) -> str | None:
    """The run if it is on record and not deleted, at work again; None otherwise."""
    from mlflow.exceptions import MlflowException

    if run_id is None:
        return None
    try:
        client.update_run(run_id, status="RUNNING")
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "INVALID_STATE"):
            raise
        return None
    return run_id


def _start(
    client: MlflowClient,
    uri: str,
    run_id: str | None,
    *,
    experiment: str,
    run_name: str,
    params: Mapping[str, object],
    tags: Mapping[str, str],
) -> str:
    """The id of the run that this process writes to: ``run_id``, or a new one."""
    from mlflow.entities import Param, RunTag

    commit = git_commit()
    all_tags = {f"version.{name}": version for name, version in versions().items()}
    all_tags |= {"mlflow.source.git.commit": commit} if commit else {}
    all_tags |= {"mlflow.source.name": Path(sys.argv[0]).name or "python"} | dict(tags)
    if run_id is None:
        run_id = client.create_run(_experiment_id(client, uri, experiment), run_name=run_name).info.run_id
    recorded = client.get_run(run_id).data.params
    new = [Param(key, value) for key, value in flatten(params).items() if key not in recorded]
    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in all_tags.items()][:100])
    for first in range(0, len(new), 100):
        client.log_batch(run_id, params=new[first : first + 100])
    return str(run_id)


def _experiment_id(client: MlflowClient, uri: str, name: str) -> str:
    """The id of the experiment called ``name``, made if need be, with its artifacts beside a local database."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        database = _local_database(uri)
        try:
            return str(client.create_experiment(name, artifact_location=_artifacts(database).as_uri() if database else None))
        except MlflowException as error:
            found = client.get_experiment_by_name(name)  # another process made it in between
            if found is None:
                raise error
    return str(found.experiment_id)


def _open_client(uri: str) -> MlflowClient:
    """A client of ``uri``; a local database that is not there yet is made first, whole, under another name.

    Processes that start together on a new database break it when each creates its tables in place.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from mlflow.tracking import MlflowClient

    database = _local_database(uri)
    if database and not database.exists():
        database.parent.mkdir(parents=True, exist_ok=True)
        new = database.with_name(f".{database.name}.{secrets.token_hex(4)}.tmp")
        try:
            store = SqlAlchemyStore(f"sqlite:///{new}", _artifacts(database).as_uri())  # type: ignore[no-untyped-call]
            store.engine.dispose()
            _rename_if_free(new, database)
        finally:
            new.unlink(missing_ok=True)
    return MlflowClient(uri)


def _rename_if_free(new: Path, name: Path) -> None:
    """Give the file ``new`` its final ``name``, unless another process was first."""
    try:
        os.link(new, name)
    except FileExistsError:
        return
    except OSError:  # a file system without hard links
        if not name.exists():
            new.replace(name)


def _local_database(uri: str) -> Path | None:
    """The file behind a ``sqlite:///`` URI; None for every other one."""
    path = uri.removeprefix("sqlite:///")
    return None if path in ("", uri) or "?" in path else Path(path).absolute()


def _artifacts(database: Path) -> Path:
    return database.parent / "mlartifacts"


def _reach_database(uri: str) -> None:
    """Raise OSError when the host of a database URI does not take connections: mlflow itself would try for minutes."""
    parts = urlsplit(uri)
    port = parts.port or DATABASE_PORTS.get(parts.scheme.split("+")[0])
    if parts.scheme.split("+")[0] in DATABASE_PORTS and parts.hostname:
        socket.create_connection((parts.hostname, port), timeout=OPEN_SECONDS).close()


@contextmanager
def _calling(seconds: int) -> Iterator[None]:
    """Conditions under which mlflow is called: short waits, no chatter, no messages home; the user's own settings win.

    mlflow 3.17 uses a loader option that sqlalchemy has deprecated; that warning is mlflow's to act on.
    """
    settings = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(seconds),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    ours = {name: value for name, value in settings.items() if name not in os.environ}
    with ExitStack() as undo:
        undo.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"mlflow\.")
        os.environ.update(ours)
        for name in ours:
            undo.callback(os.environ.pop, name, None)
        importlib.import_module("mlflow")  # sets up its own logging, so before the next lines
        for name in ("mlflow", "alembic", "urllib3"):
            logger = logging.getLogger(name)
            undo.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL)
        yield


def _failures() -> tuple[type[Exception], ...]:
    """What mlflow raises when a store is down, full, locked, broken or lacks its driver."""
    try:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError:
        return OSError, ImportError
    return OSError, ImportError, MlflowException, SQLAlchemyError


def _warn(what: str, error: Exception) -> None:
    reason = _without_password(" ".join(str(error).split()))
    print(f"warning: {what} ({reason[:200]})", file=sys.stderr)


def _without_password(text: str) -> str:
    return re.sub(r"//[^/@\s]+@", "//***@", text)


def _name(key: str) -> str:
    """``key`` with what mlflow does not take in a name replaced, at most 250 characters."""
    return re.sub(r"[^\w\-. /]", "_", key)[:250]
