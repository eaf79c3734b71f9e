"""Parquet tables that hold the photos themselves: bytes in a column, one row group at a time; every row keeps its place."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa
from pyarrow import parquet as pq

from pipeline.containers.errors import ContainerError, one_line
from pipeline.containers.listing import PHOTO_SUFFIXES
from pipeline.storage import open_storage, while_away

ADDED_PREFIX = "disrupt_"
CHUNK_BYTES = 2**30  # an Arrow array of bytes ends at 2 GiB, and a struct of more cannot be read back from one row group
ROWS = 16
"""Rows that are in memory together where they are read one by one."""
NO_IMAGE = "the row holds no image"
ONLY_PATH = "the row holds only a path, not the image's bytes"

_KINDS = "binary, large_binary or struct<bytes: binary, path: string>"


@dataclass(frozen=True)
class ImageTable:
    """An open table: its name for errors, its image column, and how many row groups it has."""

    place: str
    column: str
    file: pq.ParquetFile

    @property
    def group_count(self) -> int:
        """How many row groups there are, each a unit of work."""
        return int(self.file.num_row_groups)

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        return int(self.file.metadata.num_rows)


@dataclass(frozen=True)
class Group:
    """One row group: all its columns, and for each row either the image's bytes or the reason why there are none."""

    table: pa.Table
    images: list[bytes | None]
    refused: list[str | None]

    def first(self, most: int) -> Group:
        """The first rows of the group."""
        return Group(self.table.slice(0, most), self.images[:most], self.refused[:most])


def open_table(
    source: str | BinaryIO | pa.NativeFile,
    place: str,
    *,
    column: str | None = None,
    buffer_bytes: int = 0,
    protected: bool = False,
) -> ImageTable:
    """The table with its image column found: the only column of bytes, or the one named `column`; `place` names it in errors.

    A column of bytes is binary, large_binary, or the struct of bytes and path that the library `datasets` writes. Only the footer
    is read; later a column of a row group is read in pieces of ``buffer_bytes``, at once with 0. Raises ContainerError for a
    damaged or encrypted file, no rows, no such column or several, and for a table that was protected, unless it is to be.
    """
    try:
        options = {"buffer_size": buffer_bytes, "pre_buffer": not buffer_bytes, "page_checksum_verification": True}
        file = while_away(lambda: pq.ParquetFile(source, **options), place)
        schema = file.schema_arrow
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(place, error) from error
    shown = ", ".join(f"{field.name} ({field.type})" for field in schema)
    if (again := [name for name in schema.names if name.startswith(ADDED_PREFIX)]) and not protected:
        raise ContainerError(f"{place}: has the column {again[0]}: it was protected before; give the original table")
    fitting = [field.name for field in schema if _holds_images(field.type)]
    if column is not None and schema.names.count(column) != 1:
        many = "several columns" if column in schema.names else "no column"
        raise ContainerError(f"{place}: has {many} {column!r}; it has {shown}")
    if column is not None and column not in fitting:
        raise ContainerError(f"{place}: the column {column!r} is no image column, which is {_KINDS}; the table has {shown}")
    if column is None and len(fitting) != 1:
        what = f"several image columns ({', '.join(fitting)}), name one" if fitting else f"no image column, which is {_KINDS}"
        raise ContainerError(f"{place}: has {what}; it has {shown}")
    table = ImageTable(place, column or fitting[0], file)
    if table.row_count == 0:
        raise ContainerError(f"{place}: the table has no rows")
    return table


def holds_images(place: str) -> bool:
    """Whether a Parquet file has a column of image bytes, and no column `path` that would say where photos lie."""
    fs, path = open_storage(place)
    try:
        with fs.open_input_file(path) as file:
            schema = pq.ParquetFile(file).schema_arrow
    except (pa.ArrowException, OSError):  # who reads it as a table says why it cannot be read
        return False
    return "path" not in schema.names and any(_holds_images(field.type) for field in schema)


def read_group(table: ImageTable, group: int) -> Group:
    """One row group of the table; no other is read. Raises ContainerError where its data are damaged or encrypted."""
    try:
        rows = while_away(lambda: table.file.read_row_group(group), table.place)
        rows[table.column].validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(f"{table.place}, row group {group}", error) from error
    return Group(rows, *_images(rows[table.column].to_pylist()))


