"""A file of results beside what a run writes: complete or not at all, and an error that says what to do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.ledger.errors import unwritable
from pipeline.storage import Folder

GROUP_ROWS = 65_536
"""Rows of a group, at least, in a file that is written as its rows come."""


def write_result(folder: Folder, name: str, data: bytes | memoryview) -> str:
    """The path of the file of that name, now written. Raises LedgerError when it cannot be written, with the reason."""
    try:
        return folder.write(name, data)
    except OSError as error:
        raise unwritable(folder.path, error) from error


def write_table(folder: Folder, name: str, table: pa.Table, *, rows_at_once: int | None = None) -> str:
    """The path of the Parquet file of that name, written as `write_result` does, in groups of ``rows_at_once`` rows."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=rows_at_once)
    return write_result(folder, name, memoryview(sink.getvalue()))


def write_tables(folder: Folder, name: str, tables: Iterable[pa.Table], schema: pa.Schema) -> str:
    """The same for the rows of tables that come one by one: a group of rows at a time is in memory."""

    def fill(file: BinaryIO) -> None:
        held: list[pa.Table] = []
        with pq.ParquetWriter(file, schema) as writer:
            for table in tables:
                held.append(table)
                if sum(each.num_rows for each in held) >= GROUP_ROWS:
                    writer.write_table(pa.concat_tables(held))
                    held = []
            if held:
                writer.write_table(pa.concat_tables(held))

    try:
        return folder.write_with(name, fill)
    except OSError as error:
        raise unwritable(folder.path, error) from error
