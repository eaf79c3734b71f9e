"""Photos inside containers: what the stages get of them, and how a part ends whose results go into a container of the same kind.

A container is one part. Its protected photos wait as files below `.disrupt/kept`, where a stop leaves them; when all are there the
container is written under its name, then the part is committed.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import pyarrow as pa

from pipeline.containers.errors import ContainerError
from pipeline.containers.listing import PhotoRef
from pipeline.containers.naming import simple_name
from pipeline.containers.samples import Result, held_photos, rewrite
from pipeline.jobs.parts import PartJob, commit_rows
from pipeline.ledger.errors import LedgerError, unwritable
from pipeline.ledger.layout import KEPT
from pipeline.ledger.plan import planned
from pipeline.ledger.schema import MANIFEST, ManifestRow
from pipeline.photos.encode import FORMATS
from pipeline.protection.options import ProtectConfig
from pipeline.protection.plan import planned_refs
from pipeline.protection.row import Work
from pipeline.storage import Folder, StorageError

EFFECT = ("epsilon", "linf_levels", "psnr", "ssim", "l2")
RECORD = ("key", "status", "stage", "reason", "note", *EFFECT, "generator", "recipe", "signals", "sha256_in", "sha256_out")
"""Columns of the manifest that a container says of each of its photos; none that differs between runs or places of IN."""


def works_in(ref: PhotoRef, config: ProtectConfig) -> Iterator[Work]:
    """The photos of a container, one by one; a container that cannot be read to its end ends with a failed row of its own."""
    suffix = FORMATS[config.format].suffix
    below = f"{KEPT}/" if config.container == "same" else ""
    any_photo = False
    try:
        for held in held_photos(ref, image=config.image):
            any_photo = True
            output = "" if held.refused else below + simple_name(held.key, suffix)
            inside = PhotoRef(held.key, ref.uri, len(held.data or b""), refused=held.refused)
            yield Work(inside, output, data=held.data)
    except (ContainerError, OSError, StorageError) as error:
        row = ManifestRow.failed(ref.key, stage="read", reason=f"cannot be read: {error}", bytes_in=ref.size_bytes)
        yield Work(ref, "", ended=row)
        return
    if not any_photo:
        row = ManifestRow.skipped(ref.key, stage="list", reason="it holds no photos", bytes_in=ref.size_bytes)
        yield Work(ref, "", ended=row)


def commit_repacked(job: PartJob, part: str, table: pa.Table, *, config: ProtectConfig) -> dict[str, Any]:
    """Commits a part, its container first where it has one; returns its sums.

    Where the container has a row of its own, which says why it is not written, its photos become plain files.
    """
    (ref, *_) = planned_refs(planned(job.folder, part))
    if ref.container is None or config.container != "same":
        return commit_rows(job, part, table)
    rows = {row["key"]: row for row in table.select(["output", *RECORD]).to_pylist()}
    try:
        if ref.key in rows:
            outputs = {key: _plain_file(job.folder, row) for key, row in rows.items() if row["output"]}
        else:
            name = container_name(ref)
            job.folder.write_with(name, _writer(job.folder, ref, rows, config))
            outputs = {key: name for key, row in rows.items() if row["output"]}
    except OSError as error:
        raise unwritable(job.folder.path, error) from error
    at = table.schema.get_field_index("output")
    named = pa.array([outputs.get(key) for key in table["key"].to_pylist()], pa.string())
    sums = commit_rows(job, part, table.set_column(at, MANIFEST.field("output"), named))
    job.folder.remove_tree(f"{KEPT}/{ref.key}")
    return sums


def container_name(ref: PhotoRef) -> str:
    """The name of a container in OUT."""
    return f"{ref.key}.{ref.container}"


def _writer(folder: Folder, ref: PhotoRef, rows: dict[str, dict[str, Any]], config: ProtectConfig) -> Callable[[BinaryIO], None]:
    def result(key: str) -> Result:
        row = rows[key]
        record = {name: _finite(row[name]) for name in RECORD}
        return Result(_kept(folder, row) if row["output"] else None, record)

    return lambda file: rewrite(file, ref, result, image=config.image, suffix=FORMATS[config.format].suffix)


def _plain_file(folder: Folder, row: dict[str, Any]) -> str:
    name: str = row["output"].removeprefix(f"{KEPT}/")
    folder.write(name, _kept(folder, row))
    return name


def _kept(folder: Folder, row: dict[str, Any]) -> bytes:
    data = folder.read(row["output"])
    if hashlib.sha256(data).hexdigest() != row["sha256_out"]:
        raise LedgerError(f"{folder.at(row['output'])} is not as it was written. Give another output folder.")
    return data


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
