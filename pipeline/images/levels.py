"""The one place that converts units: 8-bit levels of files and the [-1, 1] of tensors. Plain arithmetic: NumPy or torch alike."""

from __future__ import annotations

from typing import Any, TypeVar, cast

LEVELS_PER_UNIT = 127.5

A = TypeVar("A")


def level_to_unit(levels: A) -> A:
    """A difference in levels as a difference in [-1, 1] units, such as an epsilon: 6 levels are 0.047."""
    return cast("A", cast("Any", levels) / LEVELS_PER_UNIT)


def unit_to_level(units: A) -> A:
    """A difference in [-1, 1] units as a difference in levels, not rounded: 0.05 is 6.375 levels."""
    return cast("A", cast("Any", units) * LEVELS_PER_UNIT)


def pixels_to_unit(pixels: A) -> A:
    """Pixels 0..255 as values in [-1, 1], same shape.

    A NumPy uint8 array becomes float64 and a torch uint8 tensor the default float; hand in float32 to stay in float32.
    """
    return cast("A", cast("Any", pixels) / LEVELS_PER_UNIT - 1.0)


def unit_to_pixels(values: A) -> A:
    """Values in [-1, 1] as whole levels 0..255, same shape and still floating point: the caller casts to uint8."""
    return cast("A", ((cast("Any", values) + 1.0) * LEVELS_PER_UNIT).round().clip(0, 255))
