"""Pictures from files: found in a folder, read and checked like photos for protection, and brought to a size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.containers.read import MAX_BYTES
from pipeline.images.orientation import to_upright
from pipeline.photos.decode import decode_photo
from pipeline.photos.photo import U8, PhotoBrokenError, PhotoRefusedError
from pipeline.storage import read_uri
from pipeline.training.options import TrainError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})


@dataclass(frozen=True)
class Pictures:
    """The readable ones of some files: images (N, 3, H, W) uint8, the numbers of their files, and their (H, W) as shown."""

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


@dataclass(frozen=True)
class Fit:
    """How a picture is brought to a size: stretched, or the largest centred square of it."""

    height: int
    width: int
    square: bool = False

    @property
    def nbytes(self) -> int:
        """What a picture takes."""
        return 3 * self.height * self.width

    def __call__(self, pixels_HWC: U8) -> U8:
        """The picture at the size."""
        if self.square:
            return largest_square(pixels_HWC, side=self.height)
        return stretch(pixels_HWC, height=self.height, width=self.width)


def read_pictures(files: Sequence[str | Path], fit: Fit) -> Pictures:
    """The readable pictures, each in RGB and then as ``fit`` makes it; raises TrainError when none is left."""
    images: dict[int, U8] = {}
    shapes, reason = [], "there are no files"
    for row, file in enumerate(files):
        try:
            pixels_HWC, shape = decode_picture(load_bytes(file), fit)
        except (PhotoRefusedError, PhotoBrokenError, OSError) as error:
            reason = f"{file}: {error}"
            continue
        images[row] = pixels_HWC
        shapes.append(shape)
    if not images:
        raise TrainError(f"none of {len(files)} pictures can be read; {reason}")
    u8_NCHW = np.empty((len(images), 3, fit.height, fit.width), np.uint8)
    for picture, pixels_HWC in zip(u8_NCHW, images.values(), strict=True):
        picture[:] = pixels_HWC.transpose(2, 0, 1)
    return Pictures(torch.from_numpy(u8_NCHW), tuple(images), tuple(shapes))


def load_bytes(file: str | Path) -> bytes:
    """The bytes of a picture's file."""
    return read_uri(file, most=MAX_BYTES)


def decode_picture(data: bytes, fit: Fit) -> tuple[U8, tuple[int, ...]]:
    """A picture in RGB, upright, as ``fit`` makes it, and its (H, W) before; raises PhotoRefusedError or PhotoBrokenError."""
    photo = decode_photo(data)
    pixels_HWC = np.ascontiguousarray(to_upright(photo.pixels_HWC, photo.orientation))
    shape = pixels_HWC.shape[:2]
    return fit(np.broadcast_to(pixels_HWC, (*shape, 3))), shape


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
