"""Two folders of pictures without pairs, trainA and trainB: the source that CycleGAN trains on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipeline.images.levels import pixels_to_unit
from pipeline.training.batches import stream_of
from pipeline.training.errors import TrainError
from pipeline.training.order import shuffled
from pipeline.training.reading import picture_files, read_pictures
from pipeline.training.system import Batch

KINDS = ("A", "B")
MARGIN = 286 / 256
"""How much larger than the crop the pictures are stored. Source: [Z17], released code."""
HELD_OUT = 8


@dataclass(frozen=True)
class Unpaired:
    """Batches {"A": (B, 3, size, size), "B": ...} in [-1, 1] of two kinds of picture, each a function of seed and step.

    Every epoch shows each picture of a kind once, cropped at random from ``MARGIN`` times the size, and mirrored half of the time.
    """

    u8_NCHW: dict[str, Tensor]
    held_u8_NCHW: dict[str, Tensor]
    size: int
    count: int
    """Pictures of each kind in a batch."""
    seed: int
    skipped: int = 0
    """Training pictures that could not be read and were left out."""

    def __post_init__(self) -> None:
        if self.count < 1:
            raise TrainError(f"a batch of {self.count} pictures cannot be; expected at least 1")

    def batch(self, step: int) -> Batch:
        """The batch of a step; which A meets which B is chance."""
        rng = stream_of(self.seed, step)
        made = {}
        for kind, u8_NCHW in self.u8_NCHW.items():
            index_B = shuffled(self.seed, step, batch=self.count, count=len(u8_NCHW), about=kind)
            made[kind] = torch.stack([self._cropped(u8_NCHW[i], rng) for i in index_B.tolist()])
        return made

    def held_out(self) -> Batch:
        """Up to eight pictures of each kind from testA and testB, or from the training pictures where there are none."""
        return {kind: pixels_to_unit(u8_NCHW.float()) for kind, u8_NCHW in self.held_u8_NCHW.items()}

    def _cropped(self, u8_CHW: Tensor, rng: torch.Generator) -> Tensor:
        top, left = torch.randint(u8_CHW.shape[1] - self.size + 1, (2,), generator=rng).tolist()
        crop_CHW = pixels_to_unit(u8_CHW[:, top : top + self.size, left : left + self.size].float())
        return crop_CHW.flip(2) if torch.rand((), generator=rng) < 0.5 else crop_CHW


def load_unpaired(folder: Path, *, size: int, count: int, seed: int) -> Unpaired:
    """The pictures in ``folder/trainA`` and ``folder/trainB``; unreadable ones are left out and counted.

    Raises TrainError for a missing folder, or one without a readable picture.
    """
    side = round(size * MARGIN)
    train = {kind: read_pictures(picture_files(folder / f"train{kind}"), height=side, width=side) for kind in KINDS}
    tests = {kind: folder / f"test{kind}" for kind in KINDS}
    if not all(test.is_dir() for test in tests.values()):
        tests = {kind: folder / f"train{kind}" for kind in KINDS}
    held = {kind: read_pictures(picture_files(test)[:HELD_OUT], height=size, width=size) for kind, test in tests.items()}
    rows = min(len(pictures.names) for pictures in held.values())
    return Unpaired(
        u8_NCHW={kind: pictures.u8_NCHW for kind, pictures in train.items()},
        held_u8_NCHW={kind: pictures.u8_NCHW[:rows] for kind, pictures in held.items()},
        size=size,
        count=count,
        seed=seed,
        skipped=sum(len(pictures.skipped) for pictures in train.values()),
    )
