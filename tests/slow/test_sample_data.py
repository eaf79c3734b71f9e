"""The labelled faces that come with the sample photos: every sheet is cut where its frames are, labels say what they can."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipeline.photos.photo import U8
from pipeline.training.data.faces import load_faces
from pipeline.training.data.sample_data import SHEET, SIDE, VALUES, sheet_faces, write_sample_data
from pipeline.training.options import TrainError

LEVELS = [int(level) for level in np.linspace(20, 180, 16)]


def sheet(rows: int = 4, columns: int = 4) -> U8:
    """A sheet as the samples have them: framed pictures of one level each on grey, a white shirt at their lower edge."""
    image = Image.new("RGB", (80 + 150 * columns, 60 + 120 * rows), (128, 128, 128))
    draw = ImageDraw.Draw(image)
    for i in range(rows * columns):
        left, top = 40 + 150 * (i % columns), 20 + 120 * (i // columns)
        draw.rectangle((left, top, left + 130, top + 90), fill=(LEVELS[i],) * 3, outline=(255, 255, 255), width=4)
        draw.rectangle((left + 50, top + 80, left + 80, top + 90), fill=(250, 250, 250))
        draw.text((left + 40, top + 98), "Happy", fill=(0, 0, 0))
    return np.asarray(image)


def test_the_pictures_of_a_sheet_are_cut_inside_their_frames_row_by_row() -> None:
    faces = sheet_faces(sheet())
    assert [face.shape for face in faces] == [(SIDE, SIDE, 3)] * 16
    for face, level in zip(faces, LEVELS, strict=True):
        above_the_shirt = face[: SIDE * 3 // 4]
        assert above_the_shirt.min() >= level - 2
        assert above_the_shirt.max() <= level + 2


def test_a_sheet_of_another_layout_is_refused() -> None:
    with pytest.raises(TrainError, match="expected, found 3 x 4"):
        sheet_faces(sheet(rows=3))


def test_a_system_without_samples_is_refused_with_those_that_have_some(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=r"there are no samples for pix2pixhd: .* stargan, ganimation, cyclegan"):
        write_sample_data(tmp_path, "pix2pixhd")


@pytest.fixture(scope="module")
def attributes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("openpeople", reason='the sample photos are not installed: pip install -e ".[samples]"')
    return write_sample_data(tmp_path_factory.mktemp("samples"), "stargan")


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_expression_of_ten_people_is_there_and_no_person_is_in_two_splits(attributes: Path) -> None:
    labelled = rows(attributes)
    assert len(labelled) == 160
    assert {row["file"] for row in labelled} == {path.name for path in attributes.glob("*.png")}
    splits = {(row["file"].split("-")[0], row["split"]) for row in labelled}
    assert len(splits) == 10
    assert sorted(split for _, split in splits) == ["test", *["train"] * 8, "val"]


def test_labels_agree_with_those_of_the_data_pack_for_the_same_pictures(attributes: Path, shared: Path) -> None:
    with (shared / "data" / "faces" / "labels.csv").open(newline="", encoding="utf-8") as file:
        theirs = {row["file"]: row for row in csv.DictReader(file) if row["source"] == "openpeople"}
    agree: dict[str, list[bool]] = {}
    for row in rows(attributes):
        person, number, expression = row["file"].removesuffix(".png").split("-")
        other = theirs[f"openpeople_{person}_{number}_{expression}.jpg"]
        for name in ("Male", "Young", "Black_Hair", "Brown_Hair", "Smiling"):
            agree.setdefault(name, []).append(row[name] == other[name])
    assert {name: sum(found) / len(found) for name, found in agree.items() if name != "Smiling"} == dict.fromkeys(
        ("Male", "Young", "Black_Hair", "Brown_Hair"), 1.0
    )
    assert sum(agree["Smiling"]) >= 0.9 * len(agree["Smiling"])  # there a network judged, here the sheet's words


def test_the_samples_can_be_trained_on_as_they_are(attributes: Path) -> None:
    names = ("Black_Hair", "Brown_Hair", "Male", "Smiling", "Young")
    faces = load_faces(attributes, attributes=names, split="train", licences=("MIT",))
    assert faces.u8_NCHW.shape == (128, 3, SIDE, SIDE)
    assert faces.skipped == 0
    assert set(VALUES) < set(SHEET)
