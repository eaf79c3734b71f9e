"""The pictures that are judged: photos, photos with signals, what generators make of both, all in 8 bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.images.levels import pixels_to_unit, unit_to_pixels
from pipeline.photos.decode import decode_photo
from pipeline.photos.photo import U8, Photo
from pipeline.signals.add import with_signal
from pipeline.signals.bundle import Bundle
from pipeline.signals.manipulation import SourceName, load_source, manipulate

AT_A_TIME = 16


@dataclass(frozen=True)
class Translator:
    """A generator as the table names it."""

    label: str
    source: SourceName
    seen: bool

    def __call__(self, pictures: Sequence[U8]) -> list[U8]:
        """What it makes of pictures of one size; the class of the i-th depends on i alone."""
        generator = load_source(self.source, "cpu", torch.float32)
        class_B = torch.rand(len(pictures), generator=torch.Generator().manual_seed(0))
        out: list[U8] = []
        with torch.no_grad():
            for i in range(0, len(pictures), AT_A_TIME):
                x_BCHW = as_tensor(pictures[i : i + AT_A_TIME])
                out += as_pixels(manipulate(generator, x_BCHW, class_B[i : i + AT_A_TIME]))
        return out


def translator(words: str, *, seen: bool) -> Translator:
    """From ``name`` or ``name=weights``; the label is the name and, with weights, their folder."""
    name, _, weights = words.partition("=")
    label = f"{name} ({Path(weights).resolve().parent.name})" if weights else name
    return Translator(label, SourceName(name, Path(weights) if weights else None), seen)


def pixels_of(paths: Sequence[Path], count: int) -> list[U8]:
    """The first ``count`` of these photos, as pixels (H, W, 3) of one size: that of the first; others are passed over."""
    found: list[U8] = []
    for path in paths:
        pixels = decode_photo(path.read_bytes()).pixels_HWC
        if pixels.shape[2] == 3 and (not found or pixels.shape == found[0].shape):
            found.append(pixels)
        if len(found) == count:
            break
    return found


def signed(photos: Sequence[U8], bundle: Bundle) -> list[U8]:
    """The photos with signals in turn; as they are for a bundle of none."""
    if not bundle.count:
        return list(photos)
    return [with_signal(Photo(pixels, None, "PNG"), bundle, i % bundle.count) for i, pixels in enumerate(photos)]


def grey_of(photos: Sequence[U8]) -> list[U8]:
    """Photos (H, W, 3) turned grey, (H, W, 1)."""
    return [np.array(Image.fromarray(pixels).convert("L"))[..., None] for pixels in photos]


def in_colour(pictures: Sequence[U8]) -> list[U8]:
    """Pictures (H, W, 3 or 1) in three planes, as generators take them."""
    return [np.broadcast_to(pixels, (*pixels.shape[:2], 3)) for pixels in pictures]


def as_tensor(pictures: Sequence[U8]) -> Tensor:
    """Pictures (H, W, 3) of one size as (B, 3, H, W) in [-1, 1]."""
    return pixels_to_unit(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float())


def as_pixels(x_BCHW: Tensor) -> list[U8]:
    """The other way round."""
    return list(unit_to_pixels(x_BCHW).permute(0, 2, 3, 1).numpy().astype(np.uint8))


def psnr_each(photos: Sequence[U8], others: Sequence[U8]) -> list[float]:
    """PSNR in dB of each pair."""
    errors = [float(np.square(a.astype(float) - b).mean()) for a, b in zip(photos, others, strict=True)]
    return [float(10 * np.log10(255**2 / max(error, 1e-12))) for error in errors]
