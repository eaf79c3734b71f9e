"""Encode, verify, write: protected pixels in, manifest rows out."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.images import LOST, THRESHOLD, is_broken, over_edit
from pipeline.images.quality import psnr, ssim
from pipeline.ledger.errors import is_disk_full, unwritable
from pipeline.ledger.schema import ManifestRow, Status
from pipeline.photos.ball import linf_levels
from pipeline.photos.decode import decode_photo
from pipeline.photos.encode import ReadBackError, encode_photo, output_notes, read_back
from pipeline.photos.photo import PhotoRefusedError
from pipeline.protection.options import ProtectConfig
from pipeline.protection.row import Effect, Work
from pipeline.storage import Folder, advice_on


@dataclass(frozen=True)
class Destination:
    """Where a run writes and what its rows say of it; it travels to every process."""

    folder: Folder
    signature: str
    generator: str | None
    signals: str | None = None
    universal: str | None = None


def write_photos(works: Sequence[Work], config: ProtectConfig, to: Destination) -> list[ManifestRow]:
    """Write every protected photo under its final name; returns the rows.

    Raises LedgerError when the storage is full or refuses to be written: that is the whole job's problem, not one photo's.
    """
    return [_finish(work, config, to) for work in works]


def _finish(work: Work, config: ProtectConfig, to: Destination) -> ManifestRow:
    row = work.ended or _write(work, config, to)
    return dataclasses.replace(
        row,
        signals=to.signals if row.output else None,
        universal=to.universal if row.output else None,
        sha256_in=_sha256(work.data) if work.data is not None else None,
        generator=to.generator,
        recipe=config.recipe,
        signature=to.signature,
        epsilon=work.epsilon or config.epsilon,
    )


def _write(work: Work, config: ProtectConfig, to: Destination) -> ManifestRow:
    key, data, effect = work.ref.key, work.data, work.effect
    if data is None or work.pixels_HWC is None or effect is None:
        return ManifestRow.failed(key, stage="protect", reason="the protecting stage gave no result for it")
    photo = work.photo or decode_photo(data, max_pixels=config.photos.max_pixels)
    try:
        encoded = work.encoded or encode_photo(photo, work.pixels_HWC, format=config.format, jpeg_quality=config.jpeg_quality)
    except PhotoRefusedError as refusal:
        return ManifestRow.skipped(key, stage="encode", reason=str(refusal), bytes_in=len(data))
    try:
        written = read_back(encoded, photo, work.pixels_HWC, format=config.format).pixels_HWC
    except ReadBackError as lost:
        return ManifestRow.failed(key, stage="verify", reason=str(lost), bytes_in=len(data))
    distance = linf_levels(photo.pixels_HWC, written)
    if config.lossless() and distance > (epsilon := work.epsilon or config.epsilon):
        too_far = f"the file is {distance} levels from the photo, more than epsilon {epsilon}"
        return ManifestRow.failed(key, stage="verify", reason=too_far, bytes_in=len(data))
    try:
        to.folder.write(work.output, encoded, sync=False)  # `PartJob.files` are synced before their rows are kept
    except OSError as error:
        if is_disk_full(error) or advice_on(error):
            raise unwritable(to.folder.path, error) from error
        return ManifestRow.failed(key, stage="write", reason=f"cannot be written: {error}", bytes_in=len(data))
    status, reason = verdict(effect, added="perturbation" if config.changes_region() else "signal")
    return ManifestRow(
        key=key,
        status=status,
        stage="protect" if reason else None,
        reason=reason,
        output=work.output,
        note="; ".join((*photo.notes, *work.notes, *output_notes(photo, format=config.format))) or None,
        region=work.region,
        boxes=[edge for box in work.boxes for edge in box] or None,
        sha256_out=_sha256(encoded),
        bytes_in=len(data),
        bytes_out=len(encoded),
        width=photo.width,
        height=photo.height,
        mode=photo.mode,
        format_in=photo.format,
        mask_mean=work.mask_mean,
        linf_levels=distance,
        psnr=psnr(photo.pixels_HWC, written),
        ssim=ssim(photo.pixels_HWC, written),
        moved=effect.moved,
        steps=work.steps,
        seconds=work.seconds,
        **_effect_columns(effect),
    )


def _effect_columns(effect: Effect) -> dict[str, Any]:
    """The columns of the effect; none for signals alone, which no generator has seen."""
    if not effect.classes:
        return {}
    return {
        "classes": list(effect.classes),
        "class_l1": list(effect.l1),
        "class_l2": list(effect.l2),
        "class_levelled": list(effect.levelled),
        "class_local": list(effect.local),
        "class_lost": list(effect.lost),
        "class_ssim": list(effect.ssim),
        "class_edit": list(effect.edit),
        "class_identity": _known(effect.identity),
        "class_identity_clean": _known(effect.identity_clean),
        "face_l2": list(effect.face_l2) or None,
        "face_lost": list(effect.face_lost) or None,
        "l1": sum(effect.l1) / len(effect.l1),
        "l2": sum(effect.l2) / len(effect.l2),
        "over_edit": over_edit(sum(effect.l2), sum(effect.edit)),
        "disrupted": sum(v >= THRESHOLD for v in effect.l2) / len(effect.l2),
        "visible": sum(v >= LOST for v in effect.lost) / len(effect.lost),
    }


def _known(values: Sequence[float]) -> list[float | None] | None:
    return [None if math.isnan(value) else value for value in values] or None


def verdict(effect: Effect, *, added: str = "signal") -> tuple[Status, str | None]:
    """Protected when every class is broken (`is_broken`), in each of several faces; else not_disrupted with what is missing.

    What is ``added`` alone has no classes to disrupt: its photo is protected when that changes it.
    """
    if not effect.classes:
        return ("protected", None) if effect.moved else ("not_disrupted", f"the {added} changes no pixel of it")

    if not effect.moved:
        return "not_disrupted", "the perturbation did not move (zero gradient at the start; start from jitter or uniform)"
    faint = [name for name, l2 in zip(effect.classes, effect.l2, strict=True) if not l2 >= THRESHOLD]
    unseen = [name for name, lost in zip(effect.classes, effect.lost, strict=True) if not lost >= LOST]
    if faint:
        return "not_disrupted", f"L2 below {THRESHOLD} for {_few(faint)}{_which_faces(effect)}"
    if unseen:
        return "not_disrupted", f"not visibly broken (lost below {LOST}) for {_few(unseen)}{_which_faces(effect)}"
    return "protected", None


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _which_faces(effect: Effect) -> str:
    """How many faces are not broken in every class; nothing where there is only one."""
    K = len(effect.classes)
    pairs = [is_broken(*pair) for pair in zip(effect.face_l2, effect.face_lost, strict=True)]
    faces = [pairs[at : at + K] for at in range(0, len(pairs), K)]
    weak = [face for face in faces if not all(face)]
    return f" in {len(weak)} of {len(faces)} faces" if len(faces) > 1 else ""


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
