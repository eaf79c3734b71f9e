"""Protect: decoded photos in, protected 8-bit pixels and their measured effect out. Holds the generators.

Only the region that the generators see becomes floating point; it is cut out of the photo's 8-bit pixels and pasted back.

With signals there are two photos: the original, against which the effect is measured, and the one that carries its signal, around
which the disruption gets what the signal leaves of epsilon. Whole levels add up, so the file is within epsilon of the original. A
universal perturbation is where the ascent starts, inside the same ball.

Where a share of the photos is measured, nothing is measured here: a later stage does it, and photos that it measures get the same
pixels as all others.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.disruption.disrupt import Target, disrupt
from pipeline.disruption.objectives import REFERENCES, Reference, image_reference
from pipeline.disruption.streams import streams_for
from pipeline.disruption.view import Region
from pipeline.generators import zoo
from pipeline.generators.generator import Generator
from pipeline.images.orientation import to_upright
from pipeline.images.resize import pixels_to_tensor
from pipeline.jobs.doctor import check_gpu
from pipeline.jobs.options import SHIPPED
from pipeline.ledger.schema import ManifestRow
from pipeline.photos.decode import decode_photo
from pipeline.photos.photo import U8, Photo, PhotoRefusedError
from pipeline.photos.visibility import mask_levels
from pipeline.protection.options import ProtectConfig
from pipeline.protection.row import Effect, Work, effect_of
from pipeline.protection.stages.draft import Draft, as_levels
from pipeline.protection.stages.measure import Boxes, Clean, UnusableError, check, look, measure
from pipeline.protection.stages.perturb import Perturber
from pipeline.protection.stages.read import end
from pipeline.protection.stages.shown import (
    Limit,
    Patch,
    Shown,
    batch_view,
    batches,
    jittered_view,
    pad,
    patches_of,
    radius_of,
    show,
)
from pipeline.protection.stages.sign import Signer
from pipeline.protection.stages.strength import Floors, strongest


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

    ``signer`` adds a signal to each photo first, ``perturber`` gives the start of the ascent.
    """

    def __init__(
        self, config: ProtectConfig, *, threads: int, signer: Signer | None = None, perturber: Perturber | None = None
    ) -> None:
        torch.set_num_threads(threads)
        check_gpu(config.compute)
        self._config = config
        self._signer = signer
        self._perturber = perturber
        self._signed = signer.levels if signer else 0
        self._floors = Floors(config.min_psnr, config.min_ssim)
        self._device = torch.device(config.compute.device)
        self.generators = [generator.to(self._device) for generator in load_generators(config)]
        self._recipe = config.resolved_recipe()
        self._reference = _reference(self._recipe.reference)
        self._most = config.batch_size if config.compute.on_gpu else 1
        self._measures = config.measured_share() == 1

    def __call__(self, works: Sequence[Work]) -> list[Work]:
        """The same inputs in the same order; pixels and effect are added, the decoded photo is dropped once that is measured."""
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
        except (UnusableError, PhotoRefusedError) as error:
            if len(batch) > 1:
                return [work for single in batch for work in self._protect_or_end([single])]
            work = batch[0].work
            return [_skip(work, str(error)) if isinstance(error, PhotoRefusedError) else _fail(work, str(error))]

    def _protect(self, batch: list[Shown]) -> list[Work]:
        began = time.perf_counter()
        if self._config.has_floors():
            found = self._strongest(batch)
            works = [self._finish(draft) if draft else self._too_weak(one) for one, draft in zip(batch, found, strict=True)]
        else:
            works = [self._finish(draft) for draft in self._draft(batch, [self._config.epsilon] * len(batch))]
        seconds = (time.perf_counter() - began) / len(batch)
        return [dataclasses.replace(work, seconds=seconds) for work in works]

    def _draft(self, batch: Sequence[Shown], epsilons: Sequence[int]) -> list[Draft]:
        """The files of these photos, each disrupted within its own epsilon and measured."""
        drafts = [Draft(one, self._add_signal(one.photo), epsilon) for one, epsilon in zip(batch, epsilons, strict=True)]
        done = [(patches, self._disrupt(patches, drafts)) for patches in patches_of(batch, most=self._most)]
        if not self._config.lossless():
            self._measure_whole(done, drafts)
        return drafts

    def _strongest(self, batch: Sequence[Shown]) -> list[Draft | None]:
        """For each photo the file with the largest epsilon that looks as much like it as is asked for; None without one."""
        return strongest(
            len(batch),
            lambda rows, epsilons: self._draft([batch[i] for i in rows], epsilons),
            lambda draft: self._floors.reached(draft.shown.photo.pixels_HWC, draft.read_HWC),
            least=self._signed + 1,
            most=self._config.epsilon,
        )

    def _too_weak(self, one: Shown) -> Work:
        tried = f"{self._signed + 1} to {self._config.epsilon}"
        return _fail(one.work, f"its file reaches {self._floors} with no epsilon from {tried}: ask for less")

    def _add_signal(self, photo: Photo) -> Photo:
        return photo if self._signer is None else dataclasses.replace(photo, pixels_HWC=self._signer(photo))

    def _disrupt(self, patches: list[Patch], drafts: list[Draft]) -> list[Clean]:
        """Puts the disrupted regions into the drafts of their photos, with what is measured there.

        What the generators make of the untouched regions comes back.
        """
        regions, keys, seed = [patch.region for patch in patches], [patch.key for patch in patches], self._config.seed
        sizes = [region.stored_size for region in regions]
        of = [drafts[patch.photo] for patch in patches]
        parts = [region.cut(draft.photo.pixels_HWC) for region, draft in zip(regions, of, strict=True)]
        originals = [region.cut(draft.shown.photo.pixels_HWC) for region, draft in zip(regions, of, strict=True)]
        limits = [self._limit(patch, draft) for patch, draft in zip(patches, of, strict=True)]
        clean = self._look(originals, regions) if self._measures else []
        factor = self._recipe.until or 1.0
        left: set[int] = set()  # patches whose files reach the goal
        weakest: dict[int, int] = {}  # the output that fell short when a patch was last checked

        def put(rows: Sequence[int], y_NCHW: Tensor, steps: int) -> Tensor:
            """Put these regions into the drafts, in place of what was there; what a reader sees of them comes back, padded."""
            written = []
            for b, y_CHW in zip(rows, y_NCHW, strict=True):
                regions[b].cut(of[b].pixels_HWC)[:] = as_levels(parts[b], y_CHW, limits[b])
                of[b].steps[patches[b].number] = steps
                written.append(regions[b].cut(of[b].as_file(self._config)))
            return pad(written).to(self._device)

        def note(b: int, boxes: Boxes) -> None:
            of[b].measured.update(zip(regions[b].numbers, boxes, strict=True))

        def least(rows_N: Tensor, y_NCHW: Tensor, steps: int) -> Tensor:
            """The share of the goal that an output of each file reaches (N,), from the next class, or the weakest known, on."""
            rows = rows_N.tolist()
            first = [weakest.get(b, (steps + 1) % sum(len(one.classes) for one in clean)) for b in rows]
            found = check(clean, rows, put(rows, y_NCHW, steps), [regions[b] for b in rows], factor=factor, first=first)
            for b, one in zip(rows, found, strict=True):
                weakest[b] = one.weakest
                if one.boxes is not None:
                    left.add(b)
                    note(b, one.boxes)
            return torch.tensor([one.least for one in found], dtype=torch.float64)

        radius = radius_of(limits)
        values = torch.tensor([part.size for part in parts], device=self._device)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._config.precision == "bf16"):
            y_BCHW = disrupt(
                pad(parts).to(self._device),
                self._targets(patches, clean),
                self._recipe,
                epsilon=radius.to(self._device) if isinstance(radius, Tensor) else radius,
                streams=streams_for(keys, seed, stored_sizes=sizes, corners=[region.corner for region in regions]),
                reference=self._reference,
                values=values[:, None, None, None],
                weakest=least,
                start_BCHW=self._start(patches, drafts, parts),
            )
        if last := [b for b in range(len(patches)) if b not in left]:
            written = put(last, y_BCHW if len(last) == len(y_BCHW) else y_BCHW[last], self._recipe.steps)
            if self._measures:
                for b, boxes in zip(last, measure(clean, last, written, [regions[b] for b in last]), strict=True):
                    note(b, boxes)
        return clean

    def _look(self, originals: Sequence[U8], regions: Sequence[Region]) -> list[Clean]:
        """What the generators make of these untouched regions, whose floating point is gone before the ascent has its own."""
        at_photo, x_BCHW = self._recipe.start == "clean", pad(originals).to(self._device)
        names, identity = self._config.classes, self._config.identity
        return look(self.generators, names, x_BCHW, regions, one_by_one=at_photo, identity=identity)

    def _start(self, patches: list[Patch], drafts: list[Draft], parts: list[U8]) -> Tensor | None:
        """The regions with the universal perturbations of their photos, padded; None without --universal."""
        if self._perturber is None:
            return None
        started = []
        for patch, part in zip(patches, parts, strict=True):
            key, region = drafts[patch.photo].shown.work.ref.key, patch.region
            started.append(self._perturber(part, key, boxes=region.boxes, orientation=region.orientation))
        return pad(started).to(self._device)

    def _measure_whole(self, done: list[tuple[list[Patch], list[Clean]]], drafts: list[Draft]) -> None:
        """Measures files of several regions again: each region was measured before the next one was in its file."""
        several = [len(draft.shown.regions) > 1 for draft in drafts]
        for draft in (draft for draft, is_one_of_them in zip(drafts, several, strict=True) if is_one_of_them):
            draft.as_file(self._config)
        for patches, clean in done if self._measures else ():
            if rows := [b for b, patch in enumerate(patches) if several[patch.photo]]:
                some = [patches[b] for b in rows]
                written = pad([patch.region.cut(drafts[patch.photo].read_HWC) for patch in some]).to(self._device)
                found = measure(clean, rows, written, [patch.region for patch in some])
                for patch, boxes in zip(some, found, strict=True):
                    drafts[patch.photo].measured.update(zip(patch.region.numbers, boxes, strict=True))

    def _limit(self, patch: Patch, draft: Draft) -> Limit:
        """How many levels the disruption may move a region: what the signal leaves of epsilon, spread by the mask of the photo."""
        most = draft.epsilon - self._signed
        if not self._config.mask:
            return most
        mask = mask_levels(draft.shown.photo.pixels_HWC, most, patch.region.box)
        draft.allowed[patch.number] = (int(mask.sum(dtype=np.int64)), mask.size)
        return mask

    def _targets(self, patches: list[Patch], clean: Sequence[Clean]) -> list[Target]:
        """What is broken: each generator in each box, with the untouched outputs where they are known."""
        if clean:
            return [self._target(patches, one.which, one.generator, one.by_class()) for one in clean]
        boxes = range(len(patches[0].region.boxes))
        return [self._target(patches, which, generator) for which in boxes for generator in self.generators]

    def _target(self, patches: list[Patch], which: int, generator: Generator, clean: Mapping[str, Tensor] | None = None) -> Target:
        """A generator to break in a box: its outputs, or the activations of a layer."""
        names, layer = generator.select_classes(self._config.classes), self._recipe.layer
        view = batch_view([patch.region for patch in patches], generator.size, which)
        crops = self._draw_crops(patches, which) if self._config.jitter else ()
        views = tuple(jittered_view(view, drawn_BV) for drawn_BV in crops)
        if layer:
            return Target(view, {name: generator.features(name, layer) for name in names}, views=views)
        return Target(view, {name: generator.output(name) for name in names}, clean, views)

    def _draw_crops(self, patches: list[Patch], which: int) -> list[list[list[float]]]:
        """For each step and region the numbers of another crop, drawn for each photo by its key."""
        keys = [f"{patch.key}\0crop {which}" for patch in patches]
        drawn_BTV = torch.stack([stream.uniform((self._recipe.steps, 3)) for stream in streams_for(keys, self._config.seed)])
        drawn_TBV: list[list[list[float]]] = drawn_BTV.transpose(0, 1).tolist()
        return drawn_TBV

    def _finish(self, draft: Draft) -> Work:
        """The work with its file and the effect that this has; of a class, where it breaks least."""
        pairs = [(region.cut(draft.photo.pixels_HWC), region.cut(draft.read_HWC)) for region in draft.shown.regions]
        moved = any(not np.array_equal(*pair) for pair in pairs)
        effect = Effect((), (), (), moved=moved)
        if self._measures:
            effect = effect_of(self._labels(), [draft.measured[number] for number in sorted(draft.measured)], moved=moved)
        steps = max(draft.steps.values())
        return dataclasses.replace(
            draft.shown.work,
            photo=None if self._measures else draft.shown.photo,
            pixels_HWC=draft.read_HWC,
            encoded=draft.encoded,
            effect=effect,
            steps=steps,
            epsilon=draft.epsilon,
            mask_mean=draft.mask_mean(),
        )

    def _labels(self) -> list[str]:
        """The names of all classes, as the manifest has them."""
        named = [(generator.name, name) for generator in self.generators for name in generator.select_classes(self._config.classes)]
        return [name if len(self.generators) == 1 else f"{generator}/{name}" for generator, name in named]


def _reference(name: str) -> Reference:
    """The named reference, or an image as it is shown: upright, as generators see the photos."""
    if name in REFERENCES:
        return REFERENCES[name]
    photo = decode_photo(Path(name).read_bytes())
    shown_HWC = to_upright(photo.pixels_HWC, photo.orientation)
    return image_reference(pixels_to_tensor(np.broadcast_to(shown_HWC, (*shown_HWC.shape[:2], 3)))[0])


def _fail(work: Work, reason: str) -> Work:
    row = ManifestRow.failed(work.ref.key, stage="protect", reason=reason, bytes_in=len(work.data or b""))
    return end(work, row, data=work.data)


def _skip(work: Work, reason: str) -> Work:
    row = ManifestRow.skipped(work.ref.key, stage="protect", reason=reason, bytes_in=len(work.data or b""))
    return end(work, row, data=work.data)
