"""Find photos: in a folder at any depth, by a pattern, in a table, or a single file; local or on any storage.

Or the containers that hold them: WebDataset tars, and Parquet tables with the bytes in a column.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pipeline.containers.braces import expand
from pipeline.containers.image_table import holds_images
from pipeline.containers.listing import PHOTO_SUFFIXES, READ_SUFFIXES, ContainerKind, Listing, ListingError, PhotoRef
from pipeline.containers.naming import OWN_FOLDER, fold_name, folders_of, suffix_of, unsafe_reason
from pipeline.containers.pattern import compile_pattern, is_pattern, split_pattern
from pipeline.containers.samples import limit_photos
from pipeline.containers.table import list_table
from pipeline.containers.table_rows import TABLE_SUFFIXES
from pipeline.photos.foreign import refused_by_suffix
from pipeline.storage import Folder, StoredFile, split_options

__all__ = ["Listing", "ListingError", "PhotoRef", "find_photos", "walk_photos"]

CONTAINERS: dict[str, ContainerKind] = {".tar": "tar", ".parquet": "parquet"}
"""Containers by their suffixes; those that come first are taken where a folder holds several kinds."""
OWN_TABLES = re.compile(r"manifest\.parquet|manifest/.*")
"""What a protection run writes into its folder beside containers."""
Containers = bool | Literal["only"]
LINK_REASON = "a symbolic link; links are not followed"
LINKED_FOLDER_REASON = "a symbolic link to a folder; links are not followed: give that folder itself"


def find_photos(
    source: str | Path, *, containers: Containers = False, limit: int | None = None, image: str | None = None
) -> Listing:
    """All photos of a place at once, or those of the first ``limit`` that come, sorted by key: see `walk_photos`."""
    walk = walk_photos(source, containers=containers)
    return Listing(tuple(sorted(limit_photos(walk, limit, image=image), key=lambda ref: ref.key)), walk.ignored)


def walk_photos(source: str | Path, *, containers: Containers = False) -> PhotoWalk:
    """The photos of a folder (recursively), a pattern such as `photos/**/*.jpg`, a table (.csv, .jsonl, .txt, .parquet), or a file.

    Keys are relative to the folder, to the part of the pattern without signs, or as `list_table` says. Links are listed as refused
    and not followed, sub-folders that cannot be listed as failed; folders named `.disrupt` are passed over; other files are counted
    as ``ignored``. `source` may be a URI.
    They come one by one, in the same order for the same files. Raises ListingError, with the fix, when the source is missing or
    cannot be read, or in the end when there was no photo in it.

    With ``containers`` a place without photos gives its containers instead: its tars, or where there are none its Parquet files; a
    single Parquet file is one when it holds images and no paths. Brace patterns (`shard-{000..012}.tar`) name containers. Two of
    one name are refused, for their photos could have one key. With "only" photos are passed over, and there may be nothing.
    """
    return PhotoWalk(source, containers=containers)


class PhotoWalk(Iterator[PhotoRef]):
    """Photos as they are found, and how many other files were passed over so far; made by `walk_photos`."""

    def __init__(self, source: str | Path, *, containers: Containers = False) -> None:
        self.ignored = 0
        self._containers = containers
        self._refs = _distinct(self._walk(str(source)))

    def __next__(self) -> PhotoRef:
        return next(self._refs)

    def _walk(self, place: str) -> Iterator[PhotoRef]:
        try:
            folder = Folder(place)
            if folder.exists():
                yield from self._folder(folder, place, None) if folder.is_folder() else self._file(folder, place)
                return
            plain, options = split_options(place)
            if self._containers and "{" in plain:
                yield from self._braces(plain, options)
                return
            if is_pattern(plain):
                base, pattern = split_pattern(plain)
                folder = Folder(base + options)
                if not folder.is_folder():
                    raise ListingError(f"{base}: no such folder (looked for {pattern} in it)")
                yield from self._folder(folder, base + options, compile_pattern(pattern))
                return
        except ListingError:
            raise
        except (OSError, ImportError, ValueError) as error:
            raise ListingError(f"{place}: cannot be listed: {error}") from error
        raise ListingError(f"{place}: no such folder, table or file; check the spelling and, if it is relative, the working folder")

    def _folder(self, folder: Folder, place: str, pattern: re.Pattern[str] | None) -> Iterator[PhotoRef]:
        held: dict[ContainerKind, list[PhotoRef]] = {kind: [] for kind in CONTAINERS.values()}
        found, base = False, folder.path.rstrip("/") + "/" if folder.path else ""
        is_run = bool(self._containers) and folder.exists(OWN_FOLDER)
        for file in folder.files(skip=OWN_FOLDER, name_unreadable=True):
            key = file.path.removeprefix(base)
            if file.unreadable:
                found = True
                yield PhotoRef(_printable(key), _printable(file.path), 0, refused=file.unreadable, failed=True)
                continue
            if (OWN_FOLDER in key and OWN_FOLDER in key.split("/")) or (pattern is not None and not pattern.fullmatch(key)):
                continue
            if is_run and OWN_TABLES.fullmatch(key):
                continue
            name = key.rpartition("/")[2]
            suffix = suffix_of(name)
            is_photo = suffix in PHOTO_SUFFIXES and not name.startswith("._")  # macOS, no pixels
            if self._containers != "only" and (is_photo or (file.is_link and Path(file.path).is_dir())):
                found = True
                yield _ref(key, folder.uri_of(key), file)
            else:
                self.ignored += 1
                kind = CONTAINERS.get(suffix)
                if self._containers and kind and not found and not name.startswith("._"):
                    held[kind].append(_container(key, folder.uri_of(key), file, kind))
        if not found and (containers := next(filter(None, held.values()), [])):
            self.ignored -= len(containers)
            yield from containers
        elif not found and self._containers != "only":
            what = "photos found" if pattern is None else "photo fits the pattern"
            others = f" ({self.ignored} other files there)" if self.ignored else ""
            raise ListingError(f"{place}: no {what}{others}; photos end in {' '.join(sorted(READ_SUFFIXES))}")

    def _braces(self, plain: str, options: str) -> Iterator[PhotoRef]:
        home = plain.partition("{")[0].rpartition("/")[0]
        for name in expand(plain):
            file = Folder(name + options)
            kind = CONTAINERS.get(suffix_of(name))
            if kind is None:
                raise ListingError(f"{name}: braces name containers, which end in {' '.join(CONTAINERS)}")
            if not file.exists():
                raise ListingError(f"{name}: no such file (one of {plain})")
            yield _container(name.removeprefix(f"{home}/") if home else name, file.uri, _stored(file), kind)

    def _file(self, file: Folder, place: str) -> Iterable[PhotoRef]:
        suffix = suffix_of(file.path)
        if self._containers and (suffix == ".tar" or (suffix == ".parquet" and holds_images(place))):
            return [_container(posixpath.basename(file.path), file.uri, _stored(file), CONTAINERS[suffix])]
        return _file_or_table(file, place)


def _file_or_table(file: Folder, place: str) -> Iterable[PhotoRef]:
    suffix = suffix_of(file.path)
    if file.path.lower().endswith(TABLE_SUFFIXES):
        return list_table(place).refs
    if suffix not in PHOTO_SUFFIXES:
        raise ListingError(f"{place}: not a photo, a folder, or a table ({', '.join(TABLE_SUFFIXES)})")
    return [_ref(posixpath.basename(file.path), file.uri, _stored(file))]


def _stored(file: Folder) -> StoredFile:
    is_link = file.is_local and Path(file.path).is_symlink()
    return StoredFile(file.path, int(file.fs.get_file_info(file.path).size or 0), is_link)


def _distinct(refs: Iterable[PhotoRef]) -> Iterator[PhotoRef]:
    """The same, once no container has the name of another or of a folder that holds one."""
    names: set[str] = set()
    folders: set[str] = set()
    for ref in refs:
        if ref.container:
            own, above = fold_name(ref.key), {fold_name(name) for name in folders_of(ref.key)}
            if own in names or own in folders or names & above:
                raise ListingError(f"the container {ref.uri} has the name {ref.key!r} of another, or of a folder of containers")
            names.add(own)
            folders |= above
        yield ref


def _container(key: str, uri: str, file: StoredFile, kind: ContainerKind) -> PhotoRef:
    ref = _ref(key, uri, file)
    return replace(ref, key=posixpath.splitext(ref.key)[0], container=kind)


def _ref(key: str, uri: str, file: StoredFile) -> PhotoRef:
    if file.is_link:
        refused: str | None = LINKED_FOLDER_REASON if Path(file.path).is_dir() else LINK_REASON
    else:
        refused = unsafe_reason(key) or refused_by_suffix(suffix_of(key))
    return PhotoRef(_printable(key), _printable(uri), file.size_bytes, refused=refused)


def _printable(name: str) -> str:
    """The name itself, or with its bad bytes spelled out when it is not valid UTF-8 and no table could hold it."""
    return name if name.isascii() else name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
