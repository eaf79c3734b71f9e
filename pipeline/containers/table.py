"""A table of photos: a `path` column, optionally `key`, and optionally boxes: one a row, several rows of one photo for several."""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipeline.containers.listing import Box, Listing, ListingError, PhotoRef
from pipeline.containers.naming import unsafe_reason
from pipeline.containers.table_rows import read_rows
from pipeline.photos.foreign import refused_by_suffix
from pipeline.storage import Folder, StorageError, is_public, open_storage, scheme_of, split_options

SCHEMES = ("file", "https", "s3", "gs", "gcs", "hf", "az", "abfs", "abfss")
"""The storages that a row may name; the folder of the table itself may lie on any."""
_AZURE = ".core.windows.net"


def list_table(uri: str | Path) -> Listing:
    """The photos that a table names, sorted by key; every row counts, whatever its suffix. Rows of one photo give it their boxes.

    `path` is relative to the table's folder, absolute, or a URI. The key is the `key` column where there is one, else the relative
    path; an absolute path or URI below the table's folder counts as relative, any other gives its key without the root or scheme.
    Boxes are those of `read_rows`. Keys that would leave the output folder are listed as refused; rows that are odd and places that
    no table may name or that are none, as failed. Raises ListingError for a missing column, and for a key given twice without a box
    or for two files, with the rows.
    """
    place = str(uri)
    plain, options = split_options(place)
    options = "" if scheme_of(place) == "https" else options  # a query of the web belongs to one file
    home = plain.rpartition("/")[0] if scheme_of(place) != "file" else posixpath.dirname(open_storage(place)[1])
    found: dict[str, _Named] = {}
    for number, row in enumerate(read_rows(place), start=1):
        where, key, wrong = row.path, "", row.wrong
        if row.path:
            try:
                where, key = _locate(row.path, home, options)
            except (StorageError, ValueError) as error:
                wrong = str(error)
        key = row.key or key or f"row {number}"
        boxes = (row.box,) if row.box else ()
        now = _Named(number, where, boxes, wrong or _refused_place(row.path, home, options), has_box=bool(row.box or row.wrong))
        first = found.setdefault(key, now)
        if first is not now:
            if not (first.has_box and now.has_box and _tidy(first.where) == _tidy(where)):
                why = "keep one row for each photo, or one for each box of it"
                raise ListingError(f"{place}, rows {first.number} and {number}: both are {key!r}; {why}")
            found[key] = replace(first, boxes=first.boxes + boxes, wrong=first.wrong or now.wrong)
    if not found:
        raise ListingError(f"{place}: the table has no rows")
    sizes = _sizes(one.where for one in found.values() if not one.wrong)
    return Listing(tuple(_ref(key, found[key], sizes) for key in sorted(found)))


@dataclass(frozen=True)
class _Named:
    """A photo by its first row: where it lies, the boxes of all its rows, and why it cannot be used."""

    number: int
    where: str
    boxes: tuple[Box, ...]
    wrong: str | None
    has_box: bool


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


def _ref(key: str, photo: _Named, sizes: dict[str, tuple[int, bool]]) -> PhotoRef:
    where, boxes, wrong = photo.where, photo.boxes, photo.wrong
    size, is_link = sizes.get(where, (0, False))
    refused = unsafe_reason(key) or ("a symbolic link; links are not followed" if is_link else None)
    if wrong and not refused:
        return PhotoRef(key, where, size, boxes=boxes, refused=wrong, failed=True)
    return PhotoRef(key, where, size, boxes=boxes, refused=refused or refused_by_suffix(posixpath.splitext(key)[1].lower()))
