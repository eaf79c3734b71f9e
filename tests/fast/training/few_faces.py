"""A folder of a dozen small labelled pictures and the words of a training of narrow nets on them, a few steps in a second."""

from __future__ import annotations

import csv
from pathlib import Path

from pipeline.training.data.labels import ATTRIBUTES
from tests.fast.tiny import picture

NARROW = ["--conv-dim", "4", "--d-conv-dim", "4", "--batch", "4", "--threads", "1", "--grid-every", "0"]


def write_faces(folder: Path, *, count: int = 12, side: int = 64) -> Path:
    """Random smooth pictures; the last one is held out. Labels cover both values of each attribute."""
    folder.mkdir(parents=True)
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file", "licence", "split", *ATTRIBUTES])
        for i in range(count):
            picture(side, side, seed=i).save(folder / f"f{i:02}.png")
            brown = i % 2
            labels = {"Black_Hair": 1 - brown, "Brown_Hair": brown}
            split = "val" if i == count - 1 else "train"
            table.writerow([f"f{i:02}.png", "MIT", split, *(labels.get(name, (i + k) % 2) for k, name in enumerate(ATTRIBUTES))])
    return folder
