"""A decoded photo as a frozen value, and the two ways in which a file is not one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.images.types import U8

__all__ = ["U8", "Density", "Extras", "Photo", "PhotoBrokenError", "PhotoRefusedError"]

HDR = "HDR colours; export the photo without HDR"


class PhotoRefusedError(ValueError):
    """The file is sound, but protecting it would lose something; the message says what, for a photographer. Status: skipped."""


class PhotoBrokenError(ValueError):
    """The file is damaged or not an image; the message says how. Status: failed."""


@dataclass(frozen=True)
class Density:
    """Pixels for each unit across and down; without a unit the two numbers only give the shape of a pixel."""

    across: int
    down: int
    unit: Literal["inch", "centimetre", "metre"] | None


@dataclass(frozen=True)
class Extras:
    """What some formats hold beside EXIF, ICC profile and XMP.

    `photoshop` are resources of Photoshop, with the IPTC records among them; `comments` those of JPEG, GIF and PNG as bytes;
    `png_blocks` whole blocks that only PNG holds: texts, and those that say that colours are sRGB.
    """

    photoshop: bytes | None = None
    comments: tuple[bytes, ...] = ()
    density: Density | None = None
    png_blocks: tuple[bytes, ...] = ()


@dataclass(frozen=True, eq=False)
class Photo:
    """One still picture as stored in its file: the orientation tag is kept, not applied.

    `pixels_HWC` is uint8 (H, W, 3), or (H, W, 1) for grey; `alpha_HW` is uint8 or None when the file has no transparency.
    `format` is the format read (JPEG, MPO, PNG, WEBP, BMP, GIF, TIFF, HEIF, AVIF). `exif` starts at its TIFF header, without the
    `Exif\\0\\0` that JPEG puts before it; `icc` and `xmp` are the bytes found. `notes` say what was changed or left
    behind. ``png_colours`` are the PNG blocks (cICP, cHRM, gAMA) that say what its colours mean.
    """

    pixels_HWC: U8
    alpha_HW: U8 | None
    format: str
    exif: bytes | None = None
    icc: bytes | None = None
    xmp: bytes | None = None
    orientation: int = 1
    notes: tuple[str, ...] = ()
    png_colours: bytes | None = None
    extras: Extras = Extras()

    @property
    def height(self) -> int:
        """Rows of pixels as stored."""
        return int(self.pixels_HWC.shape[0])

    @property
    def width(self) -> int:
        """Columns of pixels as stored."""
        return int(self.pixels_HWC.shape[1])

    @property
    def mode(self) -> str:
        """RGB, RGBA, L (grey) or LA (grey with alpha)."""
        colours = "L" if self.pixels_HWC.shape[2] == 1 else "RGB"
        return colours if self.alpha_HW is None else f"{colours}A"
