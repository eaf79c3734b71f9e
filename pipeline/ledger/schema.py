"""The manifest: one row for every input, and how rows become a checked Arrow table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import pyarrow as pa

from pipeline.ledger.errors import LedgerError
from pipeline.ledger.rows import Int64, column, plain, schema_of, table_of

Status = Literal["protected", "not_disrupted", "skipped", "failed"]
Stage = Literal["list", "read", "decode", "protect", "encode", "verify", "write"]
STATUSES: tuple[str, ...] = get_args(Status)
STAGES: tuple[str, ...] = get_args(Stage)
IDENTITY = ("class_identity", "class_identity_clean")
"""Columns that the manifest of a run with `--identity` has and no other."""
BY_CLASS = ("classes", "class_l1", "class_l2", "class_levelled", "class_local", "class_lost", "class_ssim", "class_edit", *IDENTITY)
"""Columns with one value for each class of each generator."""
RETRIED: tuple[str, ...] = ("failed", "not_disrupted")
"""The statuses that `--retry-failed` tries again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRow:
    """What became of one input; None where it is not known. The fields are the columns of the manifest, `shard` is set on commit.

    Sizes in bytes and pixels, PSNR in dB, L1/L2 in generator units of [-1, 1], time in seconds; in 8-bit levels epsilon, which is
    that of this file, Linf, and `mask_mean`, what the mask allows of epsilon on average where the file may differ;
    `class_levelled`, `class_local`, `class_lost`, `class_ssim` and `class_edit` are those of `pipeline.images.effect.Breakage`;
    `class_identity` and `class_identity_clean` are how far the disrupted and the undisrupted output are from the person in the
    photo (`pipeline.photos.identity`), empty where it shows no face;
    `disrupted` is the share of classes with L2 from the threshold on, `visible` that of lost structure from its own on;
    `steps` counts those of the ascent; `signals` is the id of the bundle of which the written file carries a signal,
    `universal` that of which it carries a perturbation, or from which its ascent started. `region` is what generators see of
    the photo, `boxes` left, top, right and bottom of each box of it in upright pixels, `face_l2` and `face_lost` L2 and lost
    structure in each box for each class; of several boxes the columns by class, and what is made of them, tell of the one in which
    the class breaks least.
    """

    key: str
    output: str | None = None
    status: Status
    stage: Stage | None = None
    reason: str | None = None
    note: str | None = None
    sha256_in: str | None = None
    sha256_out: str | None = None
    bytes_in: Int64 | None = None
    bytes_out: Int64 | None = None
    width: int | None = None
    height: int | None = None
    mode: str | None = None
    format_in: str | None = None
    epsilon: int | None = None
    mask_mean: float | None = None
    linf_levels: int | None = None
    psnr: float | None = None
    ssim: float | None = None
    region: str | None = None
    boxes: Sequence[int] | None = None
    classes: Sequence[str] | None = None
    class_l1: Sequence[float] | None = None
    class_l2: Sequence[float] | None = None
    class_levelled: Sequence[float] | None = None
    class_local: Sequence[float] | None = None
    class_lost: Sequence[float] | None = None
    class_ssim: Sequence[float] | None = None
    class_edit: Sequence[float] | None = None
    class_identity: Sequence[float | None] | None = None
    class_identity_clean: Sequence[float | None] | None = None
    face_l2: Sequence[float] | None = None
    face_lost: Sequence[float] | None = None
    l1: float | None = None
    l2: float | None = None
    over_edit: float | None = None
    disrupted: float | None = None
    visible: float | None = None
    moved: bool | None = None
    steps: int | None = None
    seconds: float | None = None
    generator: str | None = None
    recipe: str | None = None
    signals: str | None = None
    universal: str | None = None
    signature: str | None = None
    shard: str | None = column(nullable=False)

    @classmethod
    def skipped(cls, key: str, *, stage: Stage, reason: str, bytes_in: int | None = None) -> ManifestRow:
        """The row of an input that is deliberately left out."""
        return cls(key=key, status="skipped", stage=stage, reason=reason, bytes_in=bytes_in)

    @classmethod
    def failed(cls, key: str, *, stage: Stage, reason: str, bytes_in: int | None = None) -> ManifestRow:
        """The row of an input that could not be protected."""
        return cls(key=key, status="failed", stage=stage, reason=reason, bytes_in=bytes_in)


MANIFEST = schema_of(ManifestRow, without=IDENTITY)


def manifest_schema(*, identity: bool = False) -> pa.Schema:
    """The schema of a manifest, with the columns of `--identity` where the run measures it."""
    return schema_of(ManifestRow) if identity else MANIFEST


def rows_to_table(rows: Sequence[ManifestRow], *, shard: str, schema: pa.Schema = MANIFEST) -> pa.Table:
    """The rows of one part as a table of a `manifest_schema`, sorted by key.

    Raises LedgerError for a row that says nothing (no reason for a failure, no output for a protected photo), a value of the wrong
    type, or two rows of one key. What is no valid text in a reason or note is written as escapes.
    """
    for row in rows:
        _check(row)
    twins = [key for key, count in Counter(row.key for row in rows).items() if count > 1]
    if twins:
        raise LedgerError(f"shard {shard} has two rows for {twins[0]!r}")
    named = [replace(row, shard=shard) for row in sorted(rows, key=lambda row: row.key)]
    try:
        return table_of(named, schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError, OverflowError) as error:
        raise LedgerError(f"manifest rows of shard {shard}: {error}") from error


def _check(row: ManifestRow) -> None:
    problem = None
    if not row.key:
        problem = "no key"
    elif plain(row.key) != row.key or plain(row.output) != row.output:
        problem = "key or output is no valid text"
    elif row.status not in STATUSES:
        problem = f"status {row.status!r} is none of {', '.join(STATUSES)}"
    elif row.stage is not None and row.stage not in STAGES:
        problem = f"stage {row.stage!r} is none of {', '.join(STAGES)}"
    elif row.status in {"skipped", "failed"} and not (row.stage and row.reason):
        problem = f"{row.status} needs a stage and a reason"
    elif row.status == "protected" and not (row.output and row.sha256_out):
        problem = "protected needs an output and its sha256"
    elif len({len(values) for name in BY_CLASS if (values := getattr(row, name)) is not None}) > 1:
        problem = f"{', '.join(BY_CLASS)} differ in length"
    elif any(
        values and len(values) * 4 != len(row.boxes or ()) * len(row.classes or ()) for values in (row.face_l2, row.face_lost)
    ):
        problem = "face_l2 or face_lost has not one value for each box and class"
    if problem:
        raise LedgerError(f"manifest row {row.key!r}: {problem}")
