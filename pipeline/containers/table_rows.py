"""Rows of a table of photos as people have them: CSV of any separator and encoding, JSON lines, a plain list, Parquet."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyarrow import parquet as pq

from pipeline.containers.listing import Box, ListingError
from pipeline.storage import open_storage, read_uri

BOX_COLUMNS = ("left", "top", "right", "bottom")
BOX_FORMS = (BOX_COLUMNS, ("x", "y", "width", "height"), ("left", "top", "width", "height"))
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".txt", ".csv.gz", ".tsv.gz", ".jsonl.gz", ".txt.gz", ".parquet")
MOST_BYTES = 4 * 2**30
"""The most bytes of a table when it is unpacked."""


@dataclass(frozen=True)
class TableRow:
    """A row: the place of a photo, its key and its box where they are given; ``wrong`` is why the row cannot be used."""

    path: str = ""
    key: str = ""
    box: Box | None = None
    wrong: str | None = None


Record = dict[str, Any] | str
"""Values by column, or why there are none."""


def read_rows(place: str) -> list[TableRow]:
    """All rows, the header not counted. Names of columns count in any case.

    A box is four numbers of upright pixels, or four shares of the photo's width and height from 0 to 1 (all at most 1), as left,
    top, right, bottom or as x, y, width, height. Raises ListingError for a table that cannot be read or has no column path.
    """
    try:
        names, records = _read(place)
    except (pa.ArrowInvalid, csv.Error, UnicodeError, zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise ListingError(f"{place}: the table cannot be read: {error}") from error
    if "path" not in names:
        has = f" (it has {', '.join(names)})" if names else ""
        raise ListingError(f"{place}: the table has no column 'path'{has}; name the photos in a column of that name")
    form = next((form for form in BOX_FORMS if set(form) <= set(names)), None)
    missing = [name for name in BOX_COLUMNS if name not in names]
    if form is None and len(missing) < 4:
        raise ListingError(f"{place}: a box needs the columns left, top, right and bottom; missing: {', '.join(missing)}")
    return [_row(record, form) for record in records]


def _read(place: str) -> tuple[Sequence[str], Iterable[Record]]:
    name, data = open_storage(place)[1].lower(), read_uri(place)
    if name.endswith(".parquet"):
        columns = {"path", "key", *(column for form in BOX_FORMS for column in form)}
        wanted = [c for c in pq.ParquetFile(pa.BufferReader(data)).schema_arrow.names if c.strip().lower() in columns]
        table = pq.read_table(pa.BufferReader(data), columns=wanted) if wanted else pa.table({})
        names = _names(place, table.column_names)
        return names, [dict(zip(names, values, strict=True)) for values in zip(*table.to_pydict().values(), strict=True)]
    if name.endswith(".gz"):
        name = name.removesuffix(".gz")
        with gzip.open(io.BytesIO(data)) as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise ListingError(f"{place}: the table is larger than {MOST_BYTES} bytes when unpacked")
    text = _text(data)
    if name.endswith(".txt"):
        return ["path"], [{"path": line} for line in text.splitlines() if line.strip()]
    if name.endswith(".jsonl"):
        records = [_json(line) for line in text.splitlines() if line.strip()]
        return list(dict.fromkeys(key for record in records if isinstance(record, dict) for key in record)), records
    head = text.partition("\n")[0]
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count))
    names = _names(place, next(lines, []))
    return names, [_fields(names, line) for line in lines if line]


def _text(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    nul = data[:2].find(b"\0")
    return data.decode("utf-8-sig" if nul < 0 else "utf-16-be" if nul == 0 else "utf-16-le")


def _names(place: str, columns: Iterable[str]) -> list[str]:
    names = [column.strip().lower() for column in columns]
    if twice := {name for name in names if names.count(name) > 1} & {"path", "key", *BOX_COLUMNS}:
        raise ListingError(f"{place}: several columns are called {', '.join(sorted(twice))}")
    return names


def _fields(names: Sequence[str], fields: Sequence[str]) -> Record:
    if len(fields) != len(names):
        return f"the row has {len(fields)} fields, the header {len(names)}"
    return dict(zip(names, fields, strict=True))


def _json(line: str) -> Record:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"the row is no JSON: {error}"
    return {str(k).strip().lower(): v for k, v in record.items()} if isinstance(record, dict) else "the row is no JSON object"


def _row(record: Record, form: Sequence[str] | None) -> TableRow:
    if isinstance(record, str):
        return TableRow(wrong=record)
    path, key = record.get("path"), record.get("key")
    if not isinstance(path, str) or not path.strip():
        return TableRow(wrong="the path is no text" if path and not isinstance(path, str) else "the path is empty")
    named = TableRow(path, "" if key is None else str(key))
    values = [record.get(name) for name in form or ()]
    if all(value is None or value == "" for value in values):
        return named
    try:
        return TableRow(path, named.key, _box([_number(value) for value in values], has_size="width" in (form or ())))
    except (TypeError, ValueError):
        shown = ", ".join(f"{name} {value}" for name, value in zip(form or (), values, strict=True))
        return TableRow(path, named.key, wrong=f"not a box: {shown}; needs 0 <= left < right and 0 <= top < bottom")


def _number(value: object) -> float:
    number = float(str(value).strip().replace(",", "."))
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{value} is no place in a photo")
    return number


def _box(numbers: Sequence[float], *, has_size: bool) -> Box:
    """The box as left, top, right, bottom: whole pixels, or shares where no number is above 1."""
    is_share = max(numbers) <= 1
    left, top, right, bottom = numbers
    if has_size:
        right, bottom = left + right, top + bottom
    if is_share and max(right, bottom) > 1 + 1e-6:
        raise ValueError("it ends outside the photo")
    box = (left, top, min(right, 1.0), min(bottom, 1.0)) if is_share else tuple(round(n) for n in (left, top, right, bottom))
    if not (box[0] < box[2] and box[1] < box[3]):
        raise ValueError("it is empty")
    return box[0], box[1], box[2], box[3]
