"""Boxes in a picture: fitted into it, grown, moved at random, and joined where they overlap. Plain whole numbers, without torch."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.images.types import Box

JITTER = 0.1
"""How far a jittered box lies from the exact one at most: in each direction, and in size, as a share of its side."""
REACH = JITTER + JITTER / 2
"""How far an edge of a jittered box lies from that of the exact one at most, as a share of the side."""


def region_box(region: str, width: int, height: int, box: tuple[float, float, float, float] | None) -> Box:
    """The box, in pixels of the upright photo, that ``region`` means for a photo of this size.

    ``whole`` is the photo, ``square`` its largest centred square, ``box`` the photo's own ``box``. Raises ValueError for
    a box that is missing, empty or outside the photo. A box with no number above 1 is in shares of width and height.
    """
    if region == "whole":
        return (0, 0, width, height)
    if region == "square":
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        return (left, top, left + side, top + side)
    if box is None:
        raise ValueError("region 'box' needs the columns left, top, right, bottom in the table of photos")
    scale = (width, height, width, height) if max(box) <= 1 else (1, 1, 1, 1)
    left, top, right, bottom = (round(number * unit) for number, unit in zip(box, scale, strict=True))
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise ValueError(f"box {box} is not inside the upright photo of {width}x{height}")
    return left, top, right, bottom


def fit_box(centre: tuple[float, float], sides: tuple[float, float], size: tuple[int, int]) -> Box:
    """The box of these sides around a centre, in a picture of this (width, height): cut to its sides, then moved inside it."""
    (left, right), (top, bottom) = (_fit(*one) for one in zip(centre, sides, size, strict=True))
    return left, top, right, bottom


def _fit(centre: float, side: float, size: int) -> tuple[int, int]:
    whole = min(max(round(side), 1), size)
    start = min(max(round(centre - whole / 2), 0), size - whole)
    return start, start + whole


def jitter_box(box: Box, drawn: Sequence[float], size: tuple[int, int]) -> Box:
    """The box moved across and down and resized by three numbers from -1 to 1, each times `JITTER`; inside the picture."""
    left, top, right, bottom = box
    across, down, larger = (JITTER * float(value) for value in drawn)
    width, height = right - left, bottom - top
    centre = (left + right) / 2 + across * width, (top + bottom) / 2 + down * height
    return fit_box(centre, (width * (1 + larger), height * (1 + larger)), size)


def grow_box(box: Box, share: float, size: tuple[int, int]) -> Box:
    """The box with ``share`` of its sides, and the pixel of a rounding, more on each side, as far as the picture goes."""
    left, top, right, bottom = box
    if share == 0:
        return box
    more_x, more_y = (round(share * side) + 2 for side in (right - left, bottom - top))
    return max(left - more_x, 0), max(top - more_y, 0), min(right + more_x, size[0]), min(bottom + more_y, size[1])


def join_boxes(boxes: Sequence[Box]) -> list[tuple[Box, tuple[int, ...]]]:
    """Rectangles that do not overlap and together hold all boxes, each with the numbers of the boxes inside it."""
    joined: list[tuple[Box, tuple[int, ...]]] = []
    for number, box in enumerate(boxes):
        hull: Box = box
        numbers: tuple[int, ...] = (number,)
        while touching := [one for one in joined if overlap(one[0], hull)]:
            joined = [one for one in joined if one not in touching]
            corners = list(zip(hull, *(one[0] for one in touching), strict=True))
            hull = (min(corners[0]), min(corners[1]), max(corners[2]), max(corners[3]))
            numbers += tuple(number for one in touching for number in one[1])
        joined.append((hull, tuple(sorted(numbers))))
    return sorted(joined, key=lambda one: one[1])


def overlap(a: Box, b: Box) -> bool:
    """Whether two boxes share a pixel."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
