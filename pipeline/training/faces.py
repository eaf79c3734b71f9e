"""A folder of labelled square faces as tensors: images in 8 bits, labels and which of them are known."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

HAIR = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")


@dataclass(frozen=True)
class Faces:
    """Images (N, 3, S, S) uint8, labels (N, K) 0/1 and known (N, K) 0/1; an unlabelled hair colour is not known."""

    names: tuple[str, ...]
    u8_NCHW: Tensor
    labels_NK: Tensor
    known_NK: Tensor


def load_faces(folder: Path, *, attributes: Sequence[str], split: str, licences: Sequence[str] | None, size: int = 128) -> Faces:
    """The rows of ``folder/labels.csv`` in ``split`` whose licence is one of ``licences`` (all if None).

    Raises ValueError when labels.csv lacks an attribute or no row is left.
    """
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as handle:
        reader = csv.DictReader(handle)
        missing = [a for a in attributes if a not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"labels.csv in {folder} has no column {', '.join(missing)}")
        rows = [r for r in reader if r["split"] == split and (licences is None or r["licence"] in licences)]
    if not rows:
        raise ValueError(f"no row of {folder / 'labels.csv'} is in split {split!r} with licence in {licences}")
    images = [_square(folder / r["file"], size) for r in rows]
    known = [[a not in HAIR or any(r[h] == "1" for h in HAIR if h in r) for a in attributes] for r in rows]
    return Faces(
        names=tuple(r["file"] for r in rows),
        u8_NCHW=torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(),
        labels_NK=torch.tensor([[float(r[a]) for a in attributes] for r in rows]),
        known_NK=torch.tensor(known, dtype=torch.float32),
    )


def _square(path: Path, size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with Image.open(path) as image:
        rgb = image.convert("RGB")
        if rgb.size != (size, size):
            rgb = rgb.resize((size, size), Image.Resampling.LANCZOS)
        return np.asarray(rgb, dtype=np.uint8)


def balanced_weights(labels_NK: Tensor, power: float = 0.5) -> Tensor:
    """Sampling weight per image, the inverse count of its combination of labels to ``power``; sums to 1. Shape (N,)."""
    _, cell_N, counts = torch.unique(labels_NK, dim=0, return_inverse=True, return_counts=True)
    weights_N = counts.double()[cell_N] ** -power
    normalised_N: Tensor = weights_N / weights_N.sum()
    return normalised_N
