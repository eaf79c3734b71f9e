"""Runs over photos with odd names: what the files are called, that the manifest knows whose they are, and that others find them."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.containers.naming import fold_name, simple_name
from tests.fast.runs import files, rows, run
from tests.fast.signals.bundles import tiny_bundle
from tests.fast.tiny import BUILD, photo_bytes, photo_folder
from tests.verbs import detect, evaluate

ODD = ["A.jpg", "a.jpg", "\u00e9.jpg", "e\u0301.jpg", "CON.jpg", "in /b:c?.jpg", "back\\slash.jpg", "a.png", f"{'x' * 251}.jpg"]
SECRET = "a secret of more than sixteen bytes"


@pytest.fixture(autouse=True)
def no_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    for verb, page in (("protection", "report"), ("evaluation", "page"), ("detection", "page")):
        monkeypatch.setattr(f"pipeline.{verb}.run.write_{page}", lambda *arguments, **options: "")
    monkeypatch.setenv("DISRUPT_SIGNAL_KEY", SECRET)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return photo_folder(tmp_path / "photos", {name: number for number, name in enumerate(ODD)})


def test_portable_names_are_made_from_the_name_alone_and_every_verb_knows_whose_they_are(photos: Path, tmp_path: Path) -> None:
    out, few = tmp_path / "out", tmp_path / "few"
    bundle = tiny_bundle(tmp_path)
    options = ["--portable-names", "--epsilon", "9", "--signals", str(bundle)]
    assert run(photos, out, *options) == 0
    names = {key: row["output"] for key, row in rows(out).items()}
    assert set(names) == set(ODD)
    assert set(files(out)) == set(names.values())
    assert len({fold_name(name) for name in names.values()}) == len(ODD)
    assert {key for key in ODD if names[key] != simple_name(key, ".png", portable=True)} == {"a.jpg"}, "a.png bears its name"
    assert run(photos / "in ", few, "--portable-names", "--epsilon", "9") == 0
    assert [row["output"] for row in rows(few).values()] == [names["in /b:c?.jpg"].partition("/")[2]]
    assert evaluate([str(photos), str(out), "--engine", "local", "--no-tracking", "--generator", BUILD, "--bootstrap", "0"]) == 0
    measured = pq.read_table(tmp_path / "out-evaluation" / "evaluation.parquet").to_pylist()
    assert {(row["key"], row["status"]) for row in measured} == {(key, "measured") for key in ODD}
    assert detect([str(out), "--signals", str(bundle), "--engine", "local", "--no-tracking"]) == 0
    told = pq.read_table(tmp_path / "out-detection" / "detection.parquet").to_pylist()
    assert {(row["key"], row["status"]) for row in told} == {(name, "judged") for name in names.values()}


def test_portable_names_are_another_run(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(photos / "in ", tmp_path / "out") == 0
    assert run(photos / "in ", tmp_path / "out", "--portable-names") == 2
    assert "portable_names" in capsys.readouterr().err


def test_a_name_that_grows_too_long_is_cut_and_a_rerun_finds_it(tmp_path: Path) -> None:
    long, out = f"{'x' * 251}.jpg", tmp_path / "out"
    photos = photo_folder(tmp_path / "photos", {long: 1})
    (photos / f"{'x' * 251}.png").write_bytes(photo_bytes(seed=2, suffix=".png"))
    assert run(photos, out, "--format", "webp", "--epsilon", "9") == 0
    names = {key: row["output"] for key, row in rows(out).items()}
    assert len({*names.values()}) == 2
    assert names[long] == simple_name(long, ".webp")
    before = files(out)
    (out / names[long]).unlink()
    assert run(photos, out, "--format", "webp", "--epsilon", "9") == 0
    assert files(out) == before
