"""What happens to pictures, top to bottom. `pipeline.jobs.parts` folds this list in a loop here or in an actor on Ray.

part of the plan              names and places only; of a container, its pictures one by one
  -> look                     pictures decoded, upright, as small as the detector sees them
  -> detect (holds the detector)      rows
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from pipeline.containers.listing import ContainerKind, PhotoRef
from pipeline.containers.read import MAX_BYTES, UnusablePhotoError, read_photo
from pipeline.containers.samples import End, photos_inside
from pipeline.detection.decide import decide
from pipeline.detection.options import DetectConfig
from pipeline.detection.row import ORDER, DetectionRow, as_table
from pipeline.images.orientation import to_upright, upright_size
from pipeline.images.resize import pixels_to_tensor
from pipeline.jobs.doctor import check_gpu
from pipeline.jobs.parts import PartJob, Stage, same
from pipeline.jobs.progress import Outcome
from pipeline.ledger.rows import Int64, schema_of, table_of
from pipeline.photos.photo import Photo
from pipeline.signals.bundle import bundle_path, read_bundle
from pipeline.signals.detector import detector_input
from pipeline.signals.judge import Judge
from pipeline.signals.judgement import Judgement
from pipeline.storage import Folder

TOGETHER = 64
"""Pictures that are judged together on a GPU."""


def part_job(config: DetectConfig, sight: Sight, offsets: Sequence[float] | None, folder: Folder) -> PartJob:
    """How the parts of a detection are done, in a work folder; the secret stays in the process that was started by hand.

    Its ``offsets`` go to those that judge: they say which signals fit, and not what the secret is.
    """
    config = dataclasses.replace(config, signals=bundle_path(config.signals), key_file=None)
    stages = (Stage("look", partial(same, partial(look, sight=sight))), Stage("detect", partial(Detect, config, offsets)))
    return PartJob(
        folder,
        stages,
        photos=partial(pictures_of, image=config.image),
        died=fail,
        table=_table,
        order=ORDER,
        outcomes=_outcomes,
        batch=TOGETHER if config.compute.on_gpu else 1,
        threads=config.compute.threads,
    )


def refs_as_table(refs: Sequence[PhotoRef]) -> pa.Table:
    """Pictures as rows of the plan."""
    planned = (PlannedPicture(ref.key, ref.uri, ref.size_bytes, ref.refused, ref.container, ref.most) for ref in refs)
    return table_of(planned, PLANNED)


def fail(picture: Picture, stage: str, reason: str) -> list[DetectionRow]:
    """The row of a picture that killed its process."""
    return [DetectionRow(key=picture.key, status="failed", stage=stage, reason=reason)]


@dataclass(frozen=True, slots=True)
class PlannedPicture:
    """A picture, or a container of which ``most`` pictures are used, or all, as a row of the plan."""

    key: str
    uri: str
    size_bytes: Int64
    refused: str | None = None
    container: ContainerKind | None = None
    most: Int64 | None = None


PLANNED = schema_of(PlannedPicture)


@dataclass(frozen=True)
class Picture:
    """A picture to be judged: its bytes, where they are read already, or the row of one that is not to be looked at."""

    ref: PhotoRef
    data: bytes | None = None
    ended: DetectionRow | None = None

    @property
    def key(self) -> str:
        """The name of the picture in the run."""
        return self.ref.key


def pictures_of(table: pa.Table, *, image: str | None) -> Iterator[Picture]:
    """The pictures of a part of the plan; ``image`` says which they are in containers."""
    for row in table.to_pylist():
        ref = PhotoRef(**row)
        if ref.refused or not ref.container:
            yield Picture(ref)
            continue
        for held in photos_inside(ref, image=image, protected=True):
            if isinstance(held, End):
                ended = DetectionRow(key=ref.key, status=held.status, stage=held.stage, reason=held.reason)
                yield Picture(ref, ended=ended)
            else:
                inside = PhotoRef(held.key, ref.uri, len(held.data or b""), refused=held.refused)
                yield Picture(inside, held.data)


def _table(rows: Sequence[DetectionRow], part: str) -> pa.Table:
    return as_table(rows)


def _outcomes(rows: Sequence[DetectionRow]) -> list[Outcome]:
    return [Outcome(row.status) for row in rows]


@dataclass(frozen=True)
class Sight:
    """How the detector looks: its side S, and the shorter side that a picture must have, in pixels; the most pixels and bytes."""

    size: int
    smallest: int
    max_pixels: int
    max_bytes: int = MAX_BYTES


@dataclass(frozen=True)
class Looked:
    """A picture as the detector is to see it, (1, 3, S, S) in [-1, 1], None for one that has ended; and its row so far."""

    row: DetectionRow
    seen_13SS: NDArray[np.float32] | None = None


def look(pictures: Sequence[Picture], sight: Sight) -> list[Looked]:
    """What the detector is to see of each picture, in the same order; one that cannot be used has ended with its reason."""
    return [Looked(each.ended) if each.ended else _look(each.ref, each.data, sight) for each in pictures]


def _look(ref: PhotoRef, data: bytes | None, sight: Sight) -> Looked:
    try:
        _, photo = read_photo(ref, max_pixels=sight.max_pixels, max_bytes=sight.max_bytes, data=data)
    except UnusablePhotoError as error:
        return Looked(DetectionRow(key=ref.key, status=error.status, stage=error.stage, reason=error.reason))
    width, height = upright_size(photo.width, photo.height, photo.orientation)
    row = DetectionRow(key=ref.key, status="judged", width=width, height=height)
    if min(width, height) < sight.smallest:
        reason = f"too small: {width} x {height} pixels; signals of this bundle need {sight.smallest} a side"
        return Looked(dataclasses.replace(row, status="skipped", stage="look", reason=reason))
    try:
        return Looked(row, _detector_view(photo, sight.size))
    except MemoryError:
        reason = "not enough memory for a picture of this size"
        return Looked(DetectionRow(key=ref.key, status="failed", stage="look", reason=reason))


def _detector_view(photo: Photo, size: int) -> NDArray[np.float32]:
    upright_HWC = to_upright(photo.pixels_HWC, photo.orientation)
    seen_13SS: NDArray[np.float32] = detector_input(pixels_to_tensor(upright_HWC), size).contiguous().numpy()
    return seen_13SS


class Detect:
    """A callable stage: pictures as seen -> rows. One is made per process. Raises the bundle's errors when it is made."""

    def __init__(self, config: DetectConfig, offsets: Sequence[float] | None = None) -> None:
        torch.set_num_threads(config.compute.threads)
        check_gpu(config.compute)
        bundle = read_bundle(config.signals)
        self._judge = Judge.from_bundle(bundle, offsets, device=config.compute.device)
        rate = config.rate(bundle)
        self._limits = {grey: bundle.thresholds(rate, grey=grey) for grey in (False, True)}
        self._together = config.compute.on_gpu

    def __call__(self, looked: Sequence[Looked]) -> list[DetectionRow]:
        """A row for each picture; on the CPU they are judged one by one, so that no batch changes a digit."""
        rows = [one.row for one in looked if one.seen_13SS is None]
        ready = [(one.row, torch.from_numpy(one.seen_13SS)) for one in looked if one.seen_13SS is not None]
        groups = [ready] if self._together and ready else [[one] for one in ready]
        for group in groups:
            judgement = self._judge.judge_tensors(torch.cat([seen_13SS for _, seen_13SS in group]))
            rows += [self._row(row, judgement, at) for at, (row, _) in enumerate(group)]
        return rows

    def _row(self, row: DetectionRow, judgement: Judgement, at: int) -> DetectionRow:
        if not (math.isfinite(judgement.manipulated_B[at]) and math.isfinite(judgement.likeness_B[at])):
            return dataclasses.replace(row, status="failed", stage="detect", reason="the detector's answer is not a number")
        return decide(row, judgement, at, self._limits[judgement.grey_B[at]])
