"""Folders of pictures: read and checked like photos for protection; and two of them without pairs, which CycleGAN trains on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.containers.read import MAX_BYTES
from pipeline.images.levels import pixels_to_unit
from pipeline.photos.decode import decode_photo
from pipeline.photos.photo import U8, PhotoBrokenError, PhotoRefusedError
from pipeline.storage import read_uri
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
    """The readable ones of some files: images (N, 3, H, W) uint8, the numbers of their files, and their (H, W) as stored."""

    u8_NCHW: Tensor
    rows: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]


def picture_files(folder: Path) -> list[Path]:
    """The files of a folder with the suffix of a picture, by name; raises TrainError when there is none."""
    if not folder.is_dir():
        raise TrainError(f"{folder}: expected a folder of pictures here")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not files:
        raise TrainError(f"{folder}: no picture in this folder ({', '.join(sorted(SUFFIXES))})")
    return files


def read_pictures(files: Sequence[str | Path], fit: Callable[[U8], U8]) -> Pictures:
    """The readable pictures, each in RGB and then as ``fit`` makes it; raises TrainError when none is left."""
    images: dict[int, U8] = {}
    shapes, reason = [], "there are no files"
    for row, file in enumerate(files):
        try:
            pixels_HWC = decode_photo(read_uri(file, most=MAX_BYTES)).pixels_HWC
        except (PhotoRefusedError, PhotoBrokenError, OSError) as error:
            reason = f"{file}: {error}"
            continue
        images[row] = fit(np.broadcast_to(pixels_HWC, (*pixels_HWC.shape[:2], 3)))
        shapes.append(pixels_HWC.shape[:2])
    if not images:
        raise TrainError(f"none of {len(files)} pictures can be read; {reason}")
    u8_NCHW = torch.from_numpy(np.stack(list(images.values()))).permute(0, 3, 1, 2).contiguous()
    return Pictures(u8_NCHW, tuple(images), tuple(shapes))


def stretch(pixels_HWC: U8, *, height: int, width: int, by: Image.Resampling = Image.Resampling.BICUBIC) -> U8:
    """The picture at another size."""
    if pixels_HWC.shape[:2] == (height, width):
        return pixels_HWC
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels_HWC)).resize((width, height), by))


def largest_square(pixels_HWC: U8, *, side: int, margin: int = 0) -> U8:
    """The largest centred square of a picture, less ``margin`` pixels on each edge, at ``side`` pixels."""
    height, width = pixels_HWC.shape[:2]
    window = min(height, width) - 2 * margin
    top, left = (height - min(height, width)) // 2 + margin, (width - min(height, width)) // 2 + margin
    return stretch(pixels_HWC[top : top + window, left : left + window], height=side, width=side, by=Image.Resampling.LANCZOS)


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
    files = {kind: picture_files(folder / f"train{kind}") for kind in KINDS}
    train = {kind: read_pictures(files[kind], partial(stretch, height=side, width=side)) for kind in KINDS}
    if all((folder / f"test{kind}").is_dir() for kind in KINDS):
        tests = {kind: picture_files(folder / f"test{kind}") for kind in KINDS}
    else:
        tests = files
    held = {kind: read_pictures(tests[kind][:HELD_OUT], partial(stretch, height=size, width=size)) for kind in KINDS}
    count_held = min(len(pictures.rows) for pictures in held.values())
    return Unpaired(
        u8_NCHW={kind: train[kind].u8_NCHW for kind in KINDS},
        held_u8_NCHW={kind: held[kind].u8_NCHW[:count_held] for kind in KINDS},
        size=size,
        count=count,
        seed=seed,
        skipped=sum(len(files[kind]) - len(train[kind].rows) for kind in KINDS),
    )
