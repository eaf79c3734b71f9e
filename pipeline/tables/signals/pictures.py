"""The pictures that detectors see: photos, photos with signals, what generators make of both, all in 8 bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.generators.generator import Generator
from pipeline.images.levels import pixels_to_unit, unit_to_pixels
from pipeline.photos.decode import decode_photo
from pipeline.photos.photo import U8, Photo
from pipeline.signals.add import with_signal
from pipeline.signals.bundle import Bundle
from pipeline.signals.manipulation import SourceName, load_source, manipulate

AT_A_TIME = 16


@dataclass(frozen=True)
class Translator:
    """A generator as the table names it, and its group: seen by the detectors in training, or unseen."""

    label: str
    source: SourceName
    group: str

    @property
    def generator(self) -> Generator:
        """The generator, loaded once."""
        return load_source(self.source, "cpu", torch.float32)

    def __call__(self, pictures: Sequence[U8]) -> list[U8]:
        """What it makes of pictures of one size; the class of the i-th depends on i alone."""
        class_B = torch.rand(len(pictures), generator=torch.Generator().manual_seed(0))
        out: list[U8] = []
        for i in range(0, len(pictures), AT_A_TIME):
            with torch.no_grad():
                y_BCHW = manipulate(self.generator, as_tensor(pictures[i : i + AT_A_TIME]), class_B[i : i + AT_A_TIME])
            out += list(unit_to_pixels(y_BCHW).permute(0, 2, 3, 1).numpy().astype(np.uint8))
        return out


def translator(words: str, group: str) -> Translator:
    """From ``name`` or ``name=weights``; the label is the name and, with weights, their folder."""
    name, _, weights = words.partition("=")
    label = f"{name} ({Path(weights).resolve().parent.name})" if weights else name
    return Translator(label, SourceName(name, Path(weights) if weights else None), group)


def read_photos(paths: Sequence[Path], count: int) -> list[U8]:
    """The first ``count`` of these photos in colour, as pixels (H, W, 3) of one size: that of the first; others are passed over."""
    photos: list[U8] = []
    for path in paths:
        pixels_HWC = decode_photo(path.read_bytes()).pixels_HWC
        if pixels_HWC.shape[2] == 3 and (not photos or pixels_HWC.shape == photos[0].shape):
            photos.append(pixels_HWC)
        if len(photos) == count:
            break
    return photos


def sign(photos: Sequence[U8], bundle: Bundle, *, first: int = 0, count: int | None = None) -> list[U8]:
    """The photos with ``count`` (all) of a bundle's signals in turn, from the ``first`` on; as they are for a bundle of none."""
    count = bundle.count if count is None else count
    if not count:
        return list(photos)
    return [with_signal(Photo(pixels, None, "PNG"), bundle, first + i % count) for i, pixels in enumerate(photos)]


def as_grey(photos: Sequence[U8]) -> list[U8]:
    """Photos (H, W, 3) turned grey, (H, W, 1)."""
    return [np.array(Image.fromarray(pixels).convert("L"))[..., None] for pixels in photos]


def as_tensor(pictures: Sequence[U8]) -> Tensor:
    """Pictures (H, W, 3 or 1) of one size as (B, 3, H, W) in [-1, 1]."""
    return pixels_to_unit(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float()).expand(-1, 3, -1, -1)
