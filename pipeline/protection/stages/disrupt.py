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
from pipeline.disruption.view import Region
from pipeline.generators import zoo
from pipeline.generators.generator import Generator
from pipeline.images.effect import Breakage, breakage, l1, l2
from pipeline.images.levels import level_to_unit, unit_to_pixels
from pipeline.images.resize import pixels_to_tensor
from pipeline.jobs.doctor import check_gpu
from pipeline.jobs.options import SHIPPED
from pipeline.ledger.schema import ManifestRow
from pipeline.photos.ball import project_levels
from pipeline.photos.encode import encode_photo, read_back
from pipeline.photos.photo import U8, Photo, PhotoRefusedError
from pipeline.protection.options import ProtectConfig
from pipeline.protection.row import Effect, Work
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
        except (_UnusableError, PhotoRefusedError) as error:
            if len(batch) > 1:
                return [work for single in batch for work in self._protect_or_end([single])]
            work = batch[0].work
            return [_skip(work, str(error)) if isinstance(error, PhotoRefusedError) else _fail(work, str(error))]

    def _protect(self, batch: list[Shown]) -> list[Work]:
        began = time.perf_counter()
        photos = [self._add_signal(one.photo, one.work.ref.key) for one in batch]
        regions = [one.region for one in batch]
        parts = [region.cut(photo.pixels_HWC) for region, photo in zip(regions, photos, strict=True)]
        y_BCHW = self._disrupt(pad(parts).to(self._device), [one.work.ref.key for one in batch], regions)
        files = [self._as_file(*one, y_BCHW[i]) for i, one in enumerate(zip(photos, regions, strict=True))]
        del y_BCHW
        written = [region.cut(pixels_HWC) for region, (pixels_HWC, _) in zip(regions, files, strict=True)]
        moved = [not np.array_equal(*pair) for pair in zip(parts, written, strict=True)]
        originals = [one.region.cut(one.photo.pixels_HWC) for one in batch]
        effects = self._measure(pad(originals).to(self._device), pad(written).to(self._device), regions, moved)
        seconds = (time.perf_counter() - began) / len(batch)
        return [
            dataclasses.replace(one.work, photo=None, pixels_HWC=px, encoded=encoded, seconds=seconds, effect=effect)
            for one, (px, encoded), effect in zip(batch, files, effects, strict=True)
        ]

    def _add_signal(self, photo: Photo, key: str) -> Photo:
        return photo if self._signer is None else dataclasses.replace(photo, pixels_HWC=self._signer(photo, key))

    def _disrupt(self, x_BCHW: Tensor, keys: list[str], regions: list[Region]) -> Tensor:
        """The padded regions (B, C, H, W), disrupted within the levels that the signal leaves."""
        sizes = [region.stored_size for region in regions]
        values = torch.tensor([x_BCHW.shape[1] * h * w for h, w in sizes], device=self._device)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._config.precision == "bf16"):
            return disrupt(
                x_BCHW,
                self._targets(regions),
                self._recipe,
                epsilon=level_to_unit(float(self._epsilon)),
                streams=streams_for(keys, self._config.seed, stored_sizes=sizes, corners=[region.corner for region in regions]),
                reference=self._reference,
                values=values[:, None, None, None],
            )

    def _as_file(self, photo: Photo, region: Region, y_CHW: Tensor) -> tuple[U8, bytes | None]:
        """The pixels that a reader of the file will see, and the file itself where only it can tell (JPEG)."""
        height, width = region.stored_size
        levels = unit_to_pixels(y_CHW[:, :height, :width]).permute(1, 2, 0).cpu().numpy()
        if not np.isfinite(levels).all():
            raise _UnusableError("the generator's gradient is not a number for this photo")
        pixels = region.paste(project_levels(levels, region.cut(photo.pixels_HWC), self._epsilon), photo.pixels_HWC)
        if self._config.lossless():
            return pixels, None
        encoded = encode_photo(photo, pixels, format=self._config.format, jpeg_quality=self._config.jpeg_quality)
        return read_back(encoded, photo, pixels, format=self._config.format).pixels_HWC, encoded

    def _targets(self, regions: list[Region]) -> list[Target]:
        layer = self._recipe.layer
        return [
            Target(
                view=batch_view(regions, generator.size),
                outputs={
                    name: generator.features(name, layer) if layer else generator.output(name)
                    for name in generator.select_classes(self._config.classes)
                },
            )
            for generator in self._generators
        ]

    @torch.no_grad()
    def _measure(self, x_BCHW: Tensor, protected_BCHW: Tensor, regions: list[Region], moved: list[bool]) -> list[Effect]:
        """The measures of each generator's output on the file's regions against its output on the photos', always in fp32."""
        names: list[str] = []
        l1_KB, l2_KB = [], []
        breakages: list[Breakage] = []
        for generator in self._generators:
            view = batch_view(regions, generator.size)
            seen, seen_protected = view(x_BCHW), view(protected_BCHW)
            for class_name in generator.select_classes(self._config.classes):
                clean = generator(seen, class_name)
                if not clean.isfinite().all():
                    raise _UnusableError(f"{generator.name} gives values that are not numbers for class {class_name}")
                disrupted = generator(seen_protected, class_name)
                d_BCHW = (disrupted - clean).double()
                names.append(class_name if len(self._generators) == 1 else f"{generator.name}/{class_name}")
                l1_KB.append(l1(d_BCHW).cpu())
                l2_KB.append(l2(d_BCHW).cpu())
                breakages.append(breakage(disrupted, clean, seen))
        return [
            Effect(
                names,
                [float(v[b]) for v in l1_KB],
                [float(v[b]) for v in l2_KB],
                moved=moved[b],
                levelled=[float(one.levelled[b]) for one in breakages],
                local=[float(one.local[b]) for one in breakages],
                ssim=[float(one.ssim[b]) for one in breakages],
                edit=[float(one.edit[b]) for one in breakages],
            )
            for b in range(len(regions))
        ]


class _UnusableError(ValueError):
    """The generator cannot be used on this photo."""


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
