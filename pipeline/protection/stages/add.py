"""Add: decoded photos in, photos with a signal, a universal perturbation or both out; nothing else is done to them.

No network and no torch: the lane of --recipe none.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

from pipeline.ledger.schema import ManifestRow
from pipeline.photos.ball import project_levels
from pipeline.photos.photo import Photo, PhotoRefusedError
from pipeline.photos.visibility import mask_levels
from pipeline.protection.row import Effect, Work
from pipeline.protection.stages.perturb import Perturber
from pipeline.protection.stages.read import choose_boxes, end
from pipeline.protection.stages.sign import Signer


class Add:
    """A callable stage: photos -> photos with what is added.

    ``region`` is where a perturbation goes, ``mask_most`` the most levels of the mask that it is kept within, None without one.
    """

    def __init__(
        self,
        signer: Signer | None,
        perturber: Perturber | None = None,
        *,
        region: str = "square",
        mask_most: int | None = None,
    ) -> None:
        self._signer, self._perturber, self._region, self._mask_most = signer, perturber, region, mask_most

    def __call__(self, works: Sequence[Work]) -> list[Work]:
        """The same inputs in the same order; pixels are added."""
        return [work if work.photo is None else self._add(work, work.photo) for work in works]

    def _add(self, work: Work, photo: Photo) -> Work:
        began, key = time.perf_counter(), work.ref.key
        try:
            pixels_HWC = self._signer(photo) if self._signer else photo.pixels_HWC
            if self._perturber:
                work = work if work.boxes else choose_boxes(work, photo, work.region or self._region)
                perturbed_HWC = self._perturber(pixels_HWC, key, boxes=work.boxes, orientation=photo.orientation)
                if self._mask_most is None:
                    pixels_HWC = perturbed_HWC
                else:
                    mask = mask_levels(photo.pixels_HWC, self._mask_most)
                    moved = (perturbed_HWC != pixels_HWC).any(axis=2)
                    pixels_HWC = project_levels(perturbed_HWC, pixels_HWC, mask)
                    work = dataclasses.replace(work, mask_mean=float(mask[moved].mean()) if moved.any() else None)
        except PhotoRefusedError as refusal:
            row = ManifestRow.skipped(key, stage="protect", reason=str(refusal), bytes_in=len(work.data or b""))
            return end(work, row, data=work.data)
        except MemoryError:
            what = "a perturbation" if self._perturber else "a signal"
            reason = f"not enough memory to add {what} to a photo of this size"
            row = ManifestRow.failed(key, stage="protect", reason=reason, bytes_in=len(work.data or b""))
            return end(work, row, data=work.data)
        effect = Effect((), (), (), moved=bool((pixels_HWC != photo.pixels_HWC).any()))
        return dataclasses.replace(work, pixels_HWC=pixels_HWC, effect=effect, seconds=time.perf_counter() - began)
