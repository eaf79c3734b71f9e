"""The table of channels, and how a name finds its channel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from pipeline import unknown_name
from pipeline.channels.denoise import bilateral, wavelet
from pipeline.channels.operations import (
    ChannelError,
    add_noise,
    blur,
    brighten,
    crop_centre,
    jpeg,
    limit_long_edge,
    scale,
    scale_and_back,
    take_median,
    webp,
)
from pipeline.images.boxes import jitter_box
from pipeline.images.types import U8, Box

__all__ = ["CHANNELS", "GROUPS", "JITTER", "RED_TEAM", "Channel", "ChannelError", "find_channels"]

Apply = Callable[[U8, int], U8]
"""(pixels (H, W, 3 or 1), seed) -> pixels after the channel, with as many colour planes; the size may change."""


@dataclass(frozen=True)
class Channel:
    """What happens to a picture between the writing of a file and its use.

    ``apply`` leaves its input alone; equal pixels and seed give equal pixels. ``about`` is one line for a table or a help text.
    A channel that ``crops`` leaves the middle window; another that changes the size resizes the whole picture. With ``jitters`` the
    pixels stay, but whoever uses the picture cuts another box out of it.
    """

    name: str
    about: str
    apply: Apply
    crops: bool = False
    jitters: bool = False

    def move_box(self, box: Box, before_HWC: U8, after_HWC: U8) -> Box:
        """Where a box of the picture lies after the channel, in whole pixels; raises ChannelError when nothing is left of it."""
        (height, width), (h, w) = before_HWC.shape[:2], after_HWC.shape[:2]
        if self.crops:
            left, top = (width - w) // 2, (height - h) // 2
            (x0, x1), (y0, y1) = ([min(max(x - left, 0), w) for x in box[0::2]], [min(max(y - top, 0), h) for y in box[1::2]])
        else:
            (x0, x1), (y0, y1) = ([round(x * w / width) for x in box[0::2]], [round(y * h / height) for y in box[1::2]])
        if x1 <= x0 or y1 <= y0:
            raise ChannelError("nothing is left of the box")
        return x0, y0, x1, y1

    def shift_box(self, box: Box, size: tuple[int, int], seed: int) -> Box:
        """The box that is cut out of a picture of this (width, height) in place of the exact one; equal seeds give equal boxes."""
        return jitter_box(box, np.random.default_rng(seed).uniform(-1, 1, 3).tolist(), size) if self.jitters else box


def _jpeg(quality: int, subsampling: str) -> Channel:
    name = f"jpeg-{quality}" + ("-444" if subsampling == "4:4:4" else "")
    code = partial(jpeg, quality=quality, subsampling=subsampling)
    return Channel(name, f"JPEG, quality {quality}, {subsampling}", lambda x, seed: code(x))


def _x(pixels_HWC: U8) -> U8:
    return pixels_HWC.copy() if max(pixels_HWC.shape[:2]) < 900 else jpeg(pixels_HWC, quality=85)


_CHANNELS = (
    Channel("clean", "the file as it is", lambda x, seed: x.copy()),
    *(_jpeg(quality, subsampling) for subsampling in ("4:2:0", "4:4:4") for quality in (95, 92, 85, 75, 50)),
    Channel("webp-80", "lossy WebP, quality 80", lambda x, seed: webp(x, quality=80)),
    Channel("half-size", "half of the sides and back, bicubic", lambda x, seed: scale_and_back(x, 0.5)),
    Channel("crop-10", "middle window of 90 % of the sides", lambda x, seed: crop_centre(x, 0.9), crops=True),
    Channel("gaussian-1", "Gaussian blur, sigma 1 pixel", lambda x, seed: blur(x, 1.0)),
    Channel("noise-2", "normal noise, sigma 2 levels", lambda x, seed: add_noise(x, 2.0, seed)),
    Channel("screenshot", "shown at 75 % of the sides, gamma 1.1 brighter", lambda x, seed: brighten(scale(x, 0.75), 1.1)),
    Channel("facebook", "long edge at most 2048, JPEG 92 4:2:0", lambda x, seed: jpeg(limit_long_edge(x, 2048), quality=92)),
    Channel("x", "as it is below 900 x 900, else JPEG 85 4:2:0", lambda x, seed: _x(x)),
)
_RED_TEAM = (
    Channel("median-3", "median of 3 x 3 pixels", lambda x, seed: take_median(x, 3)),
    Channel("gaussian-0.8", "Gaussian blur, sigma 0.8 pixels", lambda x, seed: blur(x, 0.8)),
    Channel("bilateral", "bilateral filter, 5 x 5, 1.5 pixels, 12 levels", lambda x, seed: bilateral(x)),
    Channel("wavelet", "Haar wavelets, two levels, details shrunk by 4 levels", lambda x, seed: wavelet(x)),
    Channel("jpeg-85-75", "JPEG quality 85, then 75, 4:2:0", lambda x, seed: jpeg(jpeg(x, quality=85), quality=75)),
    Channel("resize-75", "75 % of the sides and back, bicubic", lambda x, seed: scale_and_back(x, 0.75)),
)

CHANNELS: dict[str, Channel] = {channel.name: channel for channel in _CHANNELS}
"""What ordinary ways of a file do to its pixels. JPEG is 4:2:0 where the name says nothing, as on the web."""

JITTER: dict[str, Channel] = {
    name: Channel(name, "another crop, up to 10 % beside in place and size", lambda x, seed: x.copy(), jitters=True)
    for name in (f"jitter-{number}" for number in range(1, 9))
}
"""Whoever uses the picture cuts out a box that differs; eight draws for each photo."""

RED_TEAM: dict[str, Channel] = {channel.name: channel for channel in _RED_TEAM}
"""What an attacker without the generator does to a single file to remove its perturbation."""

GROUPS: dict[str, tuple[str, ...]] = {
    "all": tuple(CHANNELS),
    "jpeg": tuple(name for name in CHANNELS if name.startswith("jpeg-")),
    "social": ("facebook", "x"),
    "jitter": tuple(JITTER),
    "red-team": tuple(RED_TEAM),
}
"""One word for several names. ``all`` is every ordinary channel; other crops are asked for with ``jitter``, the attacker's channels
with ``red-team``."""


def find_channels(names: Sequence[str]) -> list[Channel]:
    """The channels of these names and words of `GROUPS`, in their order, each once.

    Raises ChannelError for one that is unknown.
    """
    known = CHANNELS | JITTER | RED_TEAM
    channels: dict[str, Channel] = {}
    for name in names:
        if name not in GROUPS and name not in known:
            raise ChannelError(unknown_name("channel", name, (*GROUPS, *known)))
        channels |= {one: known[one] for one in GROUPS.get(name, (name,))}
    return list(channels.values())
