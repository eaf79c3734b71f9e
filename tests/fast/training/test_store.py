"""Pictures in containers and in files: the batches of the folder in memory, byte for byte; what is left out or refused."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import pickle
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.containers.errors import ContainerError
from pipeline.training.data import store
from pipeline.training.data.faces import FacesSource, load_faces
from pipeline.training.data.store import PictureFiles, Store, decode_here
from pipeline.training.data.unpaired import Unpaired, load_unpaired
from pipeline.training.job import Job, open_source, plan
from pipeline.training.options import TrainConfig, TrainError
from pipeline.training.systems.system import Batch
from tests.fast.training.few_faces import NARROW, write_faces
from tests.verbs import train

Members = Sequence[tuple[str, bytes]]
STEPS = range(5)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_faces(tmp_path_factory.mktemp("data") / "faces", side=32)


def rows_of(faces: Path) -> list[dict[str, str]]:
    with (faces / "labels.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_tar(path: Path, members: Members) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))


def sample(faces: Path, row: dict[str, str], **changes: object) -> Members:
    """The members of a face: the picture, and its labels as numbers."""
    labels = {name: int(cell) if cell.isdigit() else cell for name, cell in row.items() if name != "file"} | changes
    name = row["file"]
    kept = {name: value for name, value in labels.items() if value is not None}
    return [(name, (faces / name).read_bytes()), (f"{Path(name).stem}.json", json.dumps(kept).encode())]


def as_tars(faces: Path, out: Path) -> str:
    """The faces in two tars."""
    rows = rows_of(faces)
    for number, some in enumerate((rows[:5], rows[5:])):
        write_tar(out / f"shard-{number:03}.tar", [member for row in some for member in sample(faces, row)])
    return str(out / "shard-{000..001}.tar")


def as_parquet(faces: Path, out: Path) -> str:
    """The faces in a table of one row group, as the library `datasets` writes images."""
    columns: dict[str, list[object]] = {"image": []}
    for row in rows_of(faces):
        columns["image"].append({"bytes": (faces / row["file"]).read_bytes(), "path": row["file"]})
        for name, cell in row.items():
            columns.setdefault(name, []).append(int(cell) if cell.isdigit() else cell)
    out.mkdir(parents=True)
    pq.write_table(pa.table(columns), out / "faces.parquet")
    return str(out / "faces.parquet")


def job_of(data: str | Path, out: Path, *, memory_mb: float = 0, **options: object) -> Job:
    return plan(dataclasses.replace(TrainConfig(str(data), out, batch=4, memory_mb=memory_mb), **options))  # type: ignore[arg-type]


def faces_of(data: str | Path, out: Path, *, memory_mb: float = 0, **options: object) -> FacesSource:
    source = open_source(job_of(data, out, memory_mb=memory_mb, **options))
    assert isinstance(source, FacesSource)
    return source


def same(one: Batch, other: Batch) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("form", "regime"), [("folder", "published"), ("tars", "few-images"), ("parquet", "published")])
def test_batches_are_those_of_the_folder_in_memory_whatever_the_form_and_the_order_of_steps(
    form: str, regime: str, faces: Path, tmp_path: Path
) -> None:
    data = str(faces) if form == "folder" else {"tars": as_tars, "parquet": as_parquet}[form](faces, tmp_path / "in")
    expected = faces_of(faces, tmp_path, memory_mb=500, regime=regime)
    assert isinstance(expected.train.u8_NCHW, torch.Tensor)
    source = faces_of(data, tmp_path / "out", regime=regime)
    assert isinstance(source.train.u8_NCHW, PictureFiles)
    assert len(pickle.dumps(source)) < 10_000  # the pictures stay behind: 11 of 49 kB
    travelled = pickle.loads(pickle.dumps(source))
    assert all(same(expected.batch(step), travelled.batch(step)) for step in reversed(STEPS))
    assert same(expected.held_out(), travelled.held_out())


def test_a_container_that_fits_memory_is_held_there(faces: Path, tmp_path: Path) -> None:
    source = faces_of(as_tars(faces, tmp_path / "in"), tmp_path / "out", memory_mb=500)
    assert isinstance(source.train.u8_NCHW, torch.Tensor)
    assert torch.equal(source.train.u8_NCHW, faces_of(faces, tmp_path, memory_mb=500).train.in_memory)


def test_two_kinds_of_pictures_come_from_containers_too(faces: Path, tmp_path: Path) -> None:
    rows = rows_of(faces)
    for kind, some in (("A", rows[:7]), ("B", rows[7:])):
        write_tar(tmp_path / "tars" / f"train{kind}" / "0.tar", [member for row in some for member in sample(faces, row)])
        for row in some:
            target = tmp_path / "files" / f"train{kind}" / row["file"]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((faces / row["file"]).read_bytes())
    expected = load_unpaired(tmp_path / "files", size=32, count=2, seed=3)
    for folder in ("tars", "files"):
        source = load_unpaired(tmp_path / folder, size=32, count=2, seed=3, store=Store(tmp_path / "out", 0))
        assert isinstance(source, Unpaired)
        assert all(isinstance(pictures, PictureFiles) for pictures in source.pictures)
        assert all(same(expected.batch(step), source.batch(step)) for step in STEPS)
        assert same(expected.held_out(), source.held_out())


def test_a_training_that_was_stopped_decodes_only_what_is_missing(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "FILES_A_PART", 4)
    decoded: list[int] = []

    def count(parts: Sequence[store.Part]) -> Iterator[store.Part]:
        for part in decode_here(parts):
            decoded.append(len(part.files))
            yield part

    def load() -> torch.Tensor:
        kept = Store(tmp_path / "out", 0, count)
        return load_faces(faces, attributes=(), split="train", licences=None, size=16, store=kept).in_memory

    first = load()
    assert decoded == [4, 4, 3]
    next((tmp_path / "out").glob("*.json")).unlink()
    assert torch.equal(load(), first)
    assert len(decoded) == 4
    assert torch.equal(first, load_faces(faces, attributes=(), split="train", licences=None, size=16).in_memory)


def test_what_cannot_be_read_or_has_no_labels_is_left_out_and_counted(faces: Path, tmp_path: Path) -> None:
    rows = rows_of(faces)
    members = [member for row in rows for member in sample(faces, row)]
    members[0] = (members[0][0], members[0][1][:-40])  # cut
    members[3] = (members[3][0], b"{no json")
    del members[5]
    write_tar(tmp_path / "in.tar", [*members, ("README", b"no sample"), ("lone.json", b"{}")])
    source = faces_of(tmp_path / "in.tar", tmp_path / "out")
    assert (source.skipped, source.train.unlabelled) == (1, 2)
    assert source.train.names == tuple(f"in/{Path(row['file']).stem}" for row in rows[3:-1])
    assert source.val.names == (f"in/{Path(rows[-1]['file']).stem}",)


def test_without_a_split_a_tenth_is_held_out_and_licences_choose(faces: Path, tmp_path: Path) -> None:
    rows = rows_of(faces)
    kinds = ["CC0" if i == 4 else "MIT" for i in range(len(rows))]
    members = [m for row, kind in zip(rows, kinds, strict=True) for m in sample(faces, row, split=None, licence=kind)]
    write_tar(tmp_path / "in.tar", members)
    source = faces_of(tmp_path / "in.tar", tmp_path / "out")
    assert (len(source.train.names), len(source.val.names)) == (10, 2)
    assert not {*source.train.names} & {*source.val.names}
    some = faces_of(tmp_path / "in.tar", tmp_path / "out", licence=("MIT",))
    assert len({*some.train.names, *some.val.names}) == 11


def test_the_number_of_an_expression_is_its_label(faces: Path, tmp_path: Path) -> None:
    rows = rows_of(faces)
    classes = [(f"{Path(row['file']).stem}.cls", str(i % 7).encode()) for i, row in enumerate(rows)]
    members = [m for row, member in zip(rows, classes, strict=True) for m in (sample(faces, row)[0], member)]
    write_tar(tmp_path / "in.tar", members)
    source = faces_of(tmp_path / "in.tar", tmp_path / "out", system="ganimation")
    numbers = [int(name.rpartition("f")[2]) % 7 for name in source.train.names]
    assert source.train.labels_NK.argmax(1).tolist() == numbers
    assert (source.train.labels_NK.sum(1) == 1).all()
    with pytest.raises(TrainError, match="no photo has a label"):
        faces_of(tmp_path / "in.tar", tmp_path / "out")


@pytest.mark.parametrize("number", ["7", "-1", '"smile"'])
def test_a_class_that_is_no_expression_is_refused(faces: Path, tmp_path: Path, number: str) -> None:
    row = rows_of(faces)[0]
    labels = (f"{Path(row['file']).stem}.json", f'{{"cls": {number}}}'.encode())
    write_tar(tmp_path / "in.tar", [sample(faces, row)[0], labels])
    with pytest.raises(TrainError, match="cls"):
        faces_of(tmp_path / "in.tar", tmp_path / "out", system="ganimation")


def test_a_cut_tar_is_refused_in_one_line_and_leaves_no_part(
    faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    as_tars(faces, tmp_path / "in")
    cut = tmp_path / "in" / "shard-001.tar"
    cut.write_bytes(cut.read_bytes()[:9000])
    words = [str(tmp_path / "in"), str(tmp_path / "out"), "--no-tracking"]
    assert train(words) == 2
    error = capsys.readouterr().err
    assert "shard-001.tar" in error
    assert len(error.splitlines()) == 1
    assert len(list((tmp_path / "out/.disrupt/pictures").iterdir())) == 2  # the first tar
    with pytest.raises(ContainerError):
        faces_of(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize(("label", "said"), [(2, "Male is '2'"), (None, "Male is missing"), ("x", "Male is 'x'")])
def test_a_wrong_label_is_refused_by_the_name_of_its_sample(label: object, said: str, faces: Path, tmp_path: Path) -> None:
    wrong = {"Male": label}
    members = [m for i, row in enumerate(rows_of(faces)) for m in sample(faces, row, **(wrong if i == 3 else {}))]
    write_tar(tmp_path / "in.tar", members)
    with pytest.raises(TrainError, match=f"in/f03: {said}"):
        faces_of(tmp_path / "in.tar", tmp_path / "out")


def test_a_file_that_went_away_ends_the_training_with_the_fix(faces: Path, tmp_path: Path) -> None:
    source = faces_of(faces, tmp_path)
    assert isinstance(source.train.u8_NCHW, PictureFiles)
    (path,) = source.train.u8_NCHW.paths
    path.write_bytes(path.read_bytes()[:10])
    with pytest.raises(TrainError, match="cut short; run the same command again"):
        source.batch(0)
    assert same(faces_of(faces, tmp_path).batch(0), faces_of(faces, tmp_path, memory_mb=500).batch(0))


def test_a_training_says_where_its_pictures_are_and_keeps_their_files_until_it_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, files = as_tars(write_faces(tmp_path / "faces"), tmp_path / "in"), tmp_path / "out/.disrupt/pictures"
    words = [data, str(tmp_path / "out"), *NARROW, "--no-tracking", "--steps", "2"]
    assert train([*words, "--minutes", "0", "--memory-mb", "0"]) == 0
    said = capsys.readouterr().out
    assert f"12 pictures are read from {files}" in said
    assert len(list(files.glob("*.u8"))) == 2
    assert train(words) == 0
    said = capsys.readouterr().out
    assert "12 pictures are held in memory" in said
    assert "decoding" not in said
    assert not files.exists()


@pytest.mark.parametrize("data", ["nothing-*.tar", "gone.tar", "gone-{0..1}.tar"])
def test_a_place_that_is_not_there_is_refused(data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train([str(tmp_path / data), str(tmp_path / "out"), "--no-tracking"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
