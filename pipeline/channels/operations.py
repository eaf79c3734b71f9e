"""The single operations of channels on 8-bit pixels: real codecs, resizing, cropping, blur, noise. Grey stays grey."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageFilter

from pipeline.images.types import U8

LARGEST_WEBP = 16_383
"""Longest side of a WebP file in pixels."""


class ChannelError(ValueError):
    """A channel that does not exist, or a picture that it cannot take; the message says what was expected."""


def to_image(pixels_HWC: U8) -> Image.Image:
    """Pixels (H, W, 3 or 1) as a picture; raises ChannelError for anything else."""
    if pixels_HWC.dtype != np.uint8 or pixels_HWC.ndim != 3 or pixels_HWC.shape[2] not in (1, 3) or 0 in pixels_HWC.shape:
        raise ChannelError(f"a channel takes 8-bit pixels (H, W, 3 or 1), got {pixels_HWC.dtype} {pixels_HWC.shape}")
    return Image.fromarray(pixels_HWC[:, :, 0] if pixels_HWC.shape[2] == 1 else pixels_HWC)


def to_pixels(image: Image.Image) -> U8:
    """A picture in mode RGB or L as pixels (H, W, 3 or 1)."""
    pixels = np.array(image)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def jpeg(pixels_HWC: U8, *, quality: int, subsampling: str = "4:2:0") -> U8:
    """The pixels after a JPEG file of this quality; chroma at half the sides with 4:2:0, as the web does, in full with 4:4:4."""
    image = to_image(pixels_HWC)
    file = io.BytesIO()
    if image.mode == "L":
        image.save(file, "JPEG", quality=quality)
    else:
        image.save(file, "JPEG", quality=quality, subsampling=subsampling)
    return to_pixels(Image.open(file))


def webp(pixels_HWC: U8, *, quality: int) -> U8:
    """The pixels after a lossy WebP file, which stores colour only: a grey picture comes back as its luma.

    Raises ChannelError for a side of more than 16,383 pixels, which the format cannot hold.
    """
    image = to_image(pixels_HWC)
    if max(image.size) > LARGEST_WEBP:
        raise ChannelError(f"webp holds sides up to {LARGEST_WEBP} pixels, this picture has {image.width}x{image.height}")
    file = io.BytesIO()
    image.convert("RGB").save(file, "WEBP", quality=quality)
    return to_pixels(Image.open(file).convert(image.mode))


def resize(pixels_HWC: U8, width: int, height: int, *, filter_: Image.Resampling = Image.Resampling.BICUBIC) -> U8:
    """The pixels at another size, antialiased when it is smaller."""
    return to_pixels(to_image(pixels_HWC).resize((width, height), filter_))


def scale(pixels_HWC: U8, share: float, *, filter_: Image.Resampling = Image.Resampling.BICUBIC) -> U8:
    """The pixels at this share of both sides, rounded, at least one pixel."""
    height, width = pixels_HWC.shape[:2]
    return resize(pixels_HWC, max(1, round(share * width)), max(1, round(share * height)), filter_=filter_)


def scale_and_back(pixels_HWC: U8, share: float) -> U8:
    """The pixels at this share of both sides and back at the old size, bicubic both ways."""
    height, width = pixels_HWC.shape[:2]
    return resize(scale(pixels_HWC, share), width, height)


def limit_long_edge(pixels_HWC: U8, long_edge: int) -> U8:
    """The pixels with the longer side brought down to ``long_edge`` (Lanczos); smaller pictures as they are."""
    longest = max(pixels_HWC.shape[:2])
    if longest <= long_edge:
        return pixels_HWC.copy()
    return scale(pixels_HWC, long_edge / longest, filter_=Image.Resampling.LANCZOS)


def crop_centre(pixels_HWC: U8, share: float) -> U8:
    """The middle window with this share of both sides, rounded, at least one pixel."""
    height, width = pixels_HWC.shape[:2]
    h, w = max(1, round(share * height)), max(1, round(share * width))
    top, left = (height - h) // 2, (width - w) // 2
    return pixels_HWC[top : top + h, left : left + w].copy()


def blur(pixels_HWC: U8, sigma: float) -> U8:
    """The pixels blurred with ``sigma`` in pixels, as Pillow approximates a Gaussian (three box blurs)."""
    return to_pixels(to_image(pixels_HWC).filter(ImageFilter.GaussianBlur(sigma)))


def take_median(pixels_HWC: U8, side: int) -> U8:
    """The median of ``side`` x ``side`` pixels in each channel."""
    return to_pixels(to_image(pixels_HWC).filter(ImageFilter.MedianFilter(side)))


def add_noise(pixels_HWC: U8, sigma: float, seed: int) -> U8:
    """The pixels with normal noise of ``sigma`` levels, rounded and cut to 0..255."""
    to_image(pixels_HWC)
    noise = np.random.default_rng(seed).standard_normal(pixels_HWC.shape, dtype=np.float32)
    noise *= sigma
    noise += pixels_HWC
    return np.rint(noise).clip(0, 255).astype(np.uint8)


def brighten(pixels_HWC: U8, gamma: float) -> U8:
    """The pixels v as 255 (v / 255)^(1 / gamma): with gamma above 1 the middle tones grow brighter."""
    to_image(pixels_HWC)
    table = np.rint(255 * (np.arange(256) / 255) ** (1 / gamma)).astype(np.uint8)
    brighter_HWC: U8 = table[pixels_HWC]
    return brighter_HWC
