"""Protect: decoded photos in, protected 8-bit pixels and their measured effect out. Holds the generators.

Only the region that the generators see becomes floating point; it is cut out of the photo's 8-bit pixels and pasted back.

With signals there are two photos: the original, against which the effect is measured, and the one that carries its signal, around
which the disruption gets what the signal leaves of epsilon. Whole levels add up, so the file is within epsilon of the original.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.disruption.disrupt import Target, disrupt
from pipeline.disruption.objectives import REFERENCES, Reference, image_reference
from pipeline.disruption.streams import streams_for
from pipeline.disruption.until import Weakest
from pipeline.disruption.view import Region
from pipeline.generators import zoo
from pipeline.generators.generator import Generator
from pipeline.images import THRESHOLD
from pipeline.images.levels import level_to_unit, unit_to_pixels
from pipeline.images.resize import pixels_to_tensor
from pipeline.jobs.doctor import check_gpu
from pipeline.jobs.options import SHIPPED
from pipeline.ledger.schema import ManifestRow
from pipeline.photos.ball import project_levels
from pipeline.photos.encode import encode_photo, read_back
from pipeline.photos.photo import U8, Photo, PhotoRefusedError
from pipeline.protection.options import ProtectConfig
from pipeline.protection.row import Work
from pipeline.protection.stages.measure import Clean, UnusableError, effects, look
from pipeline.protection.stages.read import end
from pipeline.protection.stages.shown import Shown, batch_view, batches, pad, photo_region
from pipeline.protection.stages.sign import Signer


def load_generators(config: ProtectConfig) -> list[Generator]:
    """The generators of a run on the CPU, with the chosen classes only; raises ValueError with the fix for a wrong name."""
    generators = zoo.load_generators(config.generator, config.weights, shipped=SHIPPED)
    for generator in generators:
        chosen = generator.select_classes(config.classes)
        if config.resolved_recipe().layer:
            generator.features(chosen[0], config.resolved_recipe().layer)
    return generators


class Protect:
    """A callable stage: photos -> protected photos. One is made per process; ``threads`` are its CPU threads.

    ``signer`` adds a signal to each photo first.
    """

    def __init__(self, config: ProtectConfig, *, threads: int, signer: Signer | None = None) -> None:
        torch.set_num_threads(threads)
        check_gpu(config.compute)
        self._config = config
        self._signer = signer
        self._epsilon = config.epsilon - (signer.levels if signer else 0)
        self._device = torch.device(config.compute.device)
        self._generators = [generator.to(self._device) for generator in load_generators(config)]
        self._recipe = config.resolved_recipe()
        self._reference = _reference(self._recipe.reference)

    def __call__(self, works: Sequence[Work]) -> list[Work]:
        """The same inputs in the same order; pixels and effect are added, the decoded photo is dropped."""
        done: dict[str, Work] = {}
        shown: list[Shown] = []
        for work in works:
            if work.photo is not None:
                try:
                    shown.append(Shown(work, work.photo, photo_region(work.photo, self._config.region, work.ref.box)))
                except PhotoRefusedError as refusal:
                    done[work.ref.key] = _skip(work, str(refusal))
        for batch in batches(shown, most=self._config.batch_size if self._config.compute.on_gpu else 1):
            for work in self._protect_or_end(batch):
                done[work.ref.key] = work
        return [done.get(work.ref.key, work) for work in works]

    def _protect_or_end(self, batch: list[Shown]) -> list[Work]:
        try:
            return self._protect(batch)
        except (torch.OutOfMemoryError, MemoryError):
            if len(batch) > 1:
                return [work for single in batch for work in self._protect_or_end([single])]
            reason = f"not enough memory on {self._device} to protect a photo of this size"
            return [_fail(batch[0].work, reason)]
        except (UnusableError, PhotoRefusedError) as error:
            if len(batch) > 1:
                return [work for single in batch for work in self._protect_or_end([single])]
            work = batch[0].work
            return [_skip(work, str(error)) if isinstance(error, PhotoRefusedError) else _fail(work, str(error))]

    def _protect(self, batch: list[Shown]) -> list[Work]:
        began = time.perf_counter()
        photos = [self._add_signal(one.photo, one.work.ref.key) for one in batch]
        regions = [one.region for one in batch]
        parts = [region.cut(photo.pixels_HWC) for region, photo in zip(regions, photos, strict=True)]
        originals = [region.cut(one.photo.pixels_HWC) for region, one in zip(regions, batch, strict=True)]
        clean = look(self._generators, self._config.classes, pad(originals).to(self._device), regions)
        works = [one.work for one in batch]

        def make_files(rows_N: Tensor, y_NCHW: Tensor, steps: int) -> Tensor:
            """Make the files of these photos of the batch and measure them: the least L2 of each (N,). Later files replace them."""
            rows = rows_N.tolist()
            files = [self._as_file(photos[b], regions[b], y_CHW) for b, y_CHW in zip(rows, y_NCHW, strict=True)]
            written = [regions[b].cut(pixels_HWC) for b, (pixels_HWC, _) in zip(rows, files, strict=True)]
            moved = [not np.array_equal(parts[b], part) for b, part in zip(rows, written, strict=True)]
            found = effects(clean, rows, pad(written).to(self._device), [regions[b] for b in rows], moved)
            for b, (px, encoded), effect in zip(rows, files, found, strict=True):
                works[b] = dataclasses.replace(works[b], photo=None, pixels_HWC=px, encoded=encoded, effect=effect, steps=steps)
            return torch.tensor([min(effect.l2) for effect in found], dtype=torch.float64)

        y_BCHW = self._disrupt(parts, [one.work.ref.key for one in batch], regions, clean, make_files)
        last = torch.tensor([b for b, work in enumerate(works) if not self._past(work)], dtype=torch.long)
        if len(last):
            make_files(last, y_BCHW[last], self._recipe.steps)
        seconds = (time.perf_counter() - began) / len(batch)
        return [dataclasses.replace(work, seconds=seconds) for work in works]

    def _past(self, work: Work) -> bool:
        """Whether a photo's file is as broken as ``until`` asks, so that it left the ascent."""
        until = self._recipe.until
        return until is not None and work.effect is not None and min(work.effect.l2) >= until * THRESHOLD

    def _add_signal(self, photo: Photo, key: str) -> Photo:
        return photo if self._signer is None else dataclasses.replace(photo, pixels_HWC=self._signer(photo, key))

    def _disrupt(self, parts: list[U8], keys: list[str], regions: list[Region], clean: list[Clean], make_files: Weakest) -> Tensor:
        """The padded regions (B, C, H, W), disrupted within the levels that the signal leaves."""
        sizes = [region.stored_size for region in regions]
        x_BCHW = pad(parts).to(self._device)
        values = torch.tensor([x_BCHW.shape[1] * h * w for h, w in sizes], device=self._device)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._config.precision == "bf16"):
            return disrupt(
                x_BCHW,
                [self._target(one, regions) for one in clean],
                self._recipe,
                epsilon=level_to_unit(float(self._epsilon)),
                streams=streams_for(keys, self._config.seed, stored_sizes=sizes, corners=[region.corner for region in regions]),
                reference=self._reference,
                values=values[:, None, None, None],
                weakest=make_files,
            )

    def _as_file(self, photo: Photo, region: Region, y_CHW: Tensor) -> tuple[U8, bytes | None]:
        """The pixels that a reader of the file will see, and the file itself where only it can tell (JPEG)."""
        height, width = region.stored_size
        levels = unit_to_pixels(y_CHW[:, :height, :width]).permute(1, 2, 0).cpu().numpy()
        if not np.isfinite(levels).all():
            raise UnusableError("the generator's gradient is not a number for this photo")
        pixels = region.paste(project_levels(levels, region.cut(photo.pixels_HWC), self._epsilon), photo.pixels_HWC)
        if self._config.lossless():
            return pixels, None
        encoded = encode_photo(photo, pixels, format=self._config.format, jpeg_quality=self._config.jpeg_quality)
        return read_back(encoded, photo, pixels, format=self._config.format).pixels_HWC, encoded

    def _target(self, clean: Clean, regions: list[Region]) -> Target:
        """A generator to break: its outputs, of which the untouched ones are known, or the activations of a layer."""
        generator, layer, view = clean.generator, self._recipe.layer, batch_view(regions, clean.generator.size)
        if layer:
            return Target(view, {name: generator.features(name, layer) for name in clean.classes})
        return Target(view, {name: generator.output(name) for name in clean.classes}, clean.by_class())


def _reference(name: str) -> Reference:
    if name in REFERENCES:
        return REFERENCES[name]
    with Image.open(name) as image:
        return image_reference(pixels_to_tensor(np.asarray(image.convert("RGB")))[0])


def _fail(work: Work, reason: str) -> Work:
    row = ManifestRow.failed(work.ref.key, stage="protect", reason=reason, bytes_in=len(work.data or b""))
    return end(work, row, data=work.data)


def _skip(work: Work, reason: str) -> Work:
    row = ManifestRow.skipped(work.ref.key, stage="protect", reason=reason, bytes_in=len(work.data or b""))
    return end(work, row, data=work.data)
