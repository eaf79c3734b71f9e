"""Parts: the rows of the manifest, a file for each part of the plan. That a part has its name is its commit.

Each file carries the sums of its rows, so that the numbers of a run need no row to be read again.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.ledger.errors import LedgerError
from pipeline.ledger.layout import MANIFEST_FILE, PARTS
from pipeline.ledger.plan import AT_HAND
from pipeline.ledger.results import write_result
from pipeline.ledger.rows import join_sorted
from pipeline.ledger.schema import MANIFEST
from pipeline.storage import Folder

ONE_FILE = 1_000_000
"""Below so many rows the manifest is one file too."""
_NAME = re.compile(r"^\d{6,}\.parquet$")
_SUMS = b"disrupt.sums"
_READERS = 32  # a distant store answers slowly, but many at a time


def commit_part(folder: Folder, name: str, rows: pa.Table, sums: dict[str, Any]) -> None:
    """Commits a part: its rows and their sums, in one step, after all its photos. Raises LedgerError when it cannot be written."""
    sink = pa.BufferOutputStream()
    pq.write_table(rows.replace_schema_metadata({_SUMS: json.dumps(sums).encode()}), sink)
    write_result(folder, f"{PARTS}/{name}.parquet", memoryview(sink.getvalue()))


def committed(folder: Folder) -> set[str]:
    """The names of the parts that are committed; none when there are no parts yet."""
    return {posixpath.splitext(name)[0] for name in folder.names_in(PARTS) if _NAME.match(name)}


def committed_sums(folder: Folder, name: str) -> dict[str, Any] | None:
    """The sums of a part, None when it is not committed."""
    path = f"{PARTS}/{name}.parquet"
    return _sums(folder, name) if folder.exists(path) else None


def remove_part(folder: Folder, name: str) -> None:
    """Takes a part out of the manifest, so that it is done again."""
    folder.remove(f"{PARTS}/{name}.parquet")


def read_part(folder: Folder, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a part, or some of their columns. Raises LedgerError for one that cannot be read."""
    return _open(folder, name).read(columns=list(columns) if columns else None, use_threads=False).replace_schema_metadata(None)


def read_parts(folder: Folder, names: Iterable[str], columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The rows of each part, a few parts ahead."""
    yield from _each(partial(read_part, folder, columns=columns), folder, names)


def read_sums(folder: Folder, names: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The sums of each part, without reading its rows."""
    yield from _each(partial(_sums, folder), folder, names)


def write_manifest(folder: Folder, names: Sequence[str], rows: int, schema: pa.Schema = MANIFEST) -> str | None:
    """Writes the manifest as one file and returns its path; None where it has too many ``rows`` for one. Few rows are sorted."""
    if rows >= ONE_FILE:
        return None
    sink = pa.BufferOutputStream()
    tables: Iterable[pa.Table] = read_parts(folder, names)
    if rows <= AT_HAND:
        tables = [join_sorted(tables, schema, ["key"])]
    with pq.ParquetWriter(sink, schema) as writer:
        for table in tables:
            writer.write_table(table)
    return write_result(folder, MANIFEST_FILE, memoryview(sink.getvalue()))


def _open(folder: Folder, name: str) -> pq.ParquetFile:
    path = f"{PARTS}/{name}.parquet"
    try:
        return pq.ParquetFile(pa.BufferReader(folder.read(path)))
    except pa.ArrowException as error:
        advice = "Remove that file and run the same command: its photos are done again."
        raise LedgerError(f"the part {folder.at(path)} is damaged: {error}. {advice}") from error
    except OSError as error:
        raise LedgerError(
            f"the part {folder.at(path)} cannot be read now: {error}. Mend that and run the same command again."
        ) from error


def _sums(folder: Folder, name: str) -> dict[str, Any]:
    stored = (_open(folder, name).schema_arrow.metadata or {}).get(_SUMS)
    if stored is None:
        raise LedgerError(f"the part {folder.at(PARTS)}/{name}.parquet has no sums: remove it, and its photos are done again.")
    sums: dict[str, Any] = json.loads(stored)
    return sums


def _each(read: Any, folder: Folder, names: Iterable[str]) -> Iterator[Any]:
    """``read`` of each name, in order, many at a time on a distant store but never all."""
    ahead = 1 if folder.is_local else _READERS
    with ThreadPoolExecutor(ahead) as pool:
        waiting = []
        for name in names:
            waiting.append(pool.submit(read, name))
            if len(waiting) > ahead:
                yield waiting.pop(0).result()
        for each in waiting:
            yield each.result()
