"""Types of arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
"""Pixels as files hold them, (H, W, 3 or 1), unless a name says another shape."""
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels; right and bottom are outside."""
