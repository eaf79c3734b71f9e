"""One photo as it travels from reading to writing: what the next stage needs of it, or the row in which it ended."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

from pipeline.containers.listing import PhotoRef
from pipeline.images import share_of_goal
from pipeline.images.types import Box
from pipeline.ledger.schema import ManifestRow
from pipeline.photos.photo import U8, Photo


@dataclass(frozen=True)
class Work:
    """An input on its way.

    ``data`` is the file as read, ``photo`` its decoded form (only between reading and protecting), ``pixels_HWC`` the protected
    8-bit pixels, ``steps`` those of the ascent that were taken for them, ``encoded`` the file to be written when it had to be made
    before measuring (JPEG). ``epsilon`` is that of its file where it is the photo's own, ``mask_mean`` the mean of its mask, both
    in levels. ``ended`` is the manifest row of an input that goes no further; later stages hand it on.

    ``region`` and ``boxes`` are what the generators see of it, in upright pixels: set in reading where faces are looked for, else
    in protecting. ``notes`` say what is to be said of them.
    """

    ref: PhotoRef
    output: str
    data: bytes | None = None
    photo: Photo | None = None
    pixels_HWC: U8 | None = None
    encoded: bytes | None = None
    effect: Effect | None = None
    steps: int | None = None
    epsilon: int | None = None
    mask_mean: float | None = None
    seconds: float = 0.0
    ended: ManifestRow | None = None
    region: str | None = None
    boxes: Sequence[Box] = ()
    notes: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The name of the photo in the run."""
        return self.ref.key

    @property
    def pixels(self) -> int:
        """How many pixels it has, once it is decoded."""
        return self.photo.width * self.photo.height if self.photo else 0


@dataclass(frozen=True)
class Effect:
    """What the disruption does to the generators' outputs, per class, measured on the pixels of the file.

    Where generators see several boxes of a photo, the numbers of a class are those of the box in which it breaks least
    (`Measured.broken`); ``face_l2`` and ``face_lost`` have the L2 and the lost share of all, box after box and in each the classes.
    """

    classes: Sequence[str]
    l1: Sequence[float]
    l2: Sequence[float]
    moved: bool
    levelled: Sequence[float] = ()
    local: Sequence[float] = ()
    lost: Sequence[float] = ()
    ssim: Sequence[float] = ()
    edit: Sequence[float] = ()
    identity: Sequence[float] = ()
    identity_clean: Sequence[float] = ()
    face_l2: Sequence[float] = ()
    face_lost: Sequence[float] = ()


@dataclass(frozen=True)
class Measured:
    """What a generator makes of one box of the file against what it makes of the photo, for one class.

    ``identity`` and ``identity_clean`` are NaN where they are not measured, or the photo shows no face.
    """

    l1: float
    l2: float
    levelled: float
    local: float
    lost: float
    ssim: float
    edit: float
    identity: float = math.nan
    identity_clean: float = math.nan

    def broken(self, factor: float = 1.0) -> float:
        """How far it is on its way to being broken (`share_of_goal`); a number that is none is no way at all."""
        share = share_of_goal(self.l2, self.lost, factor=factor)
        return -math.inf if math.isnan(self.l2) else share


def effect_of(classes: Sequence[str], boxes: Sequence[Sequence[Measured]], *, moved: bool) -> Effect:
    """The effect of what was measured in each box for each class: of a class, the numbers of the box in which it breaks least."""
    weakest = [min(per_box, key=Measured.broken) for per_box in zip(*boxes, strict=True)]
    columns = {field.name: [getattr(one, field.name) for one in weakest] for field in fields(Measured)}
    every = [one for per_class in boxes for one in per_class]
    return Effect(classes, **columns, moved=moved, face_l2=[one.l2 for one in every], face_lost=[one.lost for one in every])
