"""What happens to a file on its way, as differentiable transforms of the photo at file resolution: a disruption that is to survive
JPEG, resizing, cropping, blur or noise climbs through them.

The values of a transform (a quality, a window) are drawn once per photo from the photo's own stream, and the transform sees that
photo's own pixels only, so neither the batch nor its padding changes a result.
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
from pipeline.disruption.transforms import Transform
from pipeline.images.blur import gaussian_blur
from pipeline.images.levels import level_to_unit

Draw = Callable[[Stream, tuple[int, int, int]], Transform]
"""(stream of one photo, its own (C, H, W)) -> transform of that photo (1, C, H, W) with the drawn values filled in."""


@dataclass(frozen=True)
class EachItsOwn:
    """One transform per photo of a padded batch, each applied to the photo's own pixels; padding comes back as mid-grey.

    Always in the precision of the photos, also under autocast, which would round away single levels.
    """

    transforms: tuple[Transform, ...]
    sizes: tuple[tuple[int, int], ...]

    def __call__(self, y_BCHW: Tensor) -> Tensor:
        """Photos (B, C, H, W) in [-1, 1] transformed, same shape."""
        H, W = y_BCHW.shape[2:]
        rows = enumerate(zip(self.transforms, self.sizes, strict=True))
        with torch.autocast(y_BCHW.device.type, enabled=False):
            return torch.cat([F.pad(f(y_BCHW[i : i + 1, :, :h, :w]), (0, W - w, 0, H - h)) for i, (f, (h, w)) in rows])


def robust_variants(names: Sequence[str], streams: Sequence[Stream], shape_CHW: Sequence[int]) -> list[Transform]:
    """The transforms a batch is to survive, with values drawn from each photo's stream; the untouched photo comes first.

    ``names`` are keys of `ROBUST_TO`; ``shape_CHW`` is that of the (padded) batch.
    """
    C, H, W = shape_CHW
    sizes = tuple(stream.stored_size or (H, W) for stream in streams)
    draws = [draw for name in names for draw in ROBUST_TO[name]]
    drawn = [tuple(draw(s, (C, h, w)) for s, (h, w) in zip(streams, sizes, strict=True)) for draw in draws]
    return [_untouched, *(EachItsOwn(transforms, sizes) for transforms in drawn)]


def _untouched(y_BCHW: Tensor) -> Tensor:
    return y_BCHW


def smaller_and_back(x_1CHW: Tensor, *, share: float) -> Tensor:
    """Resized to ``share`` of its sides, whole pixels, and back: both antialiased bicubic, as Pillow does it; cut to [-1, 1]."""
    H, W = x_1CHW.shape[2:]
    small = (max(1, round(share * H)), max(1, round(share * W)))
    return _resized(_resized(x_1CHW, small), (H, W))


def blurred(x_1CHW: Tensor, *, sigma: float) -> Tensor:
    """A Gaussian blur whose outside is the nearest pixel, as image editors do it; ``sigma`` up to 1.5 pixels."""
    return gaussian_blur(F.pad(x_1CHW, (5, 5, 5, 5), mode="replicate"), sigma=sigma)[:, :, 5:-5, 5:-5]


def window(x_1CHW: Tensor, *, share: float, across: float, down: float) -> Tensor:
    """A window with ``share`` of the sides, ``across`` and ``down`` (0..1) of the free room from the left and top, at the old size.

    A view that takes the middle of the photo then sees the middle of the cropped photo.
    """
    H, W = x_1CHW.shape[2:]
    h, w = max(1, round(share * H)), max(1, round(share * W))
    top, left = round(down * (H - h)), round(across * (W - w))
    return _resized(x_1CHW[:, :, top : top + h, left : left + w], (H, W))


def _resized(x_BCHW: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(x_BCHW.shape[2:]) == size:
        return x_BCHW
    return F.interpolate(x_BCHW, size, mode="bicubic", align_corners=False, antialias=True).clamp(-1, 1)


def _between(stream: Stream, low: float, high: float) -> float:
    return low + (high - low) * (float(stream.uniform(())) + 1) / 2


def _draw_jpeg(low: float, high: float) -> Draw:
    return lambda stream, shape_CHW: partial(jpeg, quality=round(_between(stream, low, high)))


def _draw_resize(low: float, high: float) -> Draw:
    return lambda stream, shape_CHW: partial(smaller_and_back, share=_between(stream, low, high))


def _draw_blur(low: float, high: float) -> Draw:
    return lambda stream, shape_CHW: partial(blurred, sigma=_between(stream, low, high))


def _draw_crop(low: float) -> Draw:
    def draw(stream: Stream, shape_CHW: tuple[int, int, int]) -> Transform:
        return partial(window, share=_between(stream, low, 1), across=_between(stream, 0, 1), down=_between(stream, 0, 1))

    return draw


def _draw_noise(sigma: float) -> Draw:
    """Uniform noise with the standard deviation ``sigma`` in levels, the same in every step."""

    def draw(stream: Stream, shape_CHW: tuple[int, int, int]) -> Transform:
        noise_1CHW = level_to_unit(sigma * 3**0.5) * stream.uniform(shape_CHW)[None].float()
        return lambda x_1CHW: (x_1CHW + noise_1CHW.to(x_1CHW)).clamp(-1, 1)

    return draw


ROBUST_TO: dict[str, tuple[Draw, ...]] = {
    "jpeg": (_draw_jpeg(88, 95), _draw_jpeg(75, 88), _draw_jpeg(60, 75)),
    "resize": (_draw_resize(0.5, 0.75),),
    "crop": (_draw_crop(0.85),),
    "blur": (_draw_blur(0.6, 1.5),),
    "noise": (_draw_noise(2.0),),
}
"""By name: the transforms that a disruption goes through, each with values drawn per photo.

JPEG 4:2:0 of a high, a middle and a low quality; a size of 50 to 75 % and back; a window of 85 % of the sides or more; a Gaussian
blur of sigma 0.6 to 1.5 pixels; noise of sigma 2 levels.
"""
