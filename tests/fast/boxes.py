"""Small containers: WebDataset tars and Parquet files as the library datasets writes them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

STRUCT = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])


def tar(path: Path, photos: Mapping[str, bytes], *more: tuple[str, bytes]) -> Path:
    """A tar of samples with a photo and a label each, and other members."""
    path.parent.mkdir(parents=True, exist_ok=True)
    members = [m for key, data in photos.items() for m in ((f"{key}.txt", key.encode()), (f"{key}.jpg", data))]
    with tarfile.open(path, "w") as file:
        for name, data in (*members, *more):
            header = tarfile.TarInfo(name)
            header.size = len(data)
            file.addfile(header, io.BytesIO(data))
    return path


def table(path: Path, images: Iterable[bytes | None]) -> Path:
    """A Parquet file with the photos in a struct and a label each, in row groups of two."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values: list[dict[str, Any] | None] = [
        data if data is None else {"bytes": data, "path": f"{i}.jpg"} for i, data in enumerate(images)
    ]
    columns = {"image": pa.array(values, STRUCT), "label": [f"l{i}" for i in range(len(values))]}
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return path


def members(path: Path) -> dict[str, bytes]:
    """The members of a tar, in order."""
    with tarfile.open(path) as file:
        return {member.name: file.extractfile(member).read() for member in file}  # type: ignore[union-attr]
