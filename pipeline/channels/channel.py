"""A channel as a value, and the error of a name that is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]

Apply = Callable[[U8, int], U8]
"""(pixels (H, W, 3 or 1), seed) -> pixels as they arrive, of the same number of channels; a crop or a preset may change H and W."""


class ChannelError(ValueError):
    """A channel that does not exist, or pixels that none can take; the message says what was expected."""


@dataclass(frozen=True)
class Channel:
    """What happens to a picture between the writing of a file and its use.

    ``apply`` leaves its input alone; equal pixels and seed give equal pixels. ``about`` is one line for a table or a help text.
    """

    name: str
    about: str
    apply: Apply
