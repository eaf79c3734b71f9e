"""What a detector says of a batch of pictures. Without torch, for whoever only decides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.images.types import F32, F64


@dataclass(frozen=True)
class Judgement:
    """Of each picture of a batch: the probability that it is manipulated, how like its signal is, and where it was changed.

    ``likeness_B`` is how well the signals fit what was recovered, in their place, in standard deviations of how they fit elsewhere
    (`pipeline.signals.search.Place`); -1 for a set without signals. ``fit_B`` says how well the mixture found is the one that the
    picture's own tints and the secret ask for: 1 as signed, around 0 by chance; NaN without the secret. ``changed_BHW`` is the
    probability of a change in each of (S / 2) x (S / 2) places.
    """

    manipulated_B: F64
    likeness_B: F32
    fit_B: F32
    changed_BHW: F32
    grey_B: tuple[bool, ...]

    def suspicion(self, carries: float | None) -> F64:
        """One score for manipulated pictures and those that lost their signal: 1 below the likeness ``carries``, (B,)."""
        return self.manipulated_B if carries is None else np.where(self.likeness_B > carries, self.manipulated_B, 1.0)
