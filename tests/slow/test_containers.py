"""Photos in tars and Parquet files: the same pixels as from plain files, the same container out, whole or not at all."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
import webdataset.autodecode
from fsspec.implementations.memory import MemoryFile
from PIL import Image
from webdataset.tariterators import group_by_keys, tar_file_expander

from pipeline.containers.image_table import NO_IMAGE
from pipeline.storage import Folder
from tests.fast.boxes import members, table, tar
from tests.fast.runs import failing, rows, run, statuses
from tests.fast.tiny import photo_bytes

PHOTOS = {"a": photo_bytes(22, 20, seed=1), "b": photo_bytes(20, 23, seed=2), "in/c": photo_bytes(21, 21, seed=3)}
BROKEN = b"\xff\xd8\xff no photo"


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page and its plots take a second a run and have tests of their own."""
    monkeypatch.setattr("pipeline.protection.run.write_report", lambda *arguments, **options: "")


def plain(folder: Path, photos: dict[str, bytes]) -> Path:
    """A table of plain files with these keys."""
    folder.mkdir()
    for i, data in enumerate(photos.values()):
        (folder / f"{i}.jpg").write_bytes(data)
    (folder / "t.csv").write_text("path,key\n" + "".join(f"{i}.jpg,{key}\n" for i, key in enumerate(photos)))
    return folder / "t.csv"


def pixels(data: bytes) -> Any:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image).tolist()


def images_of(path: Path, key: str) -> dict[str, bytes]:
    return {f"{key}/{i:06d}": row["image"]["bytes"] for i, row in enumerate(pq.read_table(path).to_pylist())}


def test_folder_tar_and_table_give_the_same_pixels_for_the_same_keys(tmp_path: Path) -> None:
    out = {name: tmp_path / f"out-{name}" for name in ("plain", "tar", "files", "numbered", "table")}
    assert run(plain(tmp_path / "plain", {f"s/{key}": data for key, data in PHOTOS.items()}), out["plain"]) == 0
    assert run(tar(tmp_path / "s.tar", PHOTOS), out["tar"]) == 0
    assert run(tmp_path / "s.tar", out["files"], "--container", "folder") == 0
    tars = members(out["tar"] / "s.tar")
    for key, data in PHOTOS.items():
        expected = (out["plain"] / f"s/{key}.png").read_bytes()
        assert pixels(expected) != pixels(data)
        assert (out["files"] / f"s/{key}.png").read_bytes() == tars[f"{key}.png"] == expected
    assert statuses(out["plain"]) == statuses(out["tar"]) == statuses(out["files"]) == {f"s/{key}": "protected" for key in PHOTOS}

    numbered = {f"t/{i:06d}": data for i, data in enumerate(PHOTOS.values())}
    assert run(plain(tmp_path / "numbered", numbered), out["numbered"]) == 0
    assert run(table(tmp_path / "t.parquet", PHOTOS.values()), out["table"]) == 0
    images = images_of(out["table"] / "t.parquet", "t")
    assert images == {key: (out["numbered"] / f"{key}.png").read_bytes() for key in numbered}
    assert {row["output"] for row in rows(out["table"]).values()} == {"t.parquet"}
    assert not (out["table"] / ".disrupt/kept/t").exists()


