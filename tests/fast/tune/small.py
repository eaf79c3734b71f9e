"""A folder of small photos and the words of a search that takes seconds: 16 px, tiny generators."""

from __future__ import annotations

from pathlib import Path

from tests.fast.tiny import BUILD
from tests.fast.training.few_faces import write_faces

TINY = [
    "--size", "16", "--d-conv-dim", "8", "--batch", "4", "--steps", "4", "--grace", "2", "--every", "1", "--photos", "4",
    "--generator", BUILD, "--held-out-generator", "tests.fast.tiny:build_other", "--survive", "none",
]  # fmt: skip


def write_photos(folder: Path) -> Path:
    """A dozen pictures, the last four of them held out."""
    faces = write_faces(folder, side=32)
    table = faces / "labels.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    held_out = [line.replace(",train,", ",val,") for line in lines[-4:]]
    table.write_text("\n".join([*lines[:-4], *held_out]) + "\n", encoding="utf-8")
    return faces
