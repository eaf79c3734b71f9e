"""What honest handling does to a published photo: crops, turns, light, sizes, codecs. It must not read as manipulation."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.channels.operations import webp
from pipeline.disruption.jpeg import jpeg
from pipeline.images.levels import pixels_to_unit, unit_to_pixels
from pipeline.images.resize import resize
from pipeline.signals.edits import Draws

LEAST_WINDOW = 0.8
"""Smallest share of a side that a crop leaves."""
GAIN, GAMMA = 0.08, 1.15
"""Light: up to this share brighter or darker, and the middle tones by up to this exponent either way."""
SMALLEST_FILE = 0.45
"""Smallest share of the sides to which a photo is resized."""
QUALITY = (60, 95)
"""Qualities of JPEG and WebP."""
WOBBLE = 0.012
"""A place that was searched for is off by up to this share of the side: the detector learns to judge beside such places."""

WHOLE = (0.0, 0.0, 1.0, 1.0)


class Handling(NamedTuple):
    """How one photo is handled: cut to a window, mirrored, turned, lit, resized, coded, in this order."""

    window: tuple[float, float, float, float] = WHOLE
    """Left, top, right, bottom, in shares of the sides."""
    mirrored: bool = False
    turns: int = 0
    """Quarter turns, as `torch.rot90` counts them."""
    gain: float = 1.0
    gamma: float = 1.0
    share: float = 1.0
    """Size of the file, as a share of the window's sides."""
    codec: str = ""
    quality: int = 0
    wobble: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """How far a search for the place is off: scale and centre, across and down."""

    def placement(self, *, searched: bool = False) -> Tensor:
        """Where the picture lies in the photo, (2, 3): from places in the picture to places in the photo, both from -1 to 1.

        ``searched`` gives the place as a search finds it.
        """
        left, top, right, bottom = self.window
        wide, high, x, y = self.wobble if searched else (0.0, 0.0, 0.0, 0.0)
        scale = torch.tensor([[(right - left) * (1 + wide), 0.0], [0.0, (bottom - top) * (1 + high)]])
        centre = torch.tensor([left + right - 1 + x, top + bottom - 1 + y])
        return torch.cat([scale @ turned(self.mirrored, self.turns), centre[:, None]], 1)

    def move(self, x_BCHW: Tensor) -> Tensor:
        """The window of the images, mirrored and turned; nothing is resampled."""
        H, W = x_BCHW.shape[2:]
        left, top, right, bottom = self.window
        x_BCHW = x_BCHW[:, :, round(top * H) : round(bottom * H), round(left * W) : round(right * W)]
        return torch.rot90(x_BCHW.flip(3) if self.mirrored else x_BCHW, self.turns, (2, 3))

    def __call__(self, x_13HW: Tensor) -> Tensor:
        """The photo (1, 3, H, W) in [-1, 1] as it arrives, in whole levels, smaller after some handlings; the gradient passes.

        A grey photo, of three equal planes, stays grey. The real codec of WebP counts as adding what it adds.
        """
        x = self.move(x_13HW)
        grey = bool((x.amax(1) == x.amin(1)).all())
        if self.gain != 1 or self.gamma != 1:
            x = ((x + 1) / 2 * self.gain).clamp(1e-4, 1) ** self.gamma * 2 - 1
        if self.share != 1:
            H, W = x.shape[2:]
            x = resize(x, (max(8, round(self.share * H)), max(8, round(self.share * W))), mode="bicubic").clamp(-1, 1)
        if self.codec == "jpeg":
            x = jpeg(x[:, :1] if grey else x, quality=self.quality)
        elif self.codec == "webp":
            levels_HWC = unit_to_pixels(x.detach())[0].permute(1, 2, 0).to(torch.uint8)
            pixels_HWC = (levels_HWC[..., :1] if grey else levels_HWC).contiguous().numpy()
            coded = torch.from_numpy(webp(pixels_HWC, quality=self.quality)).permute(2, 0, 1)[None]
            x = x + (pixels_to_unit(coded.to(x)) - x).detach()
        x = x[:, :1].expand(-1, 3, -1, -1) if grey else x
        return x + (pixels_to_unit(unit_to_pixels(x)) - x).detach()


def random_handling(draws: Draws, names: Collection[str], *, moved: bool = True) -> Handling:
    """A handling drawn from ``names`` of `HANDLINGS`, none at all for a photo in ten; without ``moved`` the photo stays in place.

    The same number of draws is taken whatever is drawn.
    """
    as_it_is, cropped, mirrored, turned_, lit, resized, coded, wobbles = (draws.uniform(0, 1) for _ in range(8))
    width, height = draws.uniform(LEAST_WINDOW, 1), draws.uniform(LEAST_WINDOW, 1)
    left, top = draws.uniform(0, 1 - width), draws.uniform(0, 1 - height)
    turns, gain, gamma = 1 + draws.pick(3), draws.uniform(1 - GAIN, 1 + GAIN), draws.log_uniform(1 / GAMMA, GAMMA)
    share, quality = draws.uniform(SMALLEST_FILE, 0.95), round(draws.uniform(*QUALITY))
    off = tuple(draws.uniform(-WOBBLE, WOBBLE) for _ in range(4))
    if as_it_is < 0.1:
        return Handling()
    is_lit = "light" in names and lit < 0.25
    codec = "jpeg" if coded < 0.4 else "webp" if coded < 0.6 else ""
    return Handling(
        window=(left, top, left + width, top + height) if moved and "crop" in names and cropped < 0.4 else WHOLE,
        mirrored=moved and "mirror" in names and mirrored < 0.25,
        turns=turns if moved and "turn" in names and turned_ < 0.125 else 0,
        gain=gain if is_lit else 1.0,
        gamma=gamma if is_lit else 1.0,
        share=share if "resize" in names and resized < 0.33 else 1.0,
        codec=codec if codec in names else "",
        quality=quality,
        wobble=(off[0], off[1], off[2], off[3]) if moved and wobbles < 0.5 else (0.0, 0.0, 0.0, 0.0),
    )


def turned(mirrored: bool, turns: int) -> Tensor:
    """From places in a picture to places in the photo that was mirrored and then turned to it, (2, 2)."""
    matrix = torch.eye(2)
    for _ in range(turns % 4):
        matrix = torch.tensor([[0.0, -1.0], [1.0, 0.0]]) @ matrix
    return torch.tensor([[-1.0, 0.0], [0.0, 1.0]]) @ matrix if mirrored else matrix
