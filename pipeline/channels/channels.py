"""The table of channels, and how channels are found by name."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import partial

from pipeline.channels.attacks import RED_TEAM
from pipeline.channels.channel import U8, Channel, ChannelError
from pipeline.channels.operations import at_most, brighter, centre, gaussian, jpeg, noisy, scaled, scaled_and_back, webp

__all__ = ["CHANNELS", "GROUPS", "Channel", "ChannelError", "find_channels"]

QUALITIES = (95, 92, 85, 75, 50)


def _jpeg(quality: int, subsampling: str) -> Channel:
    name = f"jpeg-{quality}" + ("-444" if subsampling == "4:4:4" else "")
    coded = partial(jpeg, quality=quality, subsampling=subsampling)
    return Channel(name, f"JPEG, quality {quality}, {subsampling}", lambda x, seed: coded(x))


def _screenshot(pixels_HWC: U8) -> U8:
    return brighter(scaled(pixels_HWC, 0.75), 1.1)


def _facebook(pixels_HWC: U8) -> U8:
    return jpeg(at_most(pixels_HWC, 2048), quality=92)


def _x(pixels_HWC: U8) -> U8:
    return pixels_HWC.copy() if max(pixels_HWC.shape[:2]) < 900 else jpeg(pixels_HWC, quality=85)


_ROWS = (
    Channel("clean", "the file as it is", lambda x, seed: x.copy()),
    *(_jpeg(quality, "4:2:0") for quality in QUALITIES),
    *(_jpeg(quality, "4:4:4") for quality in QUALITIES),
    Channel("webp-80", "lossy WebP, quality 80", lambda x, seed: webp(x, quality=80)),
    Channel("half-size", "half of the sides and back, bicubic", lambda x, seed: scaled_and_back(x, 0.5)),
    Channel("crop-10", "middle window of 90 % of the sides", lambda x, seed: centre(x, 0.9)),
    Channel("gaussian-1", "Gaussian blur, sigma 1 pixel", lambda x, seed: gaussian(x, 1.0)),
    Channel("noise-2", "normal noise, sigma 2 levels", lambda x, seed: noisy(x, 2.0, seed)),
    Channel("screenshot", "shown at 75 % of the sides, gamma 1.1 brighter", lambda x, seed: _screenshot(x)),
    Channel("facebook", "long edge at most 2048, JPEG 92 4:2:0", lambda x, seed: _facebook(x)),
    Channel("x", "as it is below 900 x 900, else JPEG 85 4:2:0", lambda x, seed: _x(x)),
)

CHANNELS: dict[str, Channel] = {channel.name: channel for channel in _ROWS}
"""What ordinary ways of a file do to its pixels. JPEG is 4:2:0 where the name says nothing, as on the web."""

GROUPS: dict[str, tuple[str, ...]] = {
    "all": tuple(CHANNELS),
    "jpeg": tuple(name for name in CHANNELS if name.startswith("jpeg-")),
    "social": ("facebook", "x"),
    "red-team": tuple(RED_TEAM),
}
"""One word for several names. ``all`` is every ordinary channel; the attacker's are asked for with ``red-team``."""


def find_channels(names: Sequence[str]) -> list[Channel]:
    """The channels that names and words of `GROUPS` mean, in their order, each once.

    Raises ChannelError with the nearest known word for one that is unknown.
    """
    known = CHANNELS | RED_TEAM
    found: dict[str, Channel] = {}
    for name in names:
        if name not in GROUPS and name not in known:
            near = difflib.get_close_matches(name, (*GROUPS, *known), n=1, cutoff=0.4)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ChannelError(f"no channel is called {name!r}{hint} Known: {', '.join((*GROUPS, *known))}")
        found |= {one: known[one] for one in GROUPS.get(name, (name,))}
    return list(found.values())
