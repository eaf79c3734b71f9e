"""A small set of labelled faces from the sample photos, enough to see a training run: people who do not exist (openpeople, MIT).

Each person has a sheet of sixteen expressions in white frames, in one order, and a file with sex and age. Labels come from these;
hair colours were read off the pictures. 160 faces of ten people make no good generator.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.jobs.samples import SamplesMissingError
from pipeline.photos.photo import U8

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


class SampleDataError(ValueError):
    """Sample data that cannot be made; the message says what to do."""


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
    trainA, smiling ones in trainB, testA and testB of other people. Raises SampleDataError for a system that there are no
    samples for and when the samples are not installed.
    """
    if system not in LAYOUTS:
        raise SampleDataError(f"there are no samples for {system}: give a folder as DATA; samples are for {', '.join(LAYOUTS)}")
    done = folder / ".complete"
    if not done.exists():
        try:
            faces = list(sample_faces())
        except SamplesMissingError as error:
            raise SampleDataError(str(error)) from error
        LAYOUTS[system](folder, faces)
        _write(done, b"")
    return folder


def sample_faces() -> Iterator[Face]:
    """The faces of all sheets, person by person; raises SamplesMissingError without the package ``openpeople``."""
    try:
        curated = files("openpeople") / "data" / "curated"
    except ModuleNotFoundError as error:
        raise SamplesMissingError('the sample photos are not installed; get them with: pip install -e ".[samples]"') from error
    people = sorted((entry for entry in curated.iterdir() if re.fullmatch(r"P\d+", entry.name)), key=lambda entry: entry.name)
    for person in people:
        known = json.loads((person / "metadata.json").read_text(encoding="utf-8"))["character_details"]["demographics"]
        youngest, oldest = map(int, known["age_range"].split("-"))
        for expression, pixels in zip(SHEET, sheet_faces(_sheet(person)), strict=True):
            yield Face(person.name, expression, pixels, known["sex"] == "male", (youngest + oldest) / 2 < YOUNG_BELOW)


def sheet_faces(sheet_HWC: U8) -> list[U8]:
    """The sixteen framed pictures of a sheet, row by row, each cut to its centred square of ``SIDE`` pixels.

    The frames are the only straight white lines: rows and columns that are mostly white. Raises SampleDataError for another layout.
    """
    white_HW = sheet_HWC.min(axis=2) > 215
    rows, columns = (_gaps(white_HW.mean(axis=axis)) for axis in (1, 0))
    if len(rows) != 4 or len(columns) != 4:
        raise SampleDataError(f"a sheet of 4 x 4 framed pictures was expected, found {len(rows)} x {len(columns)}")
    return [_square(sheet_HWC[top:bottom, left:right]) for top, bottom in rows for left, right in columns]


def _gaps(share: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> list[tuple[int, int]]:
    """What lies between the first and the second white line, the third and the fourth, and so on."""
    lines = np.flatnonzero(share > 0.5)
    groups = np.split(lines, np.flatnonzero(np.diff(lines) > 8) + 1)
    return [(int(first[-1]) + 1, int(second[0])) for first, second in zip(groups[::2], groups[1::2], strict=False)]


def _square(picture_HWC: U8) -> U8:
    height, width = picture_HWC.shape[:2]
    side, margin = min(height, width), 2  # the frames' soft edge
    top, left = (height - side) // 2 + margin, (width - side) // 2 + margin
    inner = picture_HWC[top : top + side - 2 * margin, left : left + side - 2 * margin]
    return np.asarray(Image.fromarray(inner).resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def _sheet(person: Traversable) -> U8:
    with (person / "assets" / "emotions_sheet.jpg").open("rb") as handle, Image.open(handle) as image:
        return np.asarray(image.convert("RGB"))


def _attributes(folder: Path, faces: list[Face]) -> None:
    rows = []
    for face in faces:
        brown = face.person in BROWN_HAIR
        labels = {"Male": face.male, "Young": face.young, "Smiling": face.expression in SMILES}
        rows.append((face, labels | {"Black_Hair": not brown, "Brown_Hair": brown}))
    _labelled(folder, rows)


def _expressions(folder: Path, faces: list[Face]) -> None:
    kept = [face for face in faces if face.expression in VALUES]
    names = sorted(set(VALUES.values()))
    _labelled(folder, [(face, {name: VALUES[face.expression] == name for name in names}) for face in kept])


def _unpaired(folder: Path, faces: list[Face]) -> None:
    for face in faces:
        part = ("train" if face.split == "train" else "test") + ("B" if face.expression in SMILES else "A")
        _write(folder / part / f"{face.name}.png", _png(face.pixels_HWC))


LAYOUTS = {"stargan": _attributes, "ganimation": _expressions, "cyclegan": _unpaired, "signals": _attributes}
"""How the samples are laid out for each system that they suit."""


def _labelled(folder: Path, rows: list[tuple[Face, dict[str, bool]]]) -> None:
    """Pictures and labels.csv."""
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(["file", "licence", "split", *rows[0][1]])
    for face, labels in rows:
        _write(folder / f"{face.name}.png", _png(face.pixels_HWC))
        table.writerow([f"{face.name}.png", LICENCE, face.split, *map(int, labels.values())])
    _write(folder / "labels.csv", text.getvalue().encode())


def _png(pixels_HWC: U8) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels_HWC).save(file, "PNG")
    return file.getvalue()


def _write(path: Path, data: bytes) -> None:
    """A plain write: the file that says that all are complete comes last."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
