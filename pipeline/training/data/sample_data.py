"""A small set of labelled faces from the sample photos, enough to see a training run: people who do not exist (openpeople, MIT).

Each person has a sheet of sixteen expressions in white frames, in one order, and a file with sex and age. Labels come from these;
hair colours were read off the pictures. 160 faces of ten people make no good generator.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.jobs.samples import SamplesMissingError, sample_people
from pipeline.ledger.rows import csv_text
from pipeline.photos.photo import U8
from pipeline.training.data.faces import TABLE
from pipeline.training.data.pictures import largest_square
from pipeline.training.options import TrainError

SIDE = 128
"""Pixels of the faces."""
SHEET = (
    "neutral", "happy", "sad", "angry", "surprised", "disgusted", "scared", "confused",
    "smug", "flirty", "thoughtful", "pensive", "exhausted", "shocked", "playful", "determined",
)  # fmt: skip
"""The expressions of a sheet, row by row, as written below its pictures."""
VALUES = {"scared": "fearful", "shocked": "surprised"} | {
    name: name for name in ("neutral", "happy", "sad", "angry", "disgusted", "surprised")
}
"""Expressions of the sheet that are one of the seven of labels.csv, under their names there."""
SMILES = frozenset({"happy", "smug", "flirty", "playful"})
BROWN_HAIR = frozenset({"P003", "P008"})
"""By eye; the others have black hair."""
SPLITS = {"P001": "test", "P009": "val"}
"""One person is never in two splits."""
YOUNG_BELOW = 50
LICENCE = "MIT"


@dataclass(frozen=True)
class Face:
    """One square face with what is known of it."""

    person: str
    expression: str
    pixels_HWC: U8
    male: bool
    young: bool

    @property
    def split(self) -> str:
        """train, val or test."""
        return SPLITS.get(self.person, "train")

    @property
    def name(self) -> str:
        """The name of its file, without suffix."""
        return f"{self.person}-{SHEET.index(self.expression):02d}-{self.expression}"


def write_sample_data(folder: Path, system: str) -> Path:
    """A folder in the layout that ``system`` trains on, with the faces of the sample photos; one made before is left as it is.

    stargan, signals: attributes in labels.csv; ganimation: expressions that are one of the seven; cyclegan: serious faces in
    trainA, smiling ones in trainB, testA and testB of other people. Raises TrainError for a system that there are no
    samples for and when the samples are not installed.
    """
    if system not in LAYOUTS:
        raise TrainError(f"there are no samples for {system}: give a folder as DATA; samples are for {', '.join(LAYOUTS)}")
    done = folder / ".complete"
    if not done.exists():
        try:
            faces = list(sample_faces())
        except SamplesMissingError as error:
            raise TrainError(str(error)) from error
        LAYOUTS[system](folder, faces)
        done.touch()  # last: it says that all are complete
    return folder


def sample_faces() -> Iterator[Face]:
    """The faces of all sheets, person by person; raises SamplesMissingError without the package ``openpeople``."""
    for person in sample_people():
        known = json.loads((person / "metadata.json").read_text(encoding="utf-8"))["character_details"]["demographics"]
        youngest, oldest = map(int, known["age_range"].split("-"))
        with (person / "assets" / "emotions_sheet.jpg").open("rb") as handle, Image.open(handle) as image:
            sheet_HWC = np.asarray(image.convert("RGB"))
        for expression, pixels in zip(SHEET, sheet_faces(sheet_HWC), strict=True):
            yield Face(person.name, expression, pixels, known["sex"] == "male", (youngest + oldest) / 2 < YOUNG_BELOW)


def sheet_faces(sheet_HWC: U8) -> list[U8]:
    """The sixteen framed pictures of a sheet, row by row, each cut to its centred square of ``SIDE`` pixels.

    The frames are the only straight white lines: rows and columns that are mostly white. Raises TrainError for another layout.
    """
    white_HW = sheet_HWC.min(axis=2) > 215
    rows, columns = (_gaps(white_HW.mean(axis=axis)) for axis in (1, 0))
    if len(rows) != 4 or len(columns) != 4:
        raise TrainError(f"a sheet of 4 x 4 framed pictures was expected, found {len(rows)} x {len(columns)}")
    return [
        largest_square(sheet_HWC[top:bottom, left:right], side=SIDE, margin=2)  # the frames have a soft edge
        for top, bottom in rows
        for left, right in columns
    ]


def _gaps(share: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> list[tuple[int, int]]:
    """What lies between the first and the second white line, the third and the fourth, and so on."""
    lines = np.flatnonzero(share > 0.5)
    groups = np.split(lines, np.flatnonzero(np.diff(lines) > 8) + 1)
    return [(int(first[-1]) + 1, int(second[0])) for first, second in zip(groups[::2], groups[1::2], strict=False)]


def _attributes(folder: Path, faces: list[Face]) -> None:
    rows = []
    for face in faces:
        brown = face.person in BROWN_HAIR
        labels = {"Male": face.male, "Young": face.young, "Smiling": face.expression in SMILES}
        rows.append((face, labels | {"Black_Hair": not brown, "Brown_Hair": brown}))
    _write_labelled(folder, rows)


def _expressions(folder: Path, faces: list[Face]) -> None:
    labelled = [face for face in faces if face.expression in VALUES]
    names = sorted(set(VALUES.values()))
    _write_labelled(folder, [(face, {name: VALUES[face.expression] == name for name in names}) for face in labelled])


def _unpaired(folder: Path, faces: list[Face]) -> None:
    for face in faces:
        part = ("train" if face.split == "train" else "test") + ("B" if face.expression in SMILES else "A")
        _save(face, folder / part)


LAYOUTS = {"stargan": _attributes, "ganimation": _expressions, "cyclegan": _unpaired, "signals": _attributes}
"""How the samples are laid out for each system that they suit."""


def _write_labelled(folder: Path, rows: list[tuple[Face, dict[str, bool]]]) -> None:
    """Pictures and labels.csv."""
    for face, _ in rows:
        _save(face, folder)
    lines = [[f"{face.name}.png", LICENCE, face.split, *map(int, labels.values())] for face, labels in rows]
    (folder / TABLE).write_bytes(csv_text(["file", "licence", "split", *rows[0][1]], lines).encode())


def _save(face: Face, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(face.pixels_HWC).save(folder / f"{face.name}.png")
