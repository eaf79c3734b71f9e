"""The rows of an evaluation: one for each photo, generator, class and channel, or one that says why a photo has none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import pyarrow as pa

from pipeline.jobs.progress import Outcome
from pipeline.ledger.rows import column, join_sorted, schema_of, table_of

Status = Literal["measured", "failed", "missing", "skipped"]
STATUSES: tuple[str, ...] = get_args(Status)
UNFINISHED: tuple[str, ...] = ("failed", "missing")
"""The statuses that make the exit code 1; skipped photos were left out by the protection run on purpose."""

ORDER = ("key", "generator", "class", "channel", "stage", "reason", "protected")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRow:
    """What was measured for a photo, generator, class and channel; None where it is not known. The fields are the columns.

    L1, L2 and their masked kind are in units of [-1, 1], PSNR in dB, Linf and epsilon in 8-bit levels, shares from 0 to 1.

    ``l2_mask`` and ``success_mask`` are [H22]'s: over the pixels that the generator changes, an empty mask is no success.
    ``levelled``, ``local``, ``lost``, ``output_ssim`` and ``edit`` are of `pipeline.images.effect.Breakage`, ``over_edit`` is
    L2 / ``edit``. ``identity`` and ``identity_clean`` are how far the outputs for the protected and for the original file are from
    the person in the original (`pipeline.photos.identity`), None where it shows no face; they are columns where they are measured.
    ``faces`` is how many faces of the photo were measured, ``face`` the place of the one that breaks least, of which the rest is.
    ``floor_l2`` is the L2 that uniform noise of the same epsilon causes. PSNR, SSIM and Linf are of the file, before any channel.
    """

    key: str
    protected: str | None = None
    generator: str | None = None
    class_name: str | None = column("class")
    channel: str | None = None
    status: Status
    stage: str | None = None
    reason: str | None = None
    flags: Sequence[str] = ()
    faces: int | None = None
    face: int | None = None
    l1: float | None = None
    l2: float | None = None
    disrupted: bool | None = None
    levelled: float | None = None
    local: float | None = None
    lost: float | None = None
    output_ssim: float | None = None
    edit: float | None = None
    over_edit: float | None = None
    identity: float | None = None
    identity_clean: float | None = None
    l2_mask: float | None = None
    mask_share: float | None = None
    success_mask: bool | None = None
    floor_l2: float | None = None
    psnr: float | None = None
    ssim: float | None = None
    linf_levels: int | None = None
    epsilon: int | None = None


EVALUATION = schema_of(EvaluationRow, without=("identity", "identity_clean"))


def evaluation_schema(*, identity: bool = False) -> pa.Schema:
    """The schema of the rows, with the columns of `--identity` where they are measured."""
    return schema_of(EvaluationRow) if identity else EVALUATION


def as_table(rows: Iterable[EvaluationRow], schema: pa.Schema = EVALUATION) -> pa.Table:
    """The rows as a table, in a fixed order that does not depend on how they came."""
    return in_order([table_of(rows, schema)], schema)


def in_order(tables: Iterable[pa.Table], schema: pa.Schema = EVALUATION) -> pa.Table:
    """All rows of these tables as one table in the fixed order."""
    return join_sorted(tables, schema, ORDER)


def outcomes(rows: Sequence[EvaluationRow]) -> list[Outcome]:
    """One outcome for each key of the rows."""
    by_key: dict[str, list[EvaluationRow]] = {}
    for row in rows:
        by_key.setdefault(row.key, []).append(row)
    return [_outcome(group) for group in by_key.values()]


def _outcome(group: Sequence[EvaluationRow]) -> Outcome:
    l2 = [row.l2 for row in group if row.l2 is not None]
    return Outcome(worst(row.status for row in group), sum(l2) / len(l2) if l2 else None)


def worst(statuses: Iterable[str]) -> str:
    """What counts for a photo: failed before missing, skipped and measured."""
    found = set(statuses)
    return next(status for status in ("failed", "missing", "skipped", "measured") if status in found)
