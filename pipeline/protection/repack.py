"""Photos inside containers: what the stages get of them, and how a part ends whose results go into a container of the same kind.

A container is one part. Its protected photos wait as files below `.disrupt/kept`, where a stop leaves them; when all are there the
container is written under its name, then the part is committed.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa

from pipeline.containers.errors import ContainerError
from pipeline.containers.listing import PhotoRef
from pipeline.containers.naming import simple_name
from pipeline.containers.samples import End, Result, photos_inside, rewrite
from pipeline.jobs.parts import PartJob, commit_rows
from pipeline.ledger.errors import LedgerError, unwritable
from pipeline.ledger.layout import KEPT
from pipeline.ledger.plan import planned
from pipeline.ledger.rows import join_sorted
from pipeline.ledger.schema import MANIFEST, ManifestRow
from pipeline.photos.encode import FORMATS
from pipeline.protection.options import ProtectConfig
from pipeline.protection.plan import planned_refs
from pipeline.protection.row import Work
from pipeline.storage import Folder

EFFECT = ("epsilon", "mask_mean", "linf_levels", "psnr", "ssim", "l2")
RECORD = (
    *("key", "status", "stage", "reason", "note", *EFFECT, "region", "boxes", "generator", "recipe", "signals"),
    *("sha256_in", "sha256_out"),
)
"""Columns of the manifest that a container says of each of its photos; none that differs between runs or places of IN."""


class ContainerChangedError(ContainerError):
    """A container holds other photos than when they were read."""


def works_in(ref: PhotoRef, config: ProtectConfig) -> Iterator[Work]:
    """The photos of a container, one by one; one that cannot be read to its end, or holds none, ends with a row of its own."""
    suffix = FORMATS[config.format].suffix
    is_kept = config.container == "same"
    for held in photos_inside(ref, image=config.image):
        if isinstance(held, End):
            row = ManifestRow(key=ref.key, status=held.status, stage=held.stage, reason=held.reason, bytes_in=ref.size_bytes)
            yield Work(ref, "", ended=row)
            continue
        output = f"{KEPT}/{simple_name(held.key, suffix)}" if is_kept else _plain_name(held.key, config)
        output = "" if held.refused else output
        yield Work(PhotoRef(held.key, ref.uri, len(held.data or b""), refused=held.refused), output, data=held.data)


def commit_repacked(job: PartJob, part: str, table: pa.Table, *, config: ProtectConfig) -> dict[str, Any]:
    """Commits a part, its container first where it has one; returns its sums.

    Where the container has a row of its own, which says why it is not written, its photos become plain files. One that is not as it
    was when its photos were read gets such a row here.
    """
    (ref, *_) = planned_refs(planned(job.folder, part))
    if ref.container is None or config.container != "same":
        return commit_rows(job, part, table)
    rows = {row["key"]: row for row in table.select(["output", *RECORD]).to_pylist()}
    try:
        name = container_name(ref)
        if ref.key not in rows and (changed := _write(job.folder, name, ref, rows, config)):
            table = join_sorted([table, job.table(job.died(Work(ref, ""), "write", changed), part)], table.schema, job.order)
            rows[ref.key] = {"output": None}
        plain = ref.key in rows
        outputs = {key: _plain_file(job.folder, row, config) if plain else name for key, row in rows.items() if row["output"]}
    except OSError as error:
        raise unwritable(job.folder.path, error) from error
    at = table.schema.get_field_index("output")
    named_outputs = pa.array([outputs.get(key) for key in table["key"].to_pylist()], pa.string())
    sums = commit_rows(job, part, table.set_column(at, MANIFEST.field("output"), named_outputs))
    job.folder.remove_tree(f"{KEPT}/{ref.key}")
    return sums


def container_name(ref: PhotoRef) -> str:
    """The name of a container in OUT."""
    return f"{ref.key}.{ref.container}"


def _write(folder: Folder, name: str, ref: PhotoRef, rows: dict[str, dict[str, Any]], config: ProtectConfig) -> str | None:
    """Writes the container; returns why it is not written where its photos are not those of the rows."""
    left = set(rows)

    def result(key: str, data: bytes | None) -> Result:
        row = rows.get(key)
        if row is None or (row["sha256_in"] and row["sha256_in"] != hashlib.sha256(data or b"").hexdigest()):
            raise ContainerChangedError(f"{key!r} is new or has other bytes")
        left.discard(key)
        return Result(_kept(folder, row) if row["output"] else None, {name: _finite(row[name]) for name in RECORD})

    def fill(file: BinaryIO) -> None:
        rewrite(file, ref, result, image=config.image, suffix=FORMATS[config.format].suffix)
        if left:
            raise ContainerChangedError(f"{min(left)!r} is gone")

    try:
        folder.write_with(name, fill)
    except ContainerError as error:
        return f"it changed while its photos were protected: {error}; --retry-failed does it again"
    return None


def _plain_name(key: str, config: ProtectConfig) -> str:
    """The name of a photo's file outside of its container."""
    return simple_name(key, FORMATS[config.format].suffix, portable=config.portable_names)


def _plain_file(folder: Folder, row: dict[str, Any], config: ProtectConfig) -> str:
    name = _plain_name(row["key"], config)
    folder.write(name, _kept(folder, row))
    return name


def _kept(folder: Folder, row: dict[str, Any]) -> bytes:
    data = folder.read(row["output"])
    if hashlib.sha256(data).hexdigest() != row["sha256_out"]:
        raise LedgerError(f"{folder.at(row['output'])} is not as it was written. Give another output folder.")
    return data


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
