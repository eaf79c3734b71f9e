"""One photo as it travels from reading to writing: what the next stage needs of it, or the row in which it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.containers.listing import PhotoRef
from pipeline.ledger.schema import ManifestRow
from pipeline.photos.photo import U8, Photo


@dataclass(frozen=True)
class Work:
    """An input on its way.

    ``data`` is the file as read, ``photo`` its decoded form (only between reading and protecting), ``pixels_HWC`` the protected
    8-bit pixels, ``steps`` those of the ascent that were taken for them, ``encoded`` the file to be written when it had to be made
    before measuring (JPEG). ``ended`` is the manifest row of an input that goes no further; later stages hand it on.
    """

    ref: PhotoRef
    output: str
    data: bytes | None = None
    photo: Photo | None = None
    pixels_HWC: U8 | None = None
    encoded: bytes | None = None
    effect: Effect | None = None
    steps: int | None = None
    seconds: float = 0.0
    ended: ManifestRow | None = None

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
    """What the disruption does to the generators' outputs, per class, measured on the pixels of the file."""

    classes: Sequence[str]
    l1: Sequence[float]
    l2: Sequence[float]
    moved: bool
    levelled: Sequence[float] = ()
    local: Sequence[float] = ()
    ssim: Sequence[float] = ()
    edit: Sequence[float] = ()
