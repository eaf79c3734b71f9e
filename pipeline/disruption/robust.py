"""Differentiable transforms that a disruption is to survive: JPEG, resizing, cropping, blur and noise, at file resolution.

A photo is here the part of it that generators see; no transform looks beyond its edges. The values of a transform (a quality, a
window) are drawn once per photo from the photo's own stream, and the transform gets that photo's own pixels only, so neither the
batch nor its padding changes a result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.disruption.jpeg import jpeg
from pipeline.disruption.streams import Stream
from pipeline.images.blur import Transform, gaussian_blur
from pipeline.images.levels import level_to_unit
from pipeline.images.resize import resize

Draw = Callable[[Stream, tuple[int, int, int]], Transform]
"""(stream of one photo, its own (C, H, W)) -> transform of that photo (1, C, H, W) with the drawn values filled in."""


@dataclass(frozen=True)
class PerPhoto:
    """One transform per photo of a padded batch, each applied to the photo's own pixels; padding becomes mid-grey.

    Always in the precision of the photos, also under autocast, which would round away single levels.
    """

    transforms: tuple[Transform, ...]
    stored_sizes: tuple[tuple[int, int], ...]

    def __call__(self, y_BCHW: Tensor) -> Tensor:
        """Photos (B, C, H, W) in [-1, 1] transformed, same shape."""
        H, W = y_BCHW.shape[2:]
        photos = enumerate(zip(self.transforms, self.stored_sizes, strict=True))
        with torch.autocast(y_BCHW.device.type, enabled=False):
            return torch.cat([F.pad(f(y_BCHW[i : i + 1, :, :h, :w]), (0, W - w, 0, H - h)) for i, (f, (h, w)) in photos])


def robust_variants(names: Sequence[str], streams: Sequence[Stream], shape_CHW: Sequence[int]) -> list[Transform]:
    """The transforms a batch is to survive, with values drawn from each photo's stream; the identity comes first.

    ``names`` are keys of `ROBUST_TO`; ``shape_CHW`` is that of the (padded) batch.
    """
    C, H, W = shape_CHW
    sizes = tuple(stream.stored_size or (H, W) for stream in streams)
    variants: list[Transform] = [lambda y_BCHW: y_BCHW]
    for draw in (draw for name in names for draw in ROBUST_TO[name]):
        variants.append(PerPhoto(tuple(draw(s, (C, h, w)) for s, (h, w) in zip(streams, sizes, strict=True)), sizes))
    return variants


def scale_and_back(x_1CHW: Tensor, *, share: float) -> Tensor:
    """Resized to ``share`` of its sides, whole pixels, and back: both bicubic, cut to [-1, 1]."""
    H, W = x_1CHW.shape[2:]
    small = (max(1, round(share * H)), max(1, round(share * W)))
    return _bicubic(_bicubic(x_1CHW, small), (H, W))


def edge_blur(x_1CHW: Tensor, *, sigma: float) -> Tensor:
    """A Gaussian blur whose outside is the nearest pixel, as in image editors; ``sigma`` up to 1.5 pixels."""
    return gaussian_blur(F.pad(x_1CHW, (5, 5, 5, 5), mode="replicate"), sigma=sigma)[:, :, 5:-5, 5:-5]


def crop_to_size(x_1CHW: Tensor, *, share: float, across: float, down: float) -> Tensor:
    """A window with ``share`` of the sides, ``across`` and ``down`` (0..1) of the free room from the left and top, at the old size.

    A view of the middle of the photo then shows the middle of the cropped photo.
    """
    H, W = x_1CHW.shape[2:]
    h, w = max(1, round(share * H)), max(1, round(share * W))
    top, left = round(down * (H - h)), round(across * (W - w))
    return _bicubic(x_1CHW[:, :, top : top + h, left : left + w], (H, W))


def _bicubic(x_BCHW: Tensor, size_HW: tuple[int, int]) -> Tensor:
    return x_BCHW if tuple(x_BCHW.shape[2:]) == size_HW else resize(x_BCHW, size_HW, mode="bicubic").clamp(-1, 1)


def _draw(transform: Callable[..., Tensor], **ranges: tuple[float, float]) -> Draw:
    """``transform`` with each named value uniform in its range, drawn in the order of ``ranges``."""

    def draw(stream: Stream, shape_CHW: tuple[int, int, int]) -> Transform:
        shares = {name: (float(stream.uniform(())) + 1) / 2 for name in ranges}
        return partial(transform, **{name: low + (high - low) * shares[name] for name, (low, high) in ranges.items()})

    return draw


def _draw_jpeg(low: float, high: float) -> Draw:
    """JPEG of a quality uniform in this range, in the blocks of the photo's file."""

    def draw(stream: Stream, shape_CHW: tuple[int, int, int]) -> Transform:
        share = (float(stream.uniform(())) + 1) / 2
        return partial(jpeg, quality=round(low + (high - low) * share), corner=stream.corner)

    return draw


def _draw_noise(sigma: float) -> Draw:
    """Uniform noise with the standard deviation ``sigma`` in levels, the same in every step."""

    def draw(stream: Stream, shape_CHW: tuple[int, int, int]) -> Transform:
        noise_1CHW = level_to_unit(sigma * 3**0.5) * stream.uniform(shape_CHW)[None].float()
        return lambda x_1CHW: (x_1CHW + noise_1CHW.to(x_1CHW)).clamp(-1, 1)

    return draw


ROBUST_TO: dict[str, tuple[Draw, ...]] = {
    "jpeg": (_draw_jpeg(88, 95), _draw_jpeg(75, 88), _draw_jpeg(60, 75)),
    "resize": (_draw(scale_and_back, share=(0.5, 0.75)),),
    "crop": (_draw(crop_to_size, share=(0.85, 1), across=(0, 1), down=(0, 1)),),
    "blur": (_draw(edge_blur, sigma=(0.6, 1.5)),),
    "noise": (_draw_noise(2.0),),
}
"""By name: the transforms that a disruption is to survive, each with values drawn per photo.

JPEG 4:2:0 of a high, a middle and a low quality; a size of 50 to 75 % and back; a window of 85 % of the sides or more; a Gaussian
blur of sigma 0.6 to 1.5 pixels; noise of sigma 2 levels.
"""
