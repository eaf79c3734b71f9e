"""Evaluation of containers: the numbers of plain files, and what is said of photos and containers that belong to none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.containers.naming import simple_name
from pipeline.containers.samples import Held
from pipeline.evaluation.inside import side_by_side
from tests.fast import runs, tiny
from tests.fast.boxes import members, table, tar
from tests.verbs import evaluate

PHOTOS = {name: tiny.photo_bytes(21 + seed, 20, seed=seed) for seed, name in enumerate("abc")}
NUMBERS = ("status", "class", "l1", "l2", "psnr", "ssim", "linf_levels", "epsilon", "flags", "floor_l2")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tar, a table, and what protect made of them: containers and plain files; one photo of the tar is broken."""
    folder = tmp_path_factory.mktemp("made")
    tar(folder / "tars/s.tar", PHOTOS | {"small": tiny.photo_bytes(1, 1)})
    table(folder / "tables/s.parquet", [PHOTOS["a"], None, PHOTOS["b"]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.protection.run.write_report", lambda *arguments, **options: "")
        assert runs.run(folder / "tars", folder / "out", "--epsilon", "9") == 0
        assert runs.run(folder / "tars", folder / "files", "--epsilon", "9", "--container", "folder") == 0
        assert runs.run(folder / "tables", folder / "out-t", "--epsilon", "9") == 0
    return folder


@pytest.fixture(autouse=True)
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.evaluation.run.write_page", lambda *arguments, **options: "")


def measured(originals: Path, protected: Path, out: Path, *words: str, code: int = 0) -> list[dict[str, Any]]:
    quick = ["--engine", "local", "--no-tracking", "--bootstrap", "5", "--generator", tiny.BUILD, "--out", str(out)]
    assert evaluate([str(originals), str(protected), *quick, *words]) == code
    found: list[dict[str, Any]] = pq.read_table(out / "evaluation.parquet").to_pylist()
    return found


def numbers(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(row["key"], *(row[name] for name in NUMBERS)) for row in rows]


def test_a_tar_has_the_numbers_of_its_manifest_and_of_plain_files(made: Path, tmp_path: Path) -> None:
    rows = measured(made / "tars", made / "out", tmp_path / "e")
    manifest = runs.rows(made / "out")
    assert {row["key"]: row["status"] for row in rows} == {f"s/{key}": "measured" for key in PHOTOS} | {"s/small": "skipped"}
    for key in PHOTOS:
        mine = [row for row in rows if row["key"] == f"s/{key}"]
        l2 = dict(zip(manifest[f"s/{key}"]["classes"], manifest[f"s/{key}"]["class_l2"], strict=True))
        assert {row["class"]: row["l2"] for row in mine} == pytest.approx(l2, rel=1e-4)
        assert {(row["psnr"], row["epsilon"], tuple(row["flags"])) for row in mine} == {(manifest[f"s/{key}"]["psnr"], 9, ())}
    assert numbers(measured(made / "tars/s.tar", made / "files", tmp_path / "e")) == numbers(rows)
    moved = made / "protected.tar"
    moved.write_bytes((made / "out/s.tar").read_bytes())
    assert numbers(measured(made / "tars/s.tar", moved, tmp_path / "e")) == numbers(rows), "the records in the tar are enough"
    assert {row["key"] for row in measured(made / "tars", made / "out", tmp_path / "e", "--limit", "2")} == {"s/a", "s/b"}


def test_plain_files_with_portable_names_are_found_by_the_manifest(tmp_path: Path) -> None:
    photos = {key: tiny.photo_bytes(30, 26, seed=seed) for seed, key in enumerate(["A", "a b", "con", "xx:y"])}
    tar(tmp_path / "tars/S.tar", photos)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.protection.run.write_report", lambda *arguments, **options: "")
        words = ["--epsilon", "9", "--container", "folder", "--portable-names"]
        assert runs.run(tmp_path / "tars", tmp_path / "files", *words) == 0
    names = {key: row["output"] for key, row in runs.rows(tmp_path / "files").items()}
    assert names == {f"S/{key}": simple_name(f"S/{key}", ".png", portable=True) for key in photos}
    assert set(runs.files(tmp_path / "files")) == set(names.values())
    rows = measured(tmp_path / "tars", tmp_path / "files", tmp_path / "e")
    assert {(row["key"], row["status"]) for row in rows} == {(key, "measured") for key in names}


def test_a_table_has_the_numbers_of_its_manifest(made: Path, tmp_path: Path) -> None:
    rows = measured(made / "tables", made / "out-t", tmp_path / "e")
    assert {row["key"]: row["status"] for row in rows} == {"s/000000": "measured", "s/000001": "skipped", "s/000002": "measured"}
    for key, row in runs.rows(made / "out-t").items():
        assert {one["psnr"] for one in rows if one["key"] == key} == {row["psnr"]}
    moved = made / "t.parquet"
    moved.write_bytes((made / "out-t/s.parquet").read_bytes())
    alone = measured(made / "tables/s.parquet", moved, tmp_path / "e", "--epsilon", "9")
    assert numbers(alone) == numbers(rows)


def test_what_belongs_to_nothing_and_what_cannot_be_read_has_a_row(made: Path, tmp_path: Path) -> None:
    parts = members(made / "out/s.tar")
    other = tmp_path / "other"
    tar(other / "s.tar", {}, *((name, data) for name, data in parts.items() if name != "b.png"), ("z.png", parts["a.png"]))
    tar(other / "late.tar", PHOTOS)
    rows = measured(made / "tars", other, tmp_path / "e", code=1)
    assert {row["key"]: row["status"] for row in rows} == {
        "s/a": "measured",
        "s/b": "missing",
        "s/c": "measured",
        "s/small": "skipped",
        "s/z": "missing",
        "late": "missing",
    }
    whole = (made / "out/s.tar").read_bytes()
    (other / "s.tar").write_bytes(whole[: whole.index(parts["c.png"]) + 9])
    (other / "late.tar").unlink()
    rows = measured(made / "tars", other, tmp_path / "e", code=1)
    assert {row["key"]: row["status"] for row in rows} == {
        "s": "failed",
        "s/a": "measured",
        "s/b": "measured",
        "s/c": "missing",
        "s/small": "missing",
    }
    table(tmp_path / "kinds/s.parquet", PHOTOS.values())
    (row,) = measured(made / "tars", tmp_path / "kinds", tmp_path / "e", code=1)
    assert (row["key"], row["status"]) == ("s", "failed")


def held(keys: str, name: str) -> list[Held]:
    return [Held(f"{name}/{key}", b"xx", None) for key in keys]


@pytest.mark.parametrize(
    ("originals", "protected", "together", "alone"),
    [
        ("abc", "abc", "abc", ""),
        ("abc", "ac", "ac", ""),
        ("abc", "axbc", "abc", "x"),
        ("", "ab", "", "ab"),
        ("abcdefgh", "bcdefgha", "bcdefgh", "a"),  # a lies beyond what is held
    ],
)
def test_containers_are_read_side_by_side_and_no_photo_is_lost(originals: str, protected: str, together: str, alone: str) -> None:
    pairs = list(side_by_side(held(originals, "in"), iter(held(protected, "out")), ("in", "out"), ahead_bytes=5))
    assert "".join(one.key[-1] for one, _ in pairs if one) == originals
    assert all(one.key[-1] == other.key[-1] for one, other in pairs if one and other)
    assert "".join(one.key[-1] for one, other in pairs if one and other) == together
    assert "".join(other.key[-1] for one, other in pairs if other and not one) == alone


def test_few_protected_photos_are_held_while_one_is_looked_for() -> None:
    taken = 0

    def protected() -> Any:
        nonlocal taken
        for one in held("bcdefghijklmn", "out"):
            taken += 1
            yield one

    first, _ = next(iter(side_by_side(held("abcdef", "in"), protected(), ("in", "out"), ahead_bytes=5)))
    assert first is not None
    assert taken == 3
