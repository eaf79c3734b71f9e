"""A CSV or Parquet table of photos: a `path` column, optionally `key`, and optionally a box per photo."""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pyarrow import csv as pacsv
from pyarrow import parquet as pq

from pipeline.containers.listing import Box, Listing, ListingError, PhotoRef
from pipeline.containers.naming import unsafe_reason
from pipeline.photos.foreign import refused_by_suffix
from pipeline.storage import Folder, is_public, open_storage, read_uri, scheme_of, split_options

BOX_COLUMNS = ("left", "top", "right", "bottom")
SCHEMES = ("file", "https", "s3", "gs", "gcs", "hf", "az", "abfs", "abfss")
"""The storages that a row may name; the folder of the table itself may lie on any."""
_TEXT_COLUMNS = ("path", "key")
_AZURE = ".core.windows.net"


def list_table(uri: str | Path) -> Listing:
    """The photos that a table names, one row each, sorted by key; every row counts, whatever its suffix.

    `path` is relative to the table's folder, absolute, or a URI. The key is the `key` column where there is one, else the relative
    path; an absolute path or URI below the table's folder counts as relative, any other gives its key without the root or scheme.
    Columns left, top, right, bottom (whole upright pixels, all four or none, empty allowed) give a box. Keys that would leave the
    output folder, and places that no table may name, are listed as refused. Raises ListingError, with the row, for a missing
    column, a bad box, or a key given twice.
    """
    place = str(uri)
    table = _read(place)
    plain, options = split_options(place)
    options = "" if scheme_of(place) == "https" else options  # a query of the web belongs to one file
    home = plain.rpartition("/")[0] if scheme_of(place) != "file" else posixpath.dirname(open_storage(place)[1])
    rows = {name: table[name].to_pylist() for name in table.column_names}
    boxes = [_box(place, number, values) for number, values in _number_rows(rows, BOX_COLUMNS)]
    found: list[tuple[str, str, Box | None, str | None]] = []
    first_row: dict[str, int] = {}
    for number, (path, given) in _number_rows(rows, _TEXT_COLUMNS):
        if not path:
            raise ListingError(f"{place}, row {number}: the path is empty")
        where, key = _locate(str(path), home, options)
        key = str(given) if given else key
        if first_row.setdefault(key, number) != number:
            raise ListingError(f"{place}, rows {first_row[key]} and {number}: both are {key!r}; keep one row for each photo")
        found.append((key, where, boxes[number - 1], _refused_place(str(path), home, options)))
    if not found:
        raise ListingError(f"{place}: the table has no rows")
    sizes = _sizes(where for _, where, _, refused in found if not refused)
    return Listing(tuple(sorted((_ref(*each, sizes) for each in found), key=lambda ref: ref.key)))


def _read(place: str) -> pa.Table:
    data = pa.BufferReader(read_uri(place))
    try:
        if open_storage(place)[1].lower().endswith(".parquet"):
            names = [name for name in pq.ParquetFile(data).schema_arrow.names if name in {*_TEXT_COLUMNS, *BOX_COLUMNS}]
            table = pq.read_table(data, columns=names) if names else pa.table({})
        else:
            types = dict.fromkeys(_TEXT_COLUMNS, pa.string()) | dict.fromkeys(BOX_COLUMNS, pa.int64())
            table = pacsv.read_csv(data, convert_options=pacsv.ConvertOptions(column_types=types))
    except pa.ArrowInvalid as error:
        raise ListingError(f"{place}: the table cannot be read: {error} (a box is four whole numbers of pixels)") from error
    if "path" not in table.column_names:
        has = f" (it has {', '.join(table.column_names)})" if table.column_names else ""
        raise ListingError(f"{place}: the table has no column 'path'{has}; name the photos in a column of that name")
    missing = [name for name in BOX_COLUMNS if name not in table.column_names]
    if 0 < len(missing) < 4:
        raise ListingError(f"{place}: a box needs the columns left, top, right and bottom; missing: {', '.join(missing)}")
    wanted = {name: pa.string() for name in _TEXT_COLUMNS} | ({} if missing else {name: pa.int64() for name in BOX_COLUMNS})
    try:
        return pa.table({name: table[name].cast(kind) for name, kind in wanted.items() if name in table.column_names})
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ListingError(f"{place}: path must be text and the box whole numbers of pixels: {error}") from error


