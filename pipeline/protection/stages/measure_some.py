"""Measure a share of the files that were changed unseen: what generators make of these and of their photos.

The share is chosen by a hash of the names, so that it is the same on any machine and in any order.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Sequence

import torch

from pipeline.generators.generator import Generator
from pipeline.jobs.doctor import check_gpu
from pipeline.ledger.schema import ManifestRow
from pipeline.photos.encode import encode_photo, read_back
from pipeline.photos.photo import U8, Photo, PhotoRefusedError
from pipeline.protection.options import ProtectConfig
from pipeline.protection.row import Measured, Work, effect_of
from pipeline.protection.stages.disrupt import load_generators
from pipeline.protection.stages.measure import UnusableError, look, measure
from pipeline.protection.stages.read import end
from pipeline.protection.stages.shown import pad, photo_regions


class MeasureSome:
    """A callable stage: photos -> photos as ``change`` changes them, of which a share has a measured effect.

    Holds the ``generators``, those of a disruption or its own.
    """

    def __init__(
        self,
        config: ProtectConfig,
        change: Callable[[Sequence[Work]], list[Work]],
        generators: Sequence[Generator] | None = None,
    ) -> None:
        torch.set_num_threads(config.compute.threads)
        check_gpu(config.compute)
        self._config, self._change = config, change
        self._device = torch.device(config.compute.device)
        self._generators = generators or [generator.to(self._device) for generator in load_generators(config)]

    def __call__(self, works: Sequence[Work]) -> list[Work]:
        """The same inputs in the same order; pixels are added, and to some of them what they do."""
        share = self._config.measured_share()
        return [
            self._measure_or_end(work, work.photo, work.pixels_HWC)
            if work.photo is not None and work.pixels_HWC is not None and is_measured(work.key, share)
            else work
            for work in self._change(works)
        ]

    def _measure_or_end(self, work: Work, photo: Photo, pixels_HWC: U8) -> Work:
        began = time.perf_counter()
        try:
            measured = self._measure(work, photo, pixels_HWC)
        except (UnusableError, PhotoRefusedError) as error:
            return _fail(work, str(error))
        except (MemoryError, torch.OutOfMemoryError):
            return _fail(work, f"not enough memory on {self._device} to measure a photo of this size")
        return dataclasses.replace(measured, seconds=work.seconds + time.perf_counter() - began)

    def _measure(self, work: Work, photo: Photo, pixels_HWC: U8) -> Work:
        config, encoded = self._config, work.encoded
        if encoded is None and not config.lossless():
            encoded = encode_photo(photo, pixels_HWC, format=config.format, jpeg_quality=config.jpeg_quality)
            pixels_HWC = read_back(encoded, photo, pixels_HWC, format=config.format).pixels_HWC
        found: dict[int, list[Measured]] = {}
        labels: list[str] = []
        for region in photo_regions(photo, work.boxes):
            before, after = (pad([region.cut(pixels)]).to(self._device) for pixels in (photo.pixels_HWC, pixels_HWC))
            clean = look(self._generators, config.classes, before, [region], identity=config.identity)
            labels = [label for one in clean if one.which == 0 for label in one.labels]
            found.update(zip(region.numbers, measure(clean, [0], after, [region])[0], strict=True))
        moved = bool((pixels_HWC != photo.pixels_HWC).any())
        effect = effect_of(labels, [found[number] for number in sorted(found)], moved=moved)
        return dataclasses.replace(work, encoded=encoded, effect=effect)


def _fail(work: Work, reason: str) -> Work:
    row = ManifestRow.failed(work.key, stage="protect", reason=reason, bytes_in=len(work.data or b""))
    return end(work, row, data=work.data)


def is_measured(key: str, share: float) -> bool:
    """Whether a photo is in the share (0 to 1) that is measured."""
    digest = hashlib.sha256(f"measured\0{key}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64
