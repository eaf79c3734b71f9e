"""Files on any storage: open a place by path or URI, read, list, and write so that a name is complete or absent."""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

import fsspec
from pyarrow import fs as pafs

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.\-]+)://")
_TEMPORARY = re.compile(r"^\..+\.[0-9a-f]{8}\.tmp$", re.DOTALL)
_LONGEST_NAME = 255  # bytes of one file name on the common local filesystems


class StorageError(ValueError):
    """A place that cannot be opened; the message says why."""


@dataclass(frozen=True)
class StoredFile:
    """One file of a listing: its path inside the filesystem, its size in bytes, and whether the name is a symbolic link."""

    path: str
    size_bytes: int
    is_link: bool = False


def scheme_of(uri: str | Path) -> str:
    """The storage scheme in lower case: `file` for a local path, else what stands before `://`."""
    match = _SCHEME.match(uri) if isinstance(uri, str) else None
    return match[1].lower() if match else "file"


def is_uri(place: str) -> bool:
    """Whether a place has a scheme, `file://` too."""
    return _SCHEME.match(place) is not None


def open_storage(uri: str | Path) -> tuple[pafs.FileSystem, str]:
    """The filesystem of a place and the path inside it, without a trailing slash.

    A local path (a relative one is taken from the working folder) or `file://`; `s3://`, `gs://`, `hdfs://` by pyarrow; any other
    scheme by fsspec. Symbolic links are not resolved. Nothing is created. Raises StorageError for an empty or unknown place.
    """
    if not str(uri).strip():
        raise StorageError("the place is empty: give a folder, a file or a URI")
    scheme = scheme_of(uri)
    if scheme == "file":
        return pafs.LocalFileSystem(), os.path.abspath(_local_path(uri))  # noqa: PTH100 (Path keeps `a/../b` as it is)
    if scheme in {"s3", "gs", "gcs", "hdfs", "viewfs", "abfs", "abfss"}:
        place, _, options = str(uri).partition("?")
        try:
            filesystem, path = pafs.FileSystem.from_uri(quote(place, safe="/:@%") + (f"?{options}" if options else ""))
        except (OSError, ValueError, NotImplementedError) as error:
            raise StorageError(f"{uri}: the storage {scheme}:// cannot be opened: {error}") from error
        return filesystem, path.rstrip("/")
    try:
        found, path = fsspec.core.url_to_fs(str(uri))
    except (ImportError, ValueError) as error:
        raise StorageError(f"{uri}: the storage {scheme}:// cannot be opened: {error}") from error
    return pafs.PyFileSystem(pafs.FSSpecHandler(found)), path.rstrip("/")


def is_local(fs: pafs.FileSystem) -> bool:
    """Whether files of this filesystem are plain files of this machine."""
    return isinstance(fs, pafs.LocalFileSystem)


def join(folder: str, name: str) -> str:
    """The path of a relative POSIX name below a folder."""
    return posixpath.join(folder, name)


def read_bytes(fs: pafs.FileSystem, path: str) -> bytes:
    """All bytes of a file, never decompressed by its suffix. Raises OSError (FileNotFoundError, ...) when it cannot be read."""
    if is_local(fs):
        return Path(path).read_bytes()
    with fs.open_input_file(path) as file:
        return bytes(file.read())


def exists(fs: pafs.FileSystem, path: str) -> bool:
    """Whether a file or a folder has this name."""
    if is_local(fs):
        return os.path.lexists(path)
    return bool(fs.get_file_info(path).type != pafs.FileType.NotFound)


def is_folder(fs: pafs.FileSystem, path: str) -> bool:
    """Whether this name is a folder; on an object store, a prefix that holds something."""
    if is_local(fs):
        return Path(path).is_dir()
    return bool(fs.get_file_info(path).type == pafs.FileType.Directory)


def list_files(fs: pafs.FileSystem, folder: str) -> list[StoredFile]:
    """Every file at any depth below a folder, sorted by path; links are listed but linked folders are not entered.

    Raises FileNotFoundError when the folder is missing and NotADirectoryError when it is a file.
    """
    if not exists(fs, folder):
        raise FileNotFoundError(f"{folder} does not exist")
    if not is_folder(fs, folder):
        raise NotADirectoryError(f"{folder} is not a folder")
    if is_local(fs):
        return sorted(_walk(folder), key=lambda file: file.path)
    infos = fs.get_file_info(pafs.FileSelector(folder, recursive=True))
    files = [StoredFile(info.path, int(info.size or 0)) for info in infos if info.type == pafs.FileType.File]
    return sorted(files, key=lambda file: file.path)


def make_folder(fs: pafs.FileSystem, path: str) -> None:
    """Creates a folder and its parents; does nothing on an object store, where folders are only part of a name."""
    if is_local(fs):
        Path(path).mkdir(parents=True, exist_ok=True)
    elif not isinstance(fs, (pafs.S3FileSystem, pafs.GcsFileSystem)):
        fs.create_dir(path, recursive=True)


def remove_file(fs: pafs.FileSystem, path: str) -> None:
    """Removes a file; a file that is already gone is no error."""
    with contextlib.suppress(FileNotFoundError):
        if is_local(fs):
            Path(path).unlink()
        else:
            fs.delete_file(path)


def write_atomic(fs: pafs.FileSystem, path: str, data: bytes | memoryview) -> None:
    """Writes a file so that its name holds the old bytes or all of the new ones, never a part; creates missing folders.

    Locally a temporary name in the same folder, fsync and a rename; elsewhere one upload of the final name. Raises OSError
    (no space, not permitted, a folder of that name, ...) and then leaves neither a temporary file nor a changed one.
    """
    make_folder(fs, posixpath.dirname(path))
    if not is_local(fs):
        with fs.open_output_stream(path, compression=None) as stream:
            stream.write(data)
        return
    temporary = temporary_path(path)
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(temporary.parent)


def temporary_path(path: str) -> Path:
    """A fresh local temporary name beside a path: `.{name}.{8 hex}.tmp`, the name shortened where it would be too long."""
    target = Path(path)
    room = _LONGEST_NAME - len("..12345678.tmp")
    name = target.name
    while len(os.fsencode(name)) > room:
        name = name[:-1]
    return target.with_name(f".{name}.{secrets.token_hex(4)}.tmp")


def is_temporary(path: str) -> bool:
    """Whether a path has the form that `write_atomic` gives its temporary files."""
    return _TEMPORARY.match(posixpath.basename(path)) is not None


def _local_path(uri: str | Path) -> str:
    if isinstance(uri, Path) or not _SCHEME.match(uri):
        return str(uri)
    rest = unquote(uri.split("://", 1)[1])
    if rest.startswith("localhost/"):
        rest = rest.removeprefix("localhost")
    if not rest.startswith("/"):
        raise StorageError(f"{uri}: a file URI needs an absolute path, such as file:///data/photos")
    return rest


def _walk(folder: str) -> list[StoredFile]:
    files = []
    for parent, _, names in os.walk(folder, onerror=_raise):
        for name in names:
            path = os.path.join(parent, name)  # noqa: PTH118 (millions of names: no Path each)
            with contextlib.suppress(FileNotFoundError):  # removed while we look
                status = os.lstat(path)
                files.append(StoredFile(path, status.st_size, stat.S_ISLNK(status.st_mode)))
    return files


def _raise(error: OSError) -> None:
    raise error


def _sync_folder(folder: Path) -> None:
    """Makes a rename survive a power cut, where the filesystem can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network filesystems refuse to sync a folder; the rename itself has happened
            os.fsync(handle)
    finally:
        os.close(handle)
