"""Labelled faces from a folder: wrong labels are refused by file and line, unreadable pictures skipped and counted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from pipeline.training.data.batches import crop_flip_resize, draw_views, for_discriminator
from pipeline.training.data.faces import load_faces
from pipeline.training.options import TrainError

HEADER = "file,split,licence,Black_Hair,Male"
ROWS = ["a.png,train,MIT,1,0", "b.png,train,MIT,0,1", "c.png,train,other,0,1", "d.png,val,MIT,0,0.25"]


def folder_of(folder: Path, rows: list[str], header: str = HEADER) -> Path:
    for name in "abcd":
        Image.new("RGB", (20, 20), (10 * ord(name) % 255, 0, 0)).save(folder / f"{name}.png")
    (folder / "labels.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder


def load(folder: Path, split: str = "train", licences: tuple[str, ...] | None = ("MIT",)) -> object:
    return load_faces(folder, attributes=("Black_Hair", "Male"), split=split, licences=licences, size=16)


def test_rows_are_taken_by_split_and_licence_with_their_labels(tmp_path: Path) -> None:
    folder_of(tmp_path, ROWS)
    faces = load_faces(tmp_path, attributes=("Black_Hair", "Male"), split="train", licences=None, size=16)
    assert faces.names == ("a.png", "b.png", "c.png")
    assert faces.labels_NK.tolist() == [[1, 0], [0, 1], [0, 1]]
    assert faces.known_NK.tolist() == [[1, 1], [0, 1], [0, 1]]  # no hair column is 1: not known
    assert faces.u8_NCHW.shape == (3, 3, 16, 16)
    assert faces.in_memory[0, :, 5, 5].tolist() == [10 * ord("a") % 255, 0, 0]
    mit = load_faces(tmp_path, attributes=("Male",), split="val", licences=("MIT",), size=16)
    assert mit.labels_NK.tolist() == [[0.25]]


@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_a_picture_that_cannot_be_read_is_left_out_and_counted(content: bytes, tmp_path: Path) -> None:
    folder_of(tmp_path, ROWS)
    (tmp_path / "a.png").write_bytes(content)
    faces = load_faces(tmp_path, attributes=("Male",), split="train", licences=None, size=16)
    assert (faces.names, faces.skipped) == (("b.png", "c.png"), 1)
    assert faces.labels_NK.tolist() == [[1], [1]]


def test_a_missing_picture_is_counted_too_and_none_at_all_is_refused(tmp_path: Path) -> None:
    folder_of(tmp_path, ["x.png,train,MIT,1,0", *ROWS])
    faces = load_faces(tmp_path, attributes=("Male",), split="train", licences=None, size=16)
    assert faces.skipped == 1
    folder_of(tmp_path, ["x.png,train,MIT,1,0"])
    with pytest.raises(TrainError, match="none of 1 pictures can be read"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("label", "said"), [("", "is missing"), ("2", "is '2'"), ("-0.1", "is '-0.1'"), ("yes", "is 'yes'"), ("nan", "is 'nan'")]
)
def test_a_label_that_is_missing_or_out_of_range_is_named_with_its_file_and_line(label: str, said: str, tmp_path: Path) -> None:
    folder_of(tmp_path, [ROWS[0], f"b.png,train,MIT,0,{label}"])
    with pytest.raises(TrainError, match=rf"labels\.csv, line 3 \(b\.png\): Male {said}; expected a number from 0 to 1"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["../a.png", "/etc/passwd", "in/../../a.png"])
def test_a_row_that_names_a_file_outside_the_folder_is_refused_by_line(name: str, tmp_path: Path) -> None:
    folder_of(tmp_path, [ROWS[0], f"{name},train,MIT,0,1"])
    with pytest.raises(TrainError, match=r"labels\.csv, line 3: .* lies outside the folder"):
        load(tmp_path)


def test_a_row_that_is_cut_short_misses_its_label(tmp_path: Path) -> None:
    folder_of(tmp_path, ["a.png,train,MIT,1"])
    with pytest.raises(TrainError, match=r"line 2 \(a\.png\): Male is missing"):
        load(tmp_path)


def test_a_table_that_is_missing_or_lacks_a_column_or_has_no_such_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="is missing; expected a table"):
        load(tmp_path)
    folder_of(tmp_path, ["a.png,train,MIT,1"], header="file,split,licence,Black_Hair")
    with pytest.raises(TrainError, match="has no column Male"):
        load(tmp_path)
    folder_of(tmp_path, ROWS)
    with pytest.raises(TrainError, match=r"no row of .* is in split 'test'"):
        load(tmp_path, split="test")


def test_crops_keep_shape_and_range() -> None:
    rng = torch.Generator().manual_seed(0)
    x = crop_flip_resize(torch.randint(0, 256, (3, 3, 80, 80), dtype=torch.uint8, generator=rng), 64, rng)
    assert x.shape == (3, 3, 64, 64)
    assert x.abs().max() <= 1


def test_what_the_discriminator_sees_is_the_image_moved_lit_and_cut_and_lets_gradients_through() -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(32, 3, 64, 64, generator=rng, dtype=torch.float64).requires_grad_(True)
    views = draw_views(32, 64, rng)
    seen = for_discriminator(x, views)
    light, contrast, top, left, cut, hole_top, hole_left = views[0].tolist()
    pad = 64 // 8
    row, column = 30, 40
    inside = bool(cut) and hole_top <= row < hole_top + 21 and hole_left <= column < hole_left + 21
    expected = 0 if inside else x.detach()[0, 1, row + int(top) - pad, column + int(left) - pad] * (1 + contrast) + light
    assert float(seen[0, 1, row, column].detach()) == pytest.approx(float(expected))
    assert 8 <= views[:, 4].sum() <= 24  # half are cut
    assert views[:, 2:4].min() == 0
    assert views[:, 2:4].max() == 2 * pad
    seen.sum().backward()
    assert x.grad is not None
    assert (x.grad.abs().amax((1, 2, 3)) > 0).all()
