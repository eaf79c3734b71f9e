"""Differentiable transforms between the photo and the generator: the blurs of [R20] section 3.5."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from pipeline.images.blur import box_blur, gaussian_blur

Transform = Callable[[Tensor], Tensor]


BLURS: dict[str, Transform] = {
    **{f"gaussian-{sigma}": partial(gaussian_blur, sigma=sigma) for sigma in (1.0, 1.5, 2.0, 2.5, 3.0)},
    **{f"box-{k}": partial(box_blur, k=k) for k in (3, 5, 7, 9)},
}
"""The spread of [R20]: Gaussian k = 11 with five widths, box with four."""
