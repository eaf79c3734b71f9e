"""Row classes and their Arrow schema: the fields of a frozen dataclass are the columns."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pyarrow as pa

Int64 = Annotated[int, pa.int64()]
"""A whole number that may exceed 32 bits, such as a size in bytes."""
_PLAIN = {str: pa.string(), bytes: pa.binary(), int: pa.int32(), float: pa.float64(), bool: pa.bool_()}


def column(name: str | None = None, *, nullable: bool = True) -> Any:
    """A field that is None at first, for a column of another name than the field, or one that a table never leaves empty."""
    return dataclasses.field(default=None, metadata={"name": name, "nullable": nullable})


def schema_of(row: type, *, without: Sequence[str] = ()) -> pa.Schema:
    """The Arrow schema of a row class, ``without`` some of its fields; fields without a default are never null."""
    hints = get_type_hints(row, include_extras=True)
    return pa.schema([_column(field, hints[field.name]) for field in dataclasses.fields(row) if field.name not in without])


def table_of(rows: Iterable[Any], schema: pa.Schema) -> pa.Table:
    """The rows as a table of a schema of their class. Text that is no valid Unicode is written as escapes."""
    listed = list(rows)
    names = {field.metadata.get("name") or field.name: field.name for field in dataclasses.fields(listed[0])} if listed else {}
    arrays = [pa.array([plain(getattr(row, names[one.name])) for row in listed], one.type) for one in schema] if listed else []
    return pa.Table.from_arrays(arrays, schema=schema) if listed else schema.empty_table()


def join_sorted(tables: Iterable[pa.Table], schema: pa.Schema, columns: Sequence[str]) -> pa.Table:
    """All rows of these tables, sorted by these columns; the empty table when there are none."""
    table = pa.concat_tables([schema.empty_table(), *tables]).combine_chunks()
    return table.sort_by([(name, "ascending") for name in columns])


def csv_text(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A CSV file with this first line."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    return text.getvalue()


def plain(value: object) -> object:
    """A value that Arrow takes."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
    return list(value) if isinstance(value, (list, tuple)) else value


def _column(field: dataclasses.Field[Any], kind: Any) -> pa.Field:
    nullable = field.default is not dataclasses.MISSING and field.metadata.get("nullable", True)
    return pa.field(field.metadata.get("name") or field.name, _arrow(kind), nullable=nullable)


def _arrow(kind: Any) -> pa.DataType:
    """The Arrow type of a field's type: a plain type or Literal of texts, a Sequence of one, or either of them or None."""
    inner = [each for each in get_args(kind) if each is not NoneType]
    if get_origin(kind) in (Union, UnionType):
        return _arrow(inner[0])
    if get_origin(kind) is Annotated:
        return inner[1]
    if get_origin(kind) is Literal:
        return pa.string()
    if get_origin(kind) is Sequence:
        return pa.list_(_arrow(inner[0]))
    return _PLAIN[kind]
