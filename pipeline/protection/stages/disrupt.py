"""Protect: decoded photos in, protected 8-bit pixels and their measured effect out. Holds the generators.

Only the regions that the generators see become floating point; they are cut out of the photo's 8-bit pixels and pasted back. Boxes
that overlap, such as the faces of two people, lie in one region: one perturbation breaks what each of them shows.

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
from pipeline.generators.generator import Generator
from pipeline.generators.zoo import load_generator
from pipeline.images.effect import breakage, l1, l2
from pipeline.images.levels import level_to_unit, unit_to_pixels
from pipeline.images.resize import pixels_to_tensor
from pipeline.jobs.doctor import check_gpu
from pipeline.jobs.options import SHIPPED
from pipeline.ledger.schema import ManifestRow
from pipeline.photos.ball import project_levels
from pipeline.photos.encode import encode_photo, read_back
from pipeline.photos.photo import U8, Photo, PhotoRefusedError
from pipeline.protection.options import ProtectConfig
from pipeline.protection.row import Effect, Measured, Work, effect_of
from pipeline.protection.stages.read import end
from pipeline.protection.stages.shown import Patch, Shown, batch_view, batches, jittered_view, pad, patches_of, show
from pipeline.protection.stages.sign import Signer


def load_generators(config: ProtectConfig) -> list[Generator]:
    """The generators of a run on the CPU, with the chosen classes only; raises ValueError with the fix for a wrong name."""
    given = config.weights or (SHIPPED,) * len(config.generator)
    weights = [None if path == SHIPPED else path for path in given]
    generators = [load_generator(name, weights=path) for name, path in zip(config.generator, weights, strict=True)]
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
        self._most = config.batch_size if config.compute.on_gpu else 1

    def __call__(self, works: Sequence[Work]) -> list[Work]:
        """The same inputs in the same order; pixels and effect are added, the decoded photo is dropped."""
        done: dict[str, Work] = {}
        shown: list[Shown] = []
        for work in works:
            if work.photo is not None:
                try:
                    shown.append(show(work, work.photo, self._config.region or "square", jitter=self._config.jitter))
                except PhotoRefusedError as refusal:
                    done[work.ref.key] = _skip(work, str(refusal))
        for batch in batches(shown, most=self._most):
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
        files = [photo.pixels_HWC.copy() for photo in photos]
        for patches in patches_of(batch, most=self._most):
            parts = [patch.region.cut(photos[patch.photo].pixels_HWC) for patch in patches]
            y_BCHW = self._disrupt(pad(parts).to(self._device), patches)
            for patch, part, y_CHW in zip(patches, parts, y_BCHW, strict=True):
                patch.region.cut(files[patch.photo])[:] = self._as_levels(part, y_CHW)
        written = [self._as_file(*one) for one in zip(photos, files, strict=True)]
        effects = self._effects(batch, photos, [pixels_HWC for pixels_HWC, _ in written])
        seconds = (time.perf_counter() - began) / len(batch)
        return [
            dataclasses.replace(one.work, photo=None, pixels_HWC=px, encoded=encoded, seconds=seconds, effect=effect)
            for one, (px, encoded), effect in zip(batch, written, effects, strict=True)
        ]

    def _add_signal(self, photo: Photo, key: str) -> Photo:
        return photo if self._signer is None else dataclasses.replace(photo, pixels_HWC=self._signer(photo, key))

    def _disrupt(self, x_BCHW: Tensor, patches: list[Patch]) -> Tensor:
        """The padded regions (B, C, H, W), disrupted within the levels that the signal leaves."""
        regions, keys, seed = [patch.region for patch in patches], [patch.key for patch in patches], self._config.seed
        sizes = [region.stored_size for region in regions]
        values = torch.tensor([x_BCHW.shape[1] * h * w for h, w in sizes], device=self._device)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._config.precision == "bf16"):
            return disrupt(
                x_BCHW,
                self._targets(patches),
                self._recipe,
                epsilon=level_to_unit(float(self._epsilon)),
                streams=streams_for(keys, seed, stored_sizes=sizes, corners=[region.corner for region in regions]),
                reference=self._reference,
                values=values[:, None, None, None],
            )

    def _as_levels(self, part_HWC: U8, y_CHW: Tensor) -> U8:
        """A disrupted region as pixels within the ball around the region of the photo."""
        height, width = part_HWC.shape[:2]
        levels_HWC = unit_to_pixels(y_CHW[:, :height, :width]).permute(1, 2, 0).cpu().numpy()
        if not np.isfinite(levels_HWC).all():
            raise _UnusableError("the generator's gradient is not a number for this photo")
        return project_levels(levels_HWC, part_HWC, self._epsilon)

    def _as_file(self, photo: Photo, pixels_HWC: U8) -> tuple[U8, bytes | None]:
        """The pixels that a reader of the file will see, and the file itself where only it can tell (JPEG)."""
        if self._config.lossless():
            return pixels_HWC, None
        encoded = encode_photo(photo, pixels_HWC, format=self._config.format, jpeg_quality=self._config.jpeg_quality)
        return read_back(encoded, photo, pixels_HWC, format=self._config.format).pixels_HWC, encoded

    def _targets(self, patches: list[Patch]) -> list[Target]:
        """One for each generator and each box of the regions."""
        layer, regions = self._recipe.layer, [patch.region for patch in patches]
        targets = []
        for which in range(len(regions[0].numbers)):
            drawn_TBV = self._draw_crops(patches, which) if self._config.jitter else ()
            for generator in self._generators:
                view = batch_view(regions, generator.size, which)
                names = generator.select_classes(self._config.classes)
                outputs = {name: generator.features(name, layer) if layer else generator.output(name) for name in names}
                targets.append(Target(view, outputs, tuple(jittered_view(view, drawn_BV) for drawn_BV in drawn_TBV)))
        return targets

    def _draw_crops(self, patches: list[Patch], which: int) -> list[list[list[float]]]:
        """For each step and region the numbers of another crop, drawn for each photo by its key."""
        keys = [f"{patch.key}\0crop {which}" for patch in patches]
        drawn_BTV = torch.stack([stream.uniform((self._recipe.steps, 3)) for stream in streams_for(keys, self._config.seed)])
        drawn_TBV: list[list[list[float]]] = drawn_BTV.transpose(0, 1).tolist()
        return drawn_TBV

    def _effects(self, batch: list[Shown], photos: list[Photo], files: list[U8]) -> list[Effect]:
        """What is measured of each photo, on the pixels of its file; of a class, where it breaks least."""
        measured: list[dict[int, list[Measured]]] = [{} for _ in batch]
        for patches in patches_of(batch, most=self._most):
            sides = ([one.photo.pixels_HWC for one in batch], files)
            x_BCHW, protected_BCHW = (pad([p.region.cut(side[p.photo]) for p in patches]).to(self._device) for side in sides)
            for which in range(len(patches[0].region.numbers)):
                per_class = self._measure(x_BCHW, protected_BCHW, [patch.region for patch in patches], which)
                for b, patch in enumerate(patches):
                    measured[patch.photo][patch.region.numbers[which]] = [one[b] for one in per_class]
        moved = [
            any(not np.array_equal(region.cut(photo.pixels_HWC), region.cut(file)) for region in one.regions)
            for one, photo, file in zip(batch, photos, files, strict=True)
        ]
        return [
            effect_of(self._class_names(), [boxes[number] for number in sorted(boxes)], moved=has_moved)
            for boxes, has_moved in zip(measured, moved, strict=True)
        ]

    def _class_names(self) -> list[str]:
        named = [
            (generator.name, name) for generator in self._generators for name in generator.select_classes(self._config.classes)
        ]
        return [name if len(self._generators) == 1 else f"{generator}/{name}" for generator, name in named]

    @torch.no_grad()
    def _measure(self, x_BCHW: Tensor, protected_BCHW: Tensor, regions: list[Region], which: int) -> list[list[Measured]]:
        """For each class and region, each generator's output on a box of the file against that on the photo, always in fp32."""
        per_class = []
        for generator in self._generators:
            view = batch_view(regions, generator.size, which)
            seen, seen_protected = view(x_BCHW), view(protected_BCHW)
            for class_name in generator.select_classes(self._config.classes):
                clean = generator(seen, class_name)
                if not clean.isfinite().all():
                    raise _UnusableError(f"{generator.name} gives values that are not numbers for class {class_name}")
                disrupted = generator(seen_protected, class_name)
                d_BCHW = (disrupted - clean).double()
                broken = breakage(disrupted, clean, seen)
                columns = (l1(d_BCHW), l2(d_BCHW), broken.levelled, broken.local, broken.ssim, broken.edit)
                per_class.append([Measured(*values) for values in zip(*(one.tolist() for one in columns), strict=True)])
        return per_class


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