def read_rows(table: ImageTable, columns: Sequence[str]) -> Iterator[tuple[bytes | None, str | None, dict[str, Any]]]:
    """Of each row the image's bytes or why there are none, and those of the ``columns`` that it has a text or number in.

    Raises ContainerError where the data are damaged or encrypted, after the rows before.
    """
    others = [name for name in columns if name in table.file.schema_arrow.names and name != table.column]
    try:
        for rows in table.file.iter_batches(ROWS, columns=[table.column, *others]):
            values = rows.to_pylist()
            for image, refused, row in zip(*_images([row.pop(table.column) for row in values]), values, strict=True):
                yield image, refused, {name: value for name, value in row.items() if isinstance(value, str | int | float)}
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(table.place, error) from error


def _images(values: list[Any]) -> tuple[list[bytes | None], list[str | None]]:
    """Of each value the bytes, and the reason where there are none."""
    images = [value["bytes"] if isinstance(value, dict) else value for value in values]
    refused = [
        None if image is not None else ONLY_PATH if isinstance(value, dict) and value["path"] else NO_IMAGE
        for value, image in zip(values, images, strict=True)
    ]
    return images, refused


def with_images(
    table: pa.Table,
    column: str,
    new: list[bytes | None],
    added: Mapping[str, pa.Array],
    *,
    suffix: str,
    chunk_bytes: int = CHUNK_BYTES,
) -> pa.Table:
    """The table with new images in the same column, of exactly the same type and metadata, and the `added` columns at its end.

    A row whose new image is None keeps what it has. In a struct the path of a new image gets the new `suffix`. The column has a
    chunk for about every `chunk_bytes` of images. Raises ValueError for lengths that differ or a column that is not `disrupt_*`
    or there already.
    """
    if wrong := [name for name in added if not name.startswith(ADDED_PREFIX) or name in table.column_names]:
        raise ValueError(f"added columns are new and begin with {ADDED_PREFIX}, unlike {', '.join(wrong)}")
    at = table.column_names.index(column)
    field = table.schema.field(at)
    is_struct = pa.types.is_struct(field.type)
    values = [
        old if image is None else _in_struct(image, old, suffix) if is_struct else image
        for old, image in zip(table[column].to_pylist(), new, strict=True)
    ]
    chunks = [pa.array(part, field.type) for part in _parts(values, chunk_bytes)]
    changed = table.set_column(at, field, pa.chunked_array(chunks, field.type))
    for name, array in added.items():
        changed = changed.append_column(name, array)
    return changed


def write_table(file: BinaryIO | pa.NativeFile, groups: Iterable[pa.Table]) -> None:
    """Write a Parquet file whose bytes depend only on the tables: each is a row group, or one for each chunk of its images.

    The schema with all its metadata is that of the first table. Raises ValueError when there is none, or one of another schema.
    """
    tables = iter(groups)
    first = next(tables, None)
    if first is None:
        raise ValueError("a table needs a row group")
    flat = [field.name for field in first.schema if not pa.types.is_nested(field.type) and not _holds_images(field.type)]
    # No dictionary and no smallest and largest value for photos; lists keep the name of their elements, `item` or `element`.
    options = {"use_dictionary": flat, "write_statistics": flat, "write_page_checksum": True, "use_compliant_nested_type": False}
    with pq.ParquetWriter(file, first.schema, **options) as writer:
        for table in (first, *tables):
            for batch in table.to_batches():
                writer.write_batch(batch)


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        fields = {field.name: field.type for field in kind}
        is_text = pa.types.is_string(fields.get("path")) or pa.types.is_large_string(fields.get("path"))
        return fields.keys() == {"bytes", "path"} and _is_bytes(fields["bytes"]) and is_text
    return _is_bytes(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _in_struct(image: bytes, old: dict[str, Any] | None, suffix: str) -> dict[str, Any]:
    path = old["path"] if old else None
    if path:
        stem, known = posixpath.splitext(path)
        path = (stem if known.lower() in PHOTO_SUFFIXES else path) + suffix
    return {"bytes": image, "path": path}


def _parts(values: list[Any], chunk_bytes: int) -> Iterator[list[Any]]:
    start, held = 0, 0
    for at, value in enumerate(values):
        image = value["bytes"] if isinstance(value, dict) else value
        size = len(image or b"")
        if held and held + size > chunk_bytes:
            yield values[start:at]
            start, held = at, 0
        held += size
    if values:
        yield values[start:]


def _unreadable(place: str, error: Exception) -> ContainerError:
    reason = one_line(error)
    what = "encrypted, or cannot be read" if "crypt" in reason.lower() else "cannot be read as Parquet"
    return ContainerError(f"{place}: {what}: {reason}")