def test_a_tar_keeps_all_that_is_not_protected_byte_for_byte_and_says_why(tmp_path: Path) -> None:
    source = tar(tmp_path / "s.tar", PHOTOS | {"bad": BROKEN}, ("README", b"text"), ("two.jpg", PHOTOS["a"]), ("two.png", BROKEN))
    assert run(source, tmp_path / "out") == 1
    before, after = members(source), members(tmp_path / "out/s.tar")
    said = {name: json.loads(data) for name, data in after.items() if name.endswith(".disrupt.json")}
    swapped = {f"{key}.jpg": f"{key}.png" for key in PHOTOS}
    assert [name for name in after if name not in said] == [swapped.get(name, name) for name in before]
    assert all(after[name] == data for name, data in before.items() if name not in swapped)
    found = rows(tmp_path / "out")
    assert {name: row["status"] for name, row in said.items()} == {
        **{f"{key}.disrupt.json": "protected" for key in PHOTOS},
        "bad.disrupt.json": "failed",
    }
    assert said["bad.disrupt.json"]["reason"] == found["s/bad"]["reason"]
    assert said["a.disrupt.json"]["sha256_out"] == found["s/a"]["sha256_out"]
    assert said["a.disrupt.json"]["psnr"] == found["s/a"]["psnr"]
    assert (found["s/two"]["status"], found["s/two"]["output"]) == ("skipped", None)
    assert "not clear which" in found["s/two"]["reason"]
    assert run(source, tmp_path / "named", "--image", "png") == 1, "two.png alone is a photo now, and broken"
    assert rows(tmp_path / "named").keys() == found.keys()


def test_every_row_of_a_table_keeps_its_place(tmp_path: Path) -> None:
    images = [None, PHOTOS["a"], BROKEN, PHOTOS["b"], None]
    source = table(tmp_path / "t.parquet", images)
    assert run(source, tmp_path / "out") == 1
    before, after = pq.read_table(source), pq.read_table(tmp_path / "out/t.parquet")
    assert after["label"].equals(before["label"])
    assert after.schema.field("image") == before.schema.field("image")
    assert after["disrupt_status"].to_pylist() == ["skipped", "protected", "failed", "protected", "skipped"]
    assert after["disrupt_reason"].to_pylist()[0] == NO_IMAGE
    assert [value and value["path"] for value in after["image"].to_pylist()] == [None, "1.png", "2.jpg", "3.png", None]
    assert [value and value["bytes"] for value in after["image"].to_pylist()][2] == BROKEN
    found = rows(tmp_path / "out")
    for name in ("status", "reason", "l2", "psnr", "linf_levels"):
        assert after[f"disrupt_{name}"].to_pylist() == [found[f"t/{i:06d}"][name] for i in range(5)]


def test_webdataset_and_datasets_read_what_was_written(tmp_path: Path) -> None:
    (source := tmp_path / "in").mkdir()
    tar(source / "s.tar", PHOTOS)
    assert run(source, tmp_path / "out") == 0
    with (tmp_path / "out/s.tar").open("rb") as file:
        read = group_by_keys(tar_file_expander([{"url": "s.tar", "stream": file}]))
        samples = list(map(webdataset.autodecode.Decoder([webdataset.imagehandler("pil")]), read))
    assert [sample["__key__"] for sample in samples] == list(PHOTOS)
    assert [sample["png"].size for sample in samples] == [(22, 20), (20, 23), (21, 21)]
    assert [sample["disrupt.json"]["status"] for sample in samples] == ["protected"] * 3

    photos = datasets.Dataset.from_dict({"image": [{"bytes": data, "path": None} for data in PHOTOS.values()]})
    photos.cast_column("image", datasets.Image()).to_parquet(tmp_path / "t.parquet")
    assert run(tmp_path / "t.parquet", tmp_path / "out-t") == 0
    again = datasets.Dataset.from_parquet(str(tmp_path / "out-t/t.parquet"), cache_dir=str(tmp_path / "cache"))
    assert [image.size for image in again["image"]] == [(22, 20), (20, 23), (21, 21)]
    assert again["disrupt_status"][:] == ["protected"] * 3


def two_containers(folder: Path, make: Callable[[Path, dict[str, bytes]], Path], suffix: str) -> Path:
    make(folder / f"s0.{suffix}", PHOTOS)
    make(folder / f"in/s1.{suffix}", {"a": PHOTOS["b"], "bad": BROKEN})
    return folder


def _as_table(path: Path, photos: dict[str, bytes]) -> Path:
    return table(path, photos.values())


