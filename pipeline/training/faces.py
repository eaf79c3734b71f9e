"""A folder of labelled square faces as tensors: images in 8 bits, labels and which of them are known."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.containers.naming import LEAVES_FOLDER, unsafe_reason
from pipeline.photos.decode import decode_photo
from pipeline.photos.photo import PhotoBrokenError, PhotoRefusedError
from pipeline.training.attributes import HAIR
from pipeline.training.errors import TrainError


@dataclass(frozen=True)
class Faces:
    """Images (N, 3, S, S) uint8, labels (N, K) in [0, 1] and known (N, K) 0/1; an unlabelled hair colour is not known."""

    names: tuple[str, ...]
    u8_NCHW: Tensor
    labels_NK: Tensor
    known_NK: Tensor
    skipped: int = 0
    """Images that could not be read and were left out."""


def load_faces(folder: Path, *, attributes: Sequence[str], split: str, licences: Sequence[str] | None, size: int = 128) -> Faces:
    """The rows of ``folder/labels.csv`` in ``split`` whose licence is one of ``licences`` (all if None).

    Images that cannot be read are skipped and counted. Raises TrainError, with file and row, for a label that is missing or outside
    0 to 1, for a file outside ``folder``, and when no row is left.
    """
    table = folder / "labels.csv"
    rows = [(i, r) for i, r in _rows(table, attributes) if r["split"] == split and (licences is None or r["licence"] in licences)]
    if not rows:
        raise TrainError(f"no row of {table} is in split {split!r} with licence in {licences}")
    for i, row in rows:
        if row["file"] and unsafe_reason(row["file"]) == LEAVES_FOLDER:
            raise TrainError(f"{table}, line {i}: {row['file']!r} lies outside the folder; expected a file in {folder}")
    labels = [[_label(r, a, table=table, row=i) for a in attributes] for i, r in rows]
    images = [_square(folder / r["file"], size) for _, r in rows]
    read = [i for i, image in enumerate(images) if image is not None]
    if not read:
        raise TrainError(f"none of the {len(rows)} images of split {split!r} in {folder} can be read")
    known = [[a not in HAIR or any(r[h] == "1" for h in HAIR if h in r) for a in attributes] for _, r in rows]
    return Faces(
        names=tuple(rows[i][1]["file"] for i in read),
        u8_NCHW=torch.from_numpy(np.stack([image for image in images if image is not None])).permute(0, 3, 1, 2).contiguous(),
        labels_NK=torch.tensor([labels[i] for i in read]),
        known_NK=torch.tensor([known[i] for i in read], dtype=torch.float32),
        skipped=len(rows) - len(read),
    )


def _rows(table: Path, attributes: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """The rows of the table with their line numbers; the header is line 1."""
    if not table.is_file():
        raise TrainError(f"{table} is missing; expected a table with the columns file, split, licence, {', '.join(attributes)}")
    with table.open(newline="", encoding="utf-8") as handle:
        reader = csv.DictReader(handle)
        missing = [a for a in ("file", "split", "licence", *attributes) if a not in (reader.fieldnames or ())]
        if missing:
            raise TrainError(f"{table} has no column {', '.join(missing)}")
        return [(reader.line_num, row) for row in reader]


def _label(cells: Mapping[str, str | None], attribute: str, *, table: Path, row: int) -> float:
    text = cells[attribute] or ""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1:
        found = f"is {text!r}" if text else "is missing"
        raise TrainError(f"{table}, line {row} ({cells['file']}): {attribute} {found}; expected a number from 0 to 1")
    return value


def _square(path: Path, size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]] | None:
    """The image as (size, size, 3), or None when it cannot be read."""
    try:
        pixels_HWC = decode_photo(path.read_bytes()).pixels_HWC
    except (OSError, PhotoBrokenError, PhotoRefusedError):
        return None
    image = Image.fromarray(pixels_HWC if pixels_HWC.shape[2] == 3 else pixels_HWC.repeat(3, axis=2))
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(image, dtype=np.uint8)


def balanced_weights(labels_NK: Tensor, power: float = 0.5) -> Tensor:
    """Sampling weight per image, the inverse count of its combination of labels to ``power``; sums to 1. Shape (N,).

    Labels between 0 and 1 count as the nearer of both.
    """
    if labels_NK.shape[1] == 0:
        return torch.full((len(labels_NK),), 1 / len(labels_NK), dtype=torch.float64)
    _, cell_N, counts = torch.unique(labels_NK.round(), dim=0, return_inverse=True, return_counts=True)
    weights_N = counts.double()[cell_N] ** -power
    normalised_N: Tensor = weights_N / weights_N.sum()
    return normalised_N
