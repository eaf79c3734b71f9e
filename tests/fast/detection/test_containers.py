"""Detection in tars and Parquet files: the rows of plain files with the same keys, before and after protection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.fast import tiny
from tests.fast.boxes import table, tar
from tests.fast.signals.bundles import tiny_bundle
from tests.verbs import detect, protect

PHOTOS = {name: tiny.photo_bytes(21 + seed, 20, seed=seed) for seed, name in enumerate("abcd")}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISRUPT_SIGNAL_KEY", "sixteen bytes at least")
    for verb in ("protection.run.write_report", "detection.run.write_page"):
        monkeypatch.setattr(f"pipeline.{verb}", lambda *arguments, **options: "")


def found(bundle: Path, source: Path, *words: str, code: int = 0) -> dict[str, dict[str, Any]]:
    out = bundle.parent / "detected"
    quick = ["--signals", str(bundle), "--engine", "local", "--no-tracking", "--out", str(out)]
    assert detect([str(source), *quick, *words]) == code
    return {row["key"]: row for row in pq.read_table(out / "detection.parquet").to_pylist()}


def test_pictures_in_containers_have_the_rows_of_plain_files(bundle: Path, tmp_path: Path) -> None:
    for i, (key, data) in enumerate(PHOTOS.items()):
        tiny_file = tmp_path / f"plain/{key}.jpg"
        tiny_file.parent.mkdir(exist_ok=True)
        tiny_file.write_bytes(data)
        tar(tmp_path / f"tars/s-{i:02}.tar", {key: data})
    table(tmp_path / "t.parquet", PHOTOS.values())
    wanted = [{**row, "key": ""} for row in found(bundle, tmp_path / "plain").values()]
    tars = found(bundle, tmp_path / "tars/s-{00..03}.tar")
    assert list(tars) == [f"s-{i:02}/{key}" for i, key in enumerate(PHOTOS)]
    rows = found(bundle, tmp_path / "t.parquet")
    assert list(rows) == [f"t/{i:06d}" for i in range(4)]
    for each in (tars, rows):
        assert [{**row, "key": ""} for row in each.values()] == wanted
    assert list(found(bundle, tmp_path / "tars", "--limit", "3")) == list(tars)[:3]
    assert list(found(bundle, tmp_path / "t.parquet", "--limit", "3")) == list(rows)[:3]


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_what_protect_wrote_is_read_under_the_names_of_its_photos(bundle: Path, tmp_path: Path, kind: str) -> None:
    if kind == "tar":  # of two photos the record says which was protected
        tar(tmp_path / "in/s.tar", PHOTOS, ("e.input.jpg", PHOTOS["a"]), ("e.target.jpg", PHOTOS["b"]))
        words, keys = ["--image", "jpg"], [*"abcd", "e"]
    else:
        table(tmp_path / "in/s.parquet", PHOTOS.values())
        words, keys = [], [f"{i:06d}" for i in range(4)]
    quick = ["--recipe", "none", "--signals", str(bundle), "--engine", "local", "--no-tracking", "--examples", "0"]
    assert protect([str(tmp_path / "in"), str(tmp_path / "out"), *quick, *words]) == 0
    rows = found(bundle, tmp_path / "out", *words)
    assert rows.keys() == {f"s/{key}" for key in keys}, "the manifest beside the containers is none"
    originals = found(bundle, tmp_path / "in", *words)
    for key in keys[:4]:
        assert rows[f"s/{key}"]["likeness"] != originals[f"s/{key}"]["likeness"]


def test_containers_that_cannot_be_read_are_rows(bundle: Path, tmp_path: Path) -> None:
    whole = tar(tmp_path / "in/cut.tar", PHOTOS).read_bytes()
    (tmp_path / "in/cut.tar").write_bytes(whole[: whole.index(PHOTOS["c"]) + 100])
    tar(tmp_path / "in/none.tar", {}, ("a.txt", b"a"))
    tar(tmp_path / "in/good.tar", {"a": PHOTOS["a"], "bad": b"no photo"})
    rows = found(bundle, tmp_path / "in", code=1)
    assert {key: row["status"] for key, row in rows.items()} == {
        "cut": "failed",
        "cut/a": "judged",
        "cut/b": "judged",
        "good/a": "judged",
        "good/bad": "failed",
        "none": "skipped",
    }
