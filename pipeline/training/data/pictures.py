"""Folders of pictures: read and checked like photos for protection; and two of them without pairs, which CycleGAN trains on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.images.levels import pixels_to_unit
from pipeline.photos.decode import decode_photo
from pipeline.photos.photo import U8, PhotoBrokenError, PhotoRefusedError
from pipeline.training.data.batches import shuffled, stream_of
from pipeline.training.options import TrainError
from pipeline.training.systems.system import Batch

KINDS = ("A", "B")
MARGIN = 286 / 256
"""How much larger than the crop the pictures are stored. Source: [Z17], released code."""
HELD_OUT = 8
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})


@dataclass(frozen=True)
class Pictures:
    """Images (N, 3, H, W) uint8 by name; ``skipped`` says by name why others cannot be read.

    ``rows`` are the numbers of their files among those to read, ``shapes`` their heights and widths as stored.
    """

    names: tuple[str, ...]
    u8_NCHW: Tensor
    rows: tuple[int, ...]
    shapes: tuple[tuple[int, int], ...]
    skipped: dict[str, str]


def picture_files(folder: Path) -> list[Path]:
    """The files of a folder with the suffix of a picture, by name; raises TrainError when there is none."""
    if not folder.is_dir():
        raise TrainError(f"{folder}: expected a folder of pictures here")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not files:
        raise TrainError(f"{folder}: no picture in this folder ({', '.join(sorted(SUFFIXES))})")
    return files


def read_pictures(files: Sequence[Path], *, height: int, width: int) -> Pictures:
    """The readable pictures, RGB and resized (bicubic) to ``height`` x ``width``; raises TrainError when none is left."""
    rows: list[int] = []
    images: list[U8] = []
    shapes: list[tuple[int, int]] = []
    skipped: dict[str, str] = {}
    for row, path in enumerate(files):
        try:
            photo = decode_photo(path.read_bytes())
        except (PhotoRefusedError, PhotoBrokenError, OSError) as error:
            skipped[path.name] = str(error)
        else:
            rows.append(row)
            images.append(_rgb(photo.pixels_HWC, height, width))
            shapes.append((photo.height, photo.width))
    if not images:
        some = next(iter(skipped.items()), ("nothing", "no files"))
        raise TrainError(f"none of {len(files)} pictures can be read; {some[0]}: {some[1]}")
    return Pictures(
        names=tuple(files[row].name for row in rows),
        u8_NCHW=torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(),
        rows=tuple(rows),
        shapes=tuple(shapes),
        skipped=skipped,
    )


def _rgb(pixels_HWC: U8, height: int, width: int) -> U8:
    rgb_HWC = np.broadcast_to(pixels_HWC, (*pixels_HWC.shape[:2], 3))
    if rgb_HWC.shape[:2] == (height, width):
        return rgb_HWC
    resized = Image.fromarray(np.ascontiguousarray(rgb_HWC)).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized, dtype=np.uint8)


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