def _number_rows(rows: dict[str, list[object]], names: Iterable[str]) -> Iterable[tuple[int, tuple[object, ...]]]:
    """Row numbers from 1, the header not counted, with the values of some columns; None for a column that is not there."""
    count = len(rows["path"])
    return enumerate(zip(*(rows.get(name, [None] * count) for name in names), strict=True), start=1)


def _box(place: str, number: int, values: tuple[object, ...]) -> Box | None:
    if all(value is None for value in values):
        return None
    left, top, right, bottom = (value if isinstance(value, int) else -1 for value in values)
    if min(left, top) < 0 or right <= left or bottom <= top:
        shown = ", ".join(f"{name} {value}" for name, value in zip(BOX_COLUMNS, values, strict=True))
        raise ListingError(f"{place}, row {number}: not a box: {shown}; needs 0 <= left < right and 0 <= top < bottom")
    return left, top, right, bottom


def _locate(path: str, home: str, options: str) -> tuple[str, str]:
    """Where a file lies (a local path or a URI), and its key. What lies below the table's folder is opened as the table is."""
    if scheme_of(path) == "file" and scheme_of(home) == "file":
        is_uri = "://" in path[:8]
        where = open_storage(path)[1] if is_uri else os.path.join(home, path)  # noqa: PTH118 (Path would hide `a/../b`)
        below = where.removeprefix(home.rstrip("/") + "/")
        return where, _tidy(below.lstrip("/"))
    if scheme_of(path) == "file" and not path.startswith("/"):
        return Folder(home + options).uri_of(path), _tidy(path)
    if scheme_of(path) == "file":
        return path, _tidy(path.lstrip("/"))
    place, own = split_options(path)
    if place.startswith(f"{home}/"):
        return place + (own or options), _tidy(unquote(place.removeprefix(f"{home}/")))
    return path, _tidy(unquote(place.partition("://")[2].lstrip("/")))


def _refused_place(path: str, home: str, own: str = "") -> str | None:
    """Why a table may not name this place: the tables of others are not to reach servers that only this machine can reach."""
    scheme, (place, options) = scheme_of(path), split_options(path)
    if scheme == "file" or (place.startswith(f"{home}/") and (scheme == "https" or options in {"", own})):
        return None
    if scheme not in SCHEMES:
        return f"a table may not name {scheme}:// places, only local files and {', '.join(SCHEMES[1:])}"
    try:
        host, port = urlsplit(place).hostname or "", urlsplit(place).port
    except ValueError:
        return "its address is no URL"
    if not is_public(host):
        return f"{host} is no public address"
    is_chained = scheme in {"hf", "az"} and "::" in path
    is_elsewhere = scheme.startswith("abfs") and bool(port or "." in host) and not host.endswith(_AZURE)
    has_options = scheme != "https" and not all(option.startswith("region=") for option in options[1:].split("&") if option)
    return "a table may not name a server of its own for a storage" if is_chained or is_elsewhere or has_options else None


def _tidy(key: str) -> str:
    """Without `./` and doubled slashes; `..` stays, to be refused."""
    return "/".join(part for part in key.split("/") if part not in {"", "."})


def _sizes(places: Iterable[str]) -> dict[str, tuple[int, bool]]:
    """Size in bytes and whether it is a link, for each local file that exists; to ask a store for each of its files takes hours."""
    found: dict[str, tuple[int, bool]] = {}
    for place in places:
        with contextlib.suppress(OSError, ValueError):  # absent, or a name that no filesystem takes: reading it says so in its row
            status = os.lstat(place) if scheme_of(place) == "file" else None
            if status:
                found[place] = (status.st_size, stat.S_ISLNK(status.st_mode))
    return found


def _ref(key: str, where: str, box: Box | None, refused: str | None, sizes: dict[str, tuple[int, bool]]) -> PhotoRef:
    size, is_link = sizes.get(where, (0, False))
    refused = "a symbolic link; links are not followed" if is_link else refused or unsafe_reason(key)
    return PhotoRef(key, where, size, box=box, refused=refused or refused_by_suffix(posixpath.splitext(key)[1].lower()))
