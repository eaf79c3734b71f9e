"""Two folders of pictures without pairs, which CycleGAN trains on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipeline.containers.find import CONTAINERS
from pipeline.containers.listing import PhotoRef
from pipeline.images.levels import pixels_to_unit
from pipeline.training.data.batches import shuffled, stream_of
from pipeline.training.data.pictures import Fit, picture_files, read_pictures
from pipeline.training.data.store import IN_MEMORY, Pixels, Store, containers_in
from pipeline.training.systems.system import Batch

KINDS = ("A", "B")
MARGIN = 286 / 256
"""How much larger than the crop the pictures are stored. Source: [Z17], released code."""
HELD_OUT = 8


@dataclass(frozen=True)
class Unpaired:
    """Batches {"A": (B, 3, size, size), "B": ...} in [-1, 1] of two kinds of picture, each a function of seed and step.

    Every epoch shows each picture of a kind once, cropped at random from ``MARGIN`` times the size, and mirrored half of the time.
    """

    u8_NCHW: dict[str, Pixels]
    held_u8_NCHW: dict[str, Tensor]
    size: int
    count: int
    """Pictures of each kind in a batch."""
    seed: int
    skipped: int = 0
    """Training pictures that could not be read and were left out."""

    @property
    def pictures(self) -> list[Pixels]:
        """The pictures of both kinds."""
        return list(self.u8_NCHW.values())

    def batch(self, step: int) -> Batch:
        """The batch of a step; which A meets which B is chance."""
        rng = stream_of(self.seed, step)
        batch = {}
        for kind, u8_NCHW in self.u8_NCHW.items():
            index_B = shuffled(self.seed, step, batch=self.count, count=len(u8_NCHW), about=kind)
            batch[kind] = torch.stack([self._crop(u8_NCHW[i], rng) for i in index_B.tolist()])
        return batch

    def held_out(self) -> Batch:
        """Up to eight pictures of each kind from testA and testB, or from the training pictures where there are none."""
        return {kind: pixels_to_unit(u8_NCHW.float()) for kind, u8_NCHW in self.held_u8_NCHW.items()}

    def _crop(self, u8_CHW: Tensor, rng: torch.Generator) -> Tensor:
        top, left = torch.randint(u8_CHW.shape[1] - self.size + 1, (2,), generator=rng).tolist()
        crop_CHW = pixels_to_unit(u8_CHW[:, top : top + self.size, left : left + self.size].float())
        return crop_CHW.flip(2) if torch.rand((), generator=rng) < 0.5 else crop_CHW


def load_unpaired(folder: Path, *, size: int, count: int, seed: int, store: Store = IN_MEMORY) -> Unpaired:
    """The pictures, or containers of them, in ``folder/trainA`` and ``folder/trainB``; unreadable ones are left out and counted.

    Raises TrainError for a missing folder, or one without a readable picture.
    """
    side = round(size * MARGIN)
    train = {kind: _load(folder / f"train{kind}", Fit(side, side), store) for kind in KINDS}
    part = "test" if all((folder / f"test{kind}").is_dir() for kind in KINDS) else "train"
    held = {kind: _first(folder / f"{part}{kind}", Fit(size, size), store) for kind in KINDS}
    count_held = min(map(len, held.values()))
    return Unpaired(
        u8_NCHW={kind: u8_NCHW for kind, (u8_NCHW, _) in train.items()},
        held_u8_NCHW={kind: held[kind][:count_held] for kind in KINDS},
        size=size,
        count=count,
        seed=seed,
        skipped=sum(skipped for _, skipped in train.values()),
    )


def _load(folder: Path, fit: Fit, store: Store) -> tuple[Pixels, int]:
    """The readable pictures of a folder, and how many cannot be read."""
    if refs := _containers(folder):
        contents = store.containers(refs, fit)
        return store.held(contents.pictures), contents.skipped
    files = picture_files(folder)
    u8_NCHW, rows = store.files(files, fit)
    return u8_NCHW, len(files) - len(rows)


def _first(folder: Path, fit: Fit, store: Store) -> Tensor:
    """The readable ones of the first pictures of a folder."""
    if refs := _containers(folder):
        return store.first(refs, fit, count=HELD_OUT)
    return read_pictures(picture_files(folder)[:HELD_OUT], fit).u8_NCHW


def _containers(folder: Path) -> tuple[PhotoRef, ...]:
    is_tried = folder.is_dir() and any(path.suffix.lower() in CONTAINERS for path in folder.iterdir())
    return containers_in(folder) if is_tried else ()
