"""Protecting containers: a limit, what is wrong with them, and what changes meanwhile. The signal alone: no generator, no torch."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.containers.listing import PhotoRef
from pipeline.containers.naming import simple_name
from pipeline.containers.samples import about_photos, limit_photos
from pipeline.jobs.options import Compute
from pipeline.ledger.plan import read_plan
from pipeline.storage import Folder
from tests.fast.boxes import members, table, tar
from tests.fast.runs import rows, statuses
from tests.fast.signals.bundles import tiny_bundle
from tests.fast.tiny import photo_bytes
from tests.verbs import protect

PHOTOS = {name: photo_bytes(21 + seed, 20, seed=seed) for seed, name in enumerate("abcd")}
Said = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def run(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.setattr("pipeline.protection.run.write_report", lambda *arguments, **options: "")
    monkeypatch.setenv("DISRUPT_SIGNAL_KEY", "sixteen bytes at least")
    quick = ["--recipe", "none", "--signals", str(bundle), "--engine", "local", "--no-tracking", "--examples", "0"]
    return lambda source, out, *words: protect([str(source), str(out), *quick, *words])


def as_table(path: Path, photos: dict[str, bytes]) -> Path:
    return table(path, photos.values())


MAKE = {"tar": tar, "parquet": as_table}


@pytest.mark.parametrize("suffix", MAKE)
def test_a_limit_counts_photos_and_a_larger_one_gives_what_no_limit_gives(tmp_path: Path, run: Any, suffix: str) -> None:
    for name in ("s0", "s1", "s2"):
        MAKE[suffix](tmp_path / f"in/{name}.{suffix}", PHOTOS)
    out = tmp_path / "out"
    assert run(tmp_path / "in", out, "--limit", "6") == 0
    keys = ["abcd", "ab"] if suffix == "tar" else [[f"{i:06d}" for i in range(n)] for n in (4, 2)]
    assert rows(out).keys() == {f"s{i}/{key}" for i, some in enumerate(keys) for key in some}
    whole, part = (out / f"{name}.{suffix}" for name in ("s0", "s1"))
    if suffix == "tar":
        assert [name for name in members(part) if name.endswith(".png")] == ["a.png", "b.png"]
        assert list(members(part)) == list(members(whole))[:6]
    else:
        assert pq.read_table(part).num_rows == 2
    assert run(tmp_path / "in", out) == 0
    assert run(tmp_path / "in", tmp_path / "fresh") == 0
    for name in ("s0", "s1", "s2"):
        assert (out / f"{name}.{suffix}").read_bytes() == (tmp_path / f"fresh/{name}.{suffix}").read_bytes()
    assert statuses(out) == statuses(tmp_path / "fresh")


@pytest.mark.parametrize(("suffix", "change"), [("tar", "bytes"), ("parquet", "more"), ("tar", "fewer"), ("parquet", "cut")])
def test_a_container_that_changes_meanwhile_is_a_failed_row_and_its_photos_are_kept(
    tmp_path: Path, run: Any, suffix: str, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, real = MAKE[suffix](tmp_path / f"in/s.{suffix}", PHOTOS), Folder.write_with
    after = {
        "bytes": PHOTOS | {"c": PHOTOS["a"]},
        "more": PHOTOS | {"e": PHOTOS["a"]},
        "fewer": {key: PHOTOS[key] for key in "abc"},
        "cut": PHOTOS,
    }[change]

    def write_with(folder: Folder, name: str, fill: Any) -> str:
        data = MAKE[suffix](source, after).read_bytes()
        source.write_bytes(data[:-700] if change == "cut" and suffix == "parquet" else data[:1500] if change == "cut" else data)
        return real(folder, name, fill)

    with monkeypatch.context() as patched:
        patched.setattr(Folder, "write_with", write_with)
        assert run(tmp_path / "in", tmp_path / "out") == 1
    found = rows(tmp_path / "out")
    assert found["s"]["status"] == "failed"
    assert "changed while" in found["s"]["reason"]
    plain = {key: row["output"] for key, row in found.items() if key != "s"}
    assert len(plain) == 4
    assert all((tmp_path / "out" / str(name)).is_file() for name in plain.values())
    assert not (tmp_path / f"out/s.{suffix}").exists()
    MAKE[suffix](source, after)
    assert run(tmp_path / "in", tmp_path / "out", "--retry-failed") == 0
    assert len(rows(tmp_path / "out")) == len(after)
    assert (tmp_path / f"out/s.{suffix}").is_file()


def test_what_comes_before_a_cut_has_portable_names_where_they_are_asked_for(tmp_path: Path, run: Any) -> None:
    whole = tar(tmp_path / "in/S.tar", {"A": PHOTOS["a"], "b": PHOTOS["b"], "c": PHOTOS["c"]})
    end = whole.read_bytes().rindex(b"c.jpg")
    whole.write_bytes(whole.read_bytes()[: end + 600])
    assert run(tmp_path / "in", tmp_path / "out", "--portable-names") == 1
    names = {key: row["output"] for key, row in rows(tmp_path / "out").items() if key != "S"}
    assert names
    assert names == {key: simple_name(key, ".png", portable=True) for key in names}
    assert all((tmp_path / "out" / name).is_file() for name in names.values())


def test_a_container_of_another_size_is_done_again_once_the_run_is_over(tmp_path: Path, run: Any) -> None:
    source = tar(tmp_path / "in/s.tar", {"a": PHOTOS["a"]})
    assert run(tmp_path / "in", tmp_path / "out") == 0
    tar(source, PHOTOS | {str(i): PHOTOS["a"] for i in range(9)})
    assert run(tmp_path / "in", tmp_path / "out") == 0
    assert len(rows(tmp_path / "out")) == 13


def test_inputs_of_another_kind_and_an_out_that_looks_like_a_container_are_refused(tmp_path: Path, run: Any, capsys: Said) -> None:
    tar(tmp_path / "in/s.tar", PHOTOS)
    for name in ("out.tar", "out.parquet"):
        assert run(tmp_path / "in", tmp_path / name) == 2
        assert "OUT is a folder" in capsys.readouterr().err
        assert not (tmp_path / name).exists()
    assert run(tmp_path / "in", tmp_path / "out") == 0
    (tmp_path / "in/s.tar").unlink()
    table(tmp_path / "in/s.parquet", PHOTOS.values())
    capsys.readouterr()
    assert run(tmp_path / "in", tmp_path / "out") == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert rows(tmp_path / "out").keys() == {f"s/{key}" for key in PHOTOS}


@pytest.mark.parametrize("kind", MAKE)
def test_two_containers_of_one_name_are_refused_in_one_line(tmp_path: Path, run: Any, capsys: Said, kind: str) -> None:
    for name in ("s", "S"):
        MAKE[kind](tmp_path / f"in/{name}.{kind}", PHOTOS)
    assert run(tmp_path / "in", tmp_path / "out") == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_bad_members_of_a_tar_have_rows_and_leave_the_other_samples_as_they_are(
    tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.containers.samples.read_samples", _with_limit(monkeypatch, 5000))
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as packed:
        for name, data in (("a.jpg", PHOTOS["a"]), ("../x.jpg", PHOTOS["b"]), ("twice.jpg", PHOTOS["c"]), ("twice.jpg", b"")):
            header = tarfile.TarInfo(name)
            header.size = len(data)
            packed.addfile(header, io.BytesIO(data))
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "a.jpg"
        packed.addfile(link)
        huge = tarfile.TarInfo("huge.jpg")
        huge.size = 6000
        packed.addfile(huge, io.BytesIO(bytes(6000)))
        last = tarfile.TarInfo("d.jpg")
        last.size = len(PHOTOS["d"])
        packed.addfile(last, io.BytesIO(PHOTOS["d"]))
    (tmp_path / "s.tar").write_bytes(file.getvalue())
    assert run(tmp_path / "s.tar", tmp_path / "out") == 0
    found = rows(tmp_path / "out")
    assert {row["status"] for key, row in found.items() if key not in {"s/a", "s/d"}} == {"skipped"}
    assert len(found) == 6
    assert [name for name in members(tmp_path / "out/s.tar") if name.endswith(".png")] == ["a.png", "d.png"]
    assert not (tmp_path / "x.png").exists()


def _with_limit(monkeypatch: pytest.MonkeyPatch, limit: int) -> Any:
    from pipeline.containers.tar import read_samples

    return lambda *arguments, **options: read_samples(*arguments, **options, limit_bytes=limit)


def test_bad_tables_are_a_failed_row_each_and_bad_rows_keep_their_place(tmp_path: Path, run: Any) -> None:
    table(tmp_path / "in/mixed.parquet", [None, PHOTOS["a"], b"no photo", b"", PHOTOS["b"]])
    table(tmp_path / "in/empty.parquet", [])
    pq.write_table(pa.table({"image": ["text"]}), tmp_path / "in/text.parquet")
    pq.write_table(pa.table({"a": [b"x"], "b": [b"y"]}), tmp_path / "in/two.parquet")
    pq.write_table(pa.table({"image": pa.array([None, None], pa.binary())}), tmp_path / "in/null.parquet")
    whole = table(tmp_path / "in/locked.parquet", PHOTOS.values()).read_bytes()
    (tmp_path / "in/locked.parquet").write_bytes(whole[:-4] + b"PARE")
    assert run(tmp_path / "in", tmp_path / "out") == 1
    found = statuses(tmp_path / "out")
    assert {key for key, status in found.items() if "/" not in key} == {"empty", "text", "two", "locked"}
    assert [found[f"mixed/{i:06d}"] for i in range(5)] == ["skipped", "protected", "failed", "failed", "protected"]
    assert [found[f"null/{i:06d}"] for i in range(2)] == ["skipped", "skipped"]
    after = pq.read_table(tmp_path / "out/mixed.parquet")
    assert after["label"].to_pylist() == [f"l{i}" for i in range(5)]
    assert pq.read_table(tmp_path / "out/null.parquet")["image"].null_count == 2


def test_the_engine_counts_photos_and_not_containers(tmp_path: Path) -> None:
    ref = {
        kind: PhotoRef("s", str(path), path.stat().st_size, container=kind)  # type: ignore[arg-type]
        for kind, path in {
            "tar": tar(tmp_path / "s.tar", {f"{i:03}": PHOTOS["a"] for i in range(200)}),
            "parquet": table(tmp_path / "s.parquet", [PHOTOS["a"]] * 200),
        }.items()
    }
    assert about_photos([ref["parquet"]], image=None, enough=10**6) == 200
    assert 200 <= about_photos([ref["tar"]], image=None, enough=10**6) < 800, "headers count as photos: small ones seem more"
    assert about_photos([ref["parquet"]] * 9, image=None, enough=1000) == 1000
    assert Compute().on_ray(about_photos([ref["parquet"]] * 5, image=None, enough=1000))
    link = replace(ref["tar"], refused="a link")
    assert about_photos([link], image=None, enough=9) == 1
    assert list(limit_photos([link, ref["tar"]], 3, image=None)) == [link, replace(ref["tar"], most=2)]
    assert about_photos([PhotoRef("x", str(tmp_path / "gone.tar"), 0, container="tar")], image=None, enough=9) == 1


def test_a_plan_of_a_limit_says_how_many_photos_of_the_last_container_are_used(tmp_path: Path, run: Any) -> None:
    tar(tmp_path / "in/s.tar", PHOTOS)
    assert run(tmp_path / "in", tmp_path / "out", "--limit", "4") == 0
    before = (tmp_path / "out/s.tar").read_bytes()
    assert run(tmp_path / "in", tmp_path / "out", "--limit", "2") == 0
    assert (tmp_path / "out/s.tar").read_bytes() == before, "what is done stays"
    assert read_plan(Folder(tmp_path / "out")).counts == (1,)
