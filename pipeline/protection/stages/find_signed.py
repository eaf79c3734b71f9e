"""Find signed: photos in, the same out; one that carries a signal of the run's bundle already has a note that says so."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch

from pipeline.images.orientation import to_upright
from pipeline.photos.photo import Photo
from pipeline.protection.row import Work
from pipeline.signals.bundle import Bundle
from pipeline.signals.judge import Judge

SIGNED_BEFORE = "it carries a signal of this bundle already: give the original photo; two signals show more and may hide each other"
NOT_LOOKED_AT = "not looked at for a signal: too little memory"
RATE = 0.01
"""At most this share of photos without a signal gets the note, or the least that the bundle's held-out people can vouch for."""


class FindSigned:
    """A callable stage before ``then``: the detector of a bundle looks at each photo. One is made per process."""

    def __init__(self, bundle: Bundle, then: Callable[[Sequence[Work]], list[Work]], *, threads: int) -> None:
        torch.set_num_threads(threads)
        self._judge, self._then = Judge.from_bundle(bundle), then
        rate = max(RATE, bundle.least_rate)
        self._limits = {grey: bundle.thresholds(rate, grey=grey).carries for grey in (False, True)}

    def __call__(self, works: Sequence[Work]) -> list[Work]:
        """The works of the next stage, with the note."""
        return self._then([self._look(work, work.photo) if work.photo else work for work in works])

    def _look(self, work: Work, photo: Photo) -> Work:
        try:
            judgement = self._judge([to_upright(photo.pixels_HWC, photo.orientation)])
        except MemoryError:
            return dataclasses.replace(work, notes=(*work.notes, NOT_LOOKED_AT))
        limit = self._limits[judgement.grey_B[0]]
        if limit is None or not float(judgement.likeness_B[0]) > limit:
            return work
        return dataclasses.replace(work, notes=(*work.notes, SIGNED_BEFORE))
