"""Find photos: in a folder at any depth, by a pattern, in a CSV or Parquet table, or a single file; local or on any storage."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

from pyarrow import fs as pafs

from pipeline.containers.listing import Listing, ListingError, PhotoRef
from pipeline.containers.naming import OWN_FOLDER, unsafe_reason
from pipeline.containers.pattern import compile_pattern, is_pattern, split_pattern
from pipeline.containers.table import list_table
from pipeline.photos.foreign import OTHER_SUFFIXES, RAW_SUFFIXES, refused_by_suffix
from pipeline.storage import StoredFile, exists, is_folder, is_local, list_files, open_storage, scheme_of

__all__ = ["Listing", "ListingError", "PhotoRef", "find_photos"]

READ_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".tif", ".tiff", ".bmp", ".dib", ".gif"}
)
PHOTO_SUFFIXES = READ_SUFFIXES | RAW_SUFFIXES | OTHER_SUFFIXES.keys()
TABLE_SUFFIXES = frozenset({".csv", ".parquet"})
LINK_REASON = "a symbolic link; links are not followed"
LINKED_FOLDER_REASON = "a symbolic link to a folder; links are not followed: give that folder itself"


def find_photos(source: str | Path) -> Listing:
    """The photos of a folder (recursively), a pattern such as `photos/**/*.jpg`, a `.csv` or `.parquet` table, or a single file.

    Keys are relative to the folder, to the part of the pattern without signs, or as `list_table` says. Links are listed as refused
    and not followed; folders named `.disrupt` are passed over; other files are counted as ignored. `source` may be a URI.
    Raises ListingError, with the fix, when the source is missing or cannot be read, or when there is no photo in it.
    """
    place = str(source)
    try:
        fs, path = open_storage(place)
        if exists(fs, path):
            if not is_folder(fs, path):
                return _file_or_table(fs, path, place)
            return _listing(_files(fs, path), fs, path, place, None)
        if is_pattern(_without_options(place)):
            folder, pattern = split_pattern(_without_options(place))
            fs, path = open_storage(folder + _options(place))
            if not is_folder(fs, path):
                raise ListingError(f"{folder}: no such folder (looked for {pattern} in it)")
            return _listing(_files(fs, path), fs, path, folder + _options(place), compile_pattern(pattern))
    except ListingError:
        raise
    except (OSError, ImportError, ValueError) as error:
        raise ListingError(f"{place}: cannot be listed: {error}") from error
    raise ListingError(f"{place}: no such folder, table or file; check the spelling and, if it is relative, the working folder")


def _file_or_table(fs: pafs.FileSystem, path: str, place: str) -> Listing:
    suffix = posixpath.splitext(path)[1].lower()
    if suffix in TABLE_SUFFIXES:
        return list_table(place)
    if suffix not in PHOTO_SUFFIXES:
        raise ListingError(f"{place}: not a photo, a folder, or a table (.csv, .parquet)")
    is_link = is_local(fs) and Path(path).is_symlink()
    file = StoredFile(path, int(fs.get_file_info(path).size or 0), is_link)
    return Listing((_ref(posixpath.basename(path), path if is_local(fs) else place, file),))


def _listing(files: Iterable[StoredFile], fs: pafs.FileSystem, root: str, place: str, pattern: re.Pattern[str] | None) -> Listing:
    refs, ignored = [], 0
    base = root.rstrip("/") + "/" if root else ""
    for file in files:
        key = file.path.removeprefix(base)
        if OWN_FOLDER in key.split("/") or (pattern is not None and not pattern.fullmatch(key)):
            continue
        name = posixpath.basename(key)
        is_photo = posixpath.splitext(name)[1].lower() in PHOTO_SUFFIXES and not name.startswith("._")  # ._x.jpg: macOS, no pixels
        if is_photo or (file.is_link and Path(file.path).is_dir()):
            refs.append(_ref(key, file.path if is_local(fs) else _child(fs, place, key), file))
        else:
            ignored += 1
    if not refs:
        what = "photos found" if pattern is None else "photo fits the pattern"
        others = f" ({ignored} other files there)" if ignored else ""
        raise ListingError(f"{place}: no {what}{others}; photos end in {' '.join(sorted(READ_SUFFIXES))}")
    return Listing(tuple(sorted(refs, key=lambda ref: ref.key)), ignored)


def _ref(key: str, uri: str, file: StoredFile) -> PhotoRef:
    if file.is_link:
        refused: str | None = LINKED_FOLDER_REASON if Path(file.path).is_dir() else LINK_REASON
    else:
        refused = unsafe_reason(key) or refused_by_suffix(posixpath.splitext(key)[1].lower())
    return PhotoRef(_printable(key), _printable(uri), file.size_bytes, refused=refused)


def _printable(name: str) -> str:
    """The name itself, or with its bad bytes spelled out when it is not valid UTF-8 and no table could hold it."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _files(fs: pafs.FileSystem, root: str) -> Iterator[StoredFile]:
    """Files at any depth; a local walk does not enter `.disrupt`, and yields links to folders as links."""
    if not is_local(fs):
        yield from list_files(fs, root)
        return
    open_folders = [root]
    while open_folders:
        with os.scandir(open_folders.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    yield StoredFile(entry.path, 0, is_link=True)
                elif entry.is_dir():
                    if entry.name != OWN_FOLDER:
                        open_folders.append(entry.path)
                elif entry.is_file():
                    yield StoredFile(entry.path, entry.stat().st_size)


def _child(fs: pafs.FileSystem, place: str, key: str) -> str:
    """The URI of a file below the place that was listed; pyarrow's own storages take percent signs, those of fsspec plain text."""
    name = key if isinstance(fs, pafs.PyFileSystem) else quote(key)
    return f"{_without_options(place).rstrip('/')}/{name}{_options(place)}"


def _without_options(place: str) -> str:
    return place if scheme_of(place) == "file" else place.partition("?")[0]


def _options(place: str) -> str:
    return place.removeprefix(_without_options(place))
