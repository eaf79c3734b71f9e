"""Protect: decoded photos in, protected 8-bit pixels and their measured effect out. Holds the generators.

With signals there are two photos: the original, against which the effect is measured, and the one that carries its signal, around
which the disruption gets what the signal leaves of epsilon. Whole levels add up, so the file is within epsilon of the original.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.disruption.disrupt import Target, disrupt
from pipeline.disruption.objectives import REFERENCES, Reference, image_reference
from pipeline.disruption.streams import streams_for
from pipeline.disruption.view import BatchView, View, region_box
from pipeline.generators.generator import Generator
from pipeline.generators.zoo import load_generator
from pipeline.images.effect import l1, l2
from pipeline.images.levels import level_to_unit, unit_to_pixels
from pipeline.images.orientation import upright_size
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

    def __call__(self, works: Sequence[Work]) -> list[Work]:
        """The same inputs in the same order; pixels and effect are added, the decoded photo is dropped."""
        done: dict[str, Work] = {}
        for batch in self._batches(works):
            for work in self._protect_or_end(batch):
                done[work.ref.key] = work
        return [done.get(work.ref.key, work) for work in works]

    def _batches(self, works: Sequence[Work]) -> Iterator[list[Work]]:
        """Open inputs in groups of one number of channels; single ones on the CPU, where a batch saves nothing."""
        size = self._config.batch_size if self._config.compute.on_gpu else 1
        for channels in (1, 3):
            fitting = [w for w in works if w.photo is not None and w.photo.pixels_HWC.shape[2] == channels]
            fitting.sort(key=lambda w: (w.photo.height * w.photo.width if w.photo else 0, w.ref.key))
            yield from (fitting[i : i + size] for i in range(0, len(fitting), size))

    def _protect_or_end(self, batch: list[Work]) -> list[Work]:
        try:
            return self._protect(batch)
        except (torch.OutOfMemoryError, MemoryError):
            if len(batch) > 1:
                return [work for single in batch for work in self._protect_or_end([single])]
            reason = f"not enough memory on {self._device} to protect a photo of this size"
            return [_fail(batch[0], reason)]
        except (_UnusableError, PhotoRefusedError) as error:
            if len(batch) > 1:
                return [work for single in batch for work in self._protect_or_end([single])]
            return [_skip(batch[0], str(error)) if isinstance(error, PhotoRefusedError) else _fail(batch[0], str(error))]

    def _protect(self, batch: list[Work]) -> list[Work]:
        began = time.perf_counter()
        originals = [work.photo for work in batch if work.photo is not None]
        photos = [self._add_signal(photo, work.ref.key) for photo, work in zip(originals, batch, strict=True)]
        sizes = [(photo.height, photo.width) for photo in photos]
        x_BCHW = _pad(photos).to(self._device)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._config.precision == "bf16"):
            targets = self._targets(batch, photos)
            y_BCHW = disrupt(
                x_BCHW,
                targets,
                self._recipe,
                epsilon=level_to_unit(float(self._epsilon)),
                streams=streams_for([work.ref.key for work in batch], self._config.seed, stored_sizes=sizes),
                reference=self._reference,
                values=torch.tensor([photo.pixels_HWC.size for photo in photos], device=self._device)[:, None, None, None],
            )
        files = [self._as_file(photo, y_BCHW[i]) for i, photo in enumerate(photos)]
        protected_BCHW = _pad([dataclasses.replace(p, pixels_HWC=px) for p, (px, _) in zip(photos, files, strict=True)])
        moved = [not np.array_equal(px, photo.pixels_HWC) for photo, (px, _) in zip(photos, files, strict=True)]
        original_BCHW = _pad(originals).to(self._device) if self._signer else x_BCHW
        effects = self._measure(original_BCHW, protected_BCHW.to(self._device), batch, photos, moved)
        seconds = (time.perf_counter() - began) / len(batch)
        return [
            dataclasses.replace(work, photo=None, pixels_HWC=px, encoded=encoded, seconds=seconds, effect=effect)
            for work, (px, encoded), effect in zip(batch, files, effects, strict=True)
        ]

    def _add_signal(self, photo: Photo, key: str) -> Photo:
        return photo if self._signer is None else dataclasses.replace(photo, pixels_HWC=self._signer(photo, key))

    def _as_file(self, photo: Photo, y_CHW: Tensor) -> tuple[U8, bytes | None]:
        """The pixels that a reader of the file will see, and the file itself where only it can tell (JPEG)."""
        levels = unit_to_pixels(y_CHW[:, : photo.height, : photo.width]).permute(1, 2, 0).cpu().numpy()
        if not np.isfinite(levels).all():
            raise _UnusableError("the generator's gradient is not a number for this photo")
        pixels = project_levels(levels, photo.pixels_HWC, self._epsilon)
        if self._config.lossless():
            return pixels, None
        encoded = encode_photo(photo, pixels, format=self._config.format, jpeg_quality=self._config.jpeg_quality)
        return read_back(encoded, photo, pixels, format=self._config.format).pixels_HWC, encoded

    def _targets(self, batch: list[Work], photos: list[Photo]) -> list[Target]:
        layer = self._recipe.layer
        return [
            Target(
                view=self._view(batch, photos, generator.size),
                outputs={
                    name: generator.features(name, layer) if layer else generator.output(name)
                    for name in generator.select_classes(self._config.classes)
                },
            )
            for generator in self._generators
        ]

    def _view(self, batch: list[Work], photos: list[Photo], size: int) -> BatchView:
        views = [view_of(photo, self._config.region, work.ref.box, size) for work, photo in zip(batch, photos, strict=True)]
        return BatchView(tuple(views), tuple((photo.height, photo.width) for photo in photos))

    @torch.no_grad()
    def _measure(
        self, x_BCHW: Tensor, protected_BCHW: Tensor, batch: list[Work], photos: list[Photo], moved: list[bool]
    ) -> list[Effect]:
        """L1 and L2 of each generator's output on the file against its output on the photo, always in fp32."""
        names: list[str] = []
        l1_KB, l2_KB = [], []
        for generator in self._generators:
            view = self._view(batch, photos, generator.size)
            seen, seen_protected = view(x_BCHW), view(protected_BCHW)
            for class_name in generator.select_classes(self._config.classes):
                clean = generator(seen, class_name)
                if not clean.isfinite().all():
                    raise _UnusableError(f"{generator.name} gives values that are not numbers for class {class_name}")
                d_BCHW = (generator(seen_protected, class_name) - clean).double()
                names.append(class_name if len(self._generators) == 1 else f"{generator.name}/{class_name}")
                l1_KB.append(l1(d_BCHW).cpu())
                l2_KB.append(l2(d_BCHW).cpu())
        return [
            Effect(names, [float(v[b]) for v in l1_KB], [float(v[b]) for v in l2_KB], moved=moved[b]) for b in range(len(batch))
        ]


class _UnusableError(ValueError):
    """The generator cannot be used on this photo."""


def view_of(photo: Photo, region: str, box: tuple[int, int, int, int] | None, size: int) -> View:
    """What a generator of native side ``size`` sees of a photo; raises PhotoRefusedError for a box that does not fit."""
    width, height = upright_size(photo.width, photo.height, photo.orientation)
    try:
        return View(region_box(region, width, height, box), photo.orientation, size)
    except ValueError as error:
        raise PhotoRefusedError(str(error)) from error


def _pad(photos: Sequence[Photo]) -> Tensor:
    """A batch (B, C, H, W) in [-1, 1], smaller photos padded with mid-grey at the right and bottom."""
    height, width = max(p.height for p in photos), max(p.width for p in photos)
    x_BCHW = torch.zeros(len(photos), photos[0].pixels_HWC.shape[2], height, width)
    for i, photo in enumerate(photos):
        x_BCHW[i, :, : photo.height, : photo.width] = pixels_to_tensor(photo.pixels_HWC)[0]
    return x_BCHW


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
