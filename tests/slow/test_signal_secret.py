"""The secret of signals after a run that is kept on record."""

from __future__ import annotations

import base64
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.signals.key import VARIABLE
from tests.fast.signals.bundles import tiny_bundle
from tests.fast.tiny import photo_folder
from tests.verbs import protect

SECRET = b"Never-Write-This-Down-4711"


def test_the_secret_is_written_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv(VARIABLE, SECRET.decode())
    for name in ("set", "record"):
        (tmp_path / name).mkdir()
    photos, out, bundle = photo_folder(tmp_path / "photos"), tmp_path / "out", tiny_bundle(tmp_path / "set")
    monkeypatch.chdir(store := tmp_path / "record")
    words = ["--recipe", "none", "--signals", str(bundle), "--engine", "local", "--examples", "1"]
    assert protect([str(photos), str(out), *words]) == 0
    found = [path for folder in (out, store) for path in folder.rglob("*") if path.is_file()]
    assert {path.name for path in found} >= {"manifest.parquet", "report.html", "config.json", "mlflow.db"}
    told = [(path.name, path.read_bytes()) for path in found]
    told += [(path.name, str(pq.read_table(path).to_pylist()).encode()) for path in found if path.suffix == ".parquet"]
    told += [("terminal", "".join(capfd.readouterr()).encode())]
    shapes = [SECRET, SECRET.hex().encode(), base64.b64encode(SECRET)[:-4], str(list(SECRET))[1:-1].encode()]
    assert [name for name, data in told if any(shape in data for shape in shapes)] == []
    with closing(sqlite3.connect(store / "mlflow.db")) as database:
        params = dict(database.execute("select key, value from params"))
        metrics = {name for (name,) in database.execute("select distinct key from latest_metrics")}
    assert (params["signals"], params["key_file"], params["recipe"]) == (str(bundle), "None", "none")
    assert {"psnr_mean", "ssim_mean", "count_protected"} <= metrics
    assert not {"l1", "l2", "share_disrupted"} & metrics
