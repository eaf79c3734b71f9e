"""Which sides of images a net can take."""

from __future__ import annotations

from pipeline.training.errors import TrainError


def checked_side(side: int, *, multiple: int, least: int) -> int:
    """``side`` itself; raises TrainError unless it is a multiple of ``multiple`` and at least ``least`` pixels."""
    if side >= least and side % multiple == 0:
        return side
    least = -(-least // multiple) * multiple
    nearest = max(round(side / multiple) * multiple, least)
    raise TrainError(
        f"the side of the images must be a multiple of {multiple} and at least {least} pixels, not {side}; take {nearest}"
    )