@pytest.mark.parametrize(("make", "suffix"), [(tar, "tar"), (_as_table, "parquet")])
@pytest.mark.parametrize("stop", [(".disrupt/kept/*", 1), (".disrupt/kept/*", 3), ("manifest/*", 0)])
def test_a_stopped_run_and_a_fresh_one_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any, suffix: str, stop: tuple[str, int]
) -> None:
    source = two_containers(tmp_path / "in", make, suffix)
    assert run(source, tmp_path / "fresh") == 1
    with monkeypatch.context() as patched:
        failing(stop[0], patched, after=stop[1], error=KeyboardInterrupt())
        assert run(source, tmp_path / "out") == 130
    assert run(source, tmp_path / "out") == 1
    for name in (f"s0.{suffix}", f"in/s1.{suffix}"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()
    (tmp_path / f"out/s0.{suffix}").unlink()
    assert run(source, tmp_path / "out") == 1
    assert (tmp_path / f"out/s0.{suffix}").read_bytes() == (tmp_path / f"fresh/s0.{suffix}").read_bytes()
    assert not list((tmp_path / "out").rglob("*.tmp"))


def test_a_container_never_has_its_name_before_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tar(tmp_path / "s.tar", PHOTOS)
    with monkeypatch.context() as patched:
        real, left = Folder.read, 1

        def read(folder: Folder, name: str) -> bytes:
            nonlocal left
            is_kept = name.startswith(".disrupt/kept/")
            left -= is_kept
            if is_kept and left < 0:
                raise KeyboardInterrupt
            return real(folder, name)

        patched.setattr(Folder, "read", read)
        assert run(source, tmp_path / "out") == 130
    assert not [path for path in (tmp_path / "out").iterdir() if "s.tar" in path.name]
    assert not (tmp_path / "out/manifest").exists()
    assert run(source, tmp_path / "out") == 0
    assert members(tmp_path / "out/s.tar").keys() >= {"a.png", "b.png", "in/c.png"}


def test_a_cut_tar_is_a_failed_row_and_what_comes_before_the_cut_is_protected(tmp_path: Path) -> None:
    whole = tar(tmp_path / "in/s.tar", PHOTOS).read_bytes()
    (tmp_path / "in/s.tar").write_bytes(whole[: whole.index(PHOTOS["in/c"]) + 100])
    tar(tmp_path / "in/good.tar", {"a": PHOTOS["a"]})
    for words in ([], ["--container", "folder"]):
        out = tmp_path / f"out{len(words)}"
        assert run(tmp_path / "in", out, *words) == 1
        assert statuses(out) == {"good/a": "protected", "s/a": "protected", "s/b": "protected", "s": "failed"}
        assert "cut or damaged" in rows(out)["s"]["reason"]
        assert [(out / f"s/{key}.png").is_file() for key in "ab"] == [True, True]
        assert not (out / "s.tar").exists()
    (tmp_path / "in/s.tar").write_bytes(whole)
    assert run(tmp_path / "in", tmp_path / "out0", "--retry-failed") == 0
    assert members(tmp_path / "out0/s.tar").keys() >= {"a.png", "b.png", "in/c.png"}


def test_a_table_that_cannot_be_read_is_one_failed_row(tmp_path: Path) -> None:
    table(tmp_path / "in/good.parquet", PHOTOS.values())
    (tmp_path / "in/bad.parquet").write_bytes(b"no table")
    pq.write_table(pa.table({"label": [1]}), tmp_path / "in/none.parquet")
    assert run(tmp_path / "in", tmp_path / "out") == 1
    found = rows(tmp_path / "out")
    assert {key for key, row in found.items() if row["status"] == "failed"} == {"bad", "none"}
    assert "cannot be read as Parquet" in found["bad"]["reason"]
    assert "no image column" in found["none"]["reason"]
    assert len(found) == 5


def test_braces_and_patterns_name_containers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(3):
        tar(tmp_path / f"in/s-{i:02d}.tar", {"a": PHOTOS["a"]})
    assert run(tmp_path / "in/s-{00..01}.tar", tmp_path / "braces") == 0
    assert rows(tmp_path / "braces").keys() == {"s-00/a", "s-01/a"}
    assert "2 containers in" in capsys.readouterr().out
    assert run(tmp_path / "in/s-*[12].tar", tmp_path / "pattern") == 0
    assert rows(tmp_path / "pattern").keys() == {"s-01/a", "s-02/a"}
    assert run(tmp_path / "in/s-{00..07}.tar", tmp_path / "more") == 2
    assert "s-03.tar: no such file" in capsys.readouterr().err
    assert run(tmp_path / "in/s-{00..01}.tar", tmp_path / "limited", "--limit", "1") == 0
    assert rows(tmp_path / "limited").keys() == {"s-00/a"}
    capsys.readouterr()
    assert run(tmp_path / "in", tmp_path / "dry", "--dry-run") == 0
    assert "; tried 3, written nothing" in capsys.readouterr().out
    assert run(tmp_path / "in/s-{00..01}.tar", tmp_path / "in") == 2


def test_photos_beside_containers_come_first_and_tars_before_tables(tmp_path: Path) -> None:
    table(tmp_path / "in/t.parquet", PHOTOS.values())
    tar(tmp_path / "in/s.tar", {"a": PHOTOS["a"]})
    assert run(tmp_path / "in", tmp_path / "tars") == 0
    assert rows(tmp_path / "tars").keys() == {"s/a"}
    (tmp_path / "in/z.jpg").write_bytes(PHOTOS["b"])
    assert run(tmp_path / "in", tmp_path / "photos") == 0
    assert rows(tmp_path / "photos").keys() == {"z.jpg"}


def test_keys_are_unique_in_a_tar_and_among_containers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tar(tmp_path / "s.tar", {"a": PHOTOS["a"], "A": PHOTOS["b"]}, ("b.jpg", PHOTOS["b"]), ("a.jpg", PHOTOS["b"]))
    assert run(source, tmp_path / "out") == 0
    assert statuses(tmp_path / "out") == {"s/a": "protected", "s/A~": "protected", "s/b": "protected", "s/a~~": "skipped"}
    after = members(tmp_path / "out/s.tar")
    assert (pixels(after["a.png"]) == pixels(after["A.png"])) is False
    tar(tmp_path / "in/s/a.tar", PHOTOS)
    tar(tmp_path / "in/s.tar", PHOTOS)
    assert run(tmp_path / "in", tmp_path / "out2") == 2
    assert "has the name" in capsys.readouterr().err


def test_a_tar_without_photos_is_skipped(tmp_path: Path) -> None:
    assert run(tar(tmp_path / "s.tar", {}, ("a.txt", b"a")), tmp_path / "out") == 0
    assert rows(tmp_path / "out")["s"]["reason"] == "it holds no photos"


@pytest.mark.parametrize(("make", "suffix"), [(tar, "tar"), (_as_table, "parquet")])
def test_a_distant_store_gives_the_same_bytes_also_when_it_is_away_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any, suffix: str
) -> None:
    place, name = f"memory://{tmp_path.name}", f"s.{suffix}"
    make(tmp_path / name, PHOTOS)
    assert run(tmp_path / name, tmp_path / "out") == 0
    Folder(f"{place}/in").write(name, (tmp_path / name).read_bytes())
    errors = [OSError("When reading: AWS Error SLOW_DOWN")]
    real = MemoryFile.read

    def read(file: MemoryFile, *size: int) -> bytes:
        if errors and PHOTOS["b"] in file.getvalue():
            raise errors.pop()
        data: bytes = real(file, *size)
        return data

    monkeypatch.setattr(MemoryFile, "read", read, raising=False)
    assert run(f"{place}/in", f"{place}/out") == 0
    assert not errors
    assert Folder(f"{place}/out").read(name) == (tmp_path / "out" / name).read_bytes()
    assert not Folder(f"{place}/out/.disrupt/kept/s").exists()
