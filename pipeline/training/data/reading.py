"""Pictures for training as 8-bit tensors: checked like photos for protection, unreadable ones left out and counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.photos.decode import decode_photo
from pipeline.photos.photo import U8, PhotoBrokenError, PhotoRefusedError
from pipeline.training.errors import TrainError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})


@dataclass(frozen=True)
class Pictures:
    """Images (N, 3, H, W) uint8 by name; ``skipped`` says by name why others cannot be read.

    ``rows`` are the places of the images in what was asked for, ``shapes`` their heights and widths as stored.
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
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not found:
        raise TrainError(f"{folder}: no picture in this folder ({', '.join(sorted(SUFFIXES))})")
    return found


def read_pictures(files: Sequence[Path], *, height: int, width: int) -> Pictures:
    """The readable pictures, RGB and resized (bicubic) to ``height`` x ``width``; raises TrainError when none is left."""
    kept: list[tuple[int, U8]] = []
    shapes: list[tuple[int, int]] = []
    skipped: dict[str, str] = {}
    for row, path in enumerate(files):
        try:
            photo = decode_photo(path.read_bytes())
        except (PhotoRefusedError, PhotoBrokenError, OSError) as error:
            skipped[path.name] = str(error)
        else:
            kept.append((row, _rgb(photo.pixels_HWC, height, width)))
            shapes.append((photo.height, photo.width))
    if not kept:
        some = next(iter(skipped.items()), ("nothing", "no files"))
        raise TrainError(f"none of {len(files)} pictures can be read; {some[0]}: {some[1]}")
    return Pictures(
        names=tuple(files[row].name for row, _ in kept),
        u8_NCHW=torch.from_numpy(np.stack([pixels for _, pixels in kept])).permute(0, 3, 1, 2).contiguous(),
        rows=tuple(row for row, _ in kept),
        shapes=tuple(shapes),
        skipped=skipped,
    )


def _rgb(pixels_HWC: U8, height: int, width: int) -> U8:
    rgb_HWC = np.broadcast_to(pixels_HWC, (*pixels_HWC.shape[:2], 3))
    if rgb_HWC.shape[:2] == (height, width):
        return rgb_HWC
    resized = Image.fromarray(np.ascontiguousarray(rgb_HWC)).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized, dtype=np.uint8)
