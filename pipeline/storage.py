"""Files on any storage: open a place by path or URI, read, list, and write so that a name is complete or absent."""

from __future__ import annotations

import contextlib
import errno
import io
import ipaddress
import os
import posixpath
import re
import secrets
import shutil
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, TypeVar
from urllib.parse import quote, unquote

import fsspec
from pyarrow import fs as pafs

from pipeline import s3

if TYPE_CHECKING:
    import aiohttp

T = TypeVar("T")
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.\-]+)://")
_TEMPORARY = re.compile(r"^\..+\.[0-9a-f]{8}\.tmp$", re.DOTALL)
_LONGEST_NAME = 255  # bytes of one file name on the common local filesystems
_PIECE = 64 * 2**20  # bytes that are read at once of a file whose size nobody promises
_OPEN_FILES = 128  # that are synced together
AWAY_SECONDS = 600.0
"""How long a distant store may be away before a run ends."""
_AWAY = re.compile(
    r"SLOW_DOWN|SERVICE_UNAVAILABLE|INTERNAL_FAILURE|NETWORK_CONNECTION|REQUEST_TIMEOUT|THROTTLING|HTTP status (500|502|503|504)"
    r"|SlowDown|ServiceUnavailable|InternalError|timed out|[Cc]onnection (refused|reset|aborted)|[Cc]annot connect|Couldn't connect"
)
_MOUNT_AWAY = frozenset({errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ETIMEDOUT})
"""How the system says that what is mounted at a local path (NFS, FUSE) is away."""
_NO_KEY = re.compile(r"InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken|ExpiredToken|Unable to locate credentials")
"""How S3 says that it takes none of our credentials, for whatever object."""
_ADVICE = {
    r"ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE_DOES_NOT_MATCH|HTTP status 40[013]|InvalidToken|ExpiredToken"
    r"|Unable to locate credentials|PERMISSION_DENIED|UNAUTHENTICATED"
    r"|AuthenticationFailed|AuthorizationFailure|AuthorizationPermissionMismatch": (
        "The storage refuses: check the credentials (AWS_PROFILE or AWS_ACCESS_KEY_ID for S3, GOOGLE_APPLICATION_CREDENTIALS for "
        "Google Cloud) and that they may list, read and write there."
    ),
    r"NO_SUCH_BUCKET|NoSuchBucket|HTTP status 301|ContainerNotFound|bucket does not exist|Bucket '.*' not found": (
        "There is no such bucket: create it, or check its name and region."
    ),
}
"""What to do about errors of object stores, by what their messages hold; pyarrow has one class for all of them."""


class StorageError(ValueError):
    """A place that cannot be opened; the message says why."""


class FileTooLargeError(OSError):
    """A file of more bytes than are to be read."""


class StoreAwayError(ValueError):
    """A distant store did not answer for a long time; the message says what to do."""


class StoreRefusesError(StoreAwayError):
    """A distant store takes no credentials of ours; the message says what to do."""


@dataclass(frozen=True)
class StoredFile:
    """One file of a listing: its path inside the filesystem, its size in bytes, and whether the name is a symbolic link.

    Or a folder that cannot be listed, with the reason as ``unreadable``.
    """

    path: str
    size_bytes: int
    is_link: bool = False
    unreadable: str | None = None


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
    scheme by fsspec. `https://` is read from public addresses alone, whatever a name or a redirection leads to. Symbolic links are
    not resolved. Nothing is created. Raises StorageError for an empty or unknown place.
    """
    if not str(uri).strip():
        raise StorageError("the place is empty: give a folder, a file or a URI")
    scheme = scheme_of(uri)
    if scheme == "file":
        return pafs.LocalFileSystem(), os.path.abspath(_local_path(uri))  # noqa: PTH100 (Path keeps `a/../b` as it is)
    if scheme in {"s3", "gs", "gcs", "hdfs", "viewfs", "abfs", "abfss"}:
        place, _, options = str(uri).partition("?")
        authority, _, below = place.partition("://")[2].partition("/")
        try:
            filesystem, root = _client(scheme, authority, options)
        except (OSError, ValueError, NotImplementedError) as error:
            raise StorageError(f"{uri}: the storage {scheme}:// cannot be opened: {error}") from error
        return filesystem, f"{root}{unquote(below)}".rstrip("/")
    try:
        found, path = fsspec.core.url_to_fs(str(uri), **({"get_client": _public_client} if scheme == "https" else {}))
    except (ImportError, ValueError) as error:
        raise StorageError(f"{uri}: the storage {scheme}:// cannot be opened: {error}") from error
    return pafs.PyFileSystem(pafs.FSSpecHandler(found)), path.rstrip("/")


@lru_cache(maxsize=128)
def _client(scheme: str, authority: str, options: str) -> tuple[pafs.FileSystem, str]:
    """The one filesystem of this process for a bucket, and the path of the bucket in it: a client has connections and threads."""
    uri = f"{scheme}://{quote(authority, safe=':@%')}/" + (f"?{options}" if options else "")
    filesystem, root = pafs.FileSystem.from_uri(uri)
    return filesystem, f"{root.rstrip('/')}/" if root else ""


def is_public(host: str) -> bool:
    """Whether a host may be on the internet: any name, and an address that is not of this machine or network."""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return True


async def _public_client(**options: Any) -> aiohttp.ClientSession:
    """A client that opens no connection into this machine or network."""
    import aiohttp

    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(socket_factory=_public_socket), **options)


def _public_socket(address: tuple[Any, ...]) -> socket.socket:
    """A socket for an address as `socket.getaddrinfo` gives it; raises PermissionError for one that is not public."""
    family, kind, protocol, _, (host, *_) = address
    if not is_public(host):
        raise PermissionError(errno.EACCES, f"{host} is no public address")
    return socket.socket(family, kind, protocol)


class Folder:
    """A folder on any storage, by path or URI: local or remote is decided once, and it travels between processes as its URI.

    Names are relative POSIX paths below it; nothing is created before something is written. Raises what `open_storage` raises.
    """

    def __init__(self, place: str | Path) -> None:
        self.fs, self.path = open_storage(place)
        self.is_local = isinstance(self.fs, pafs.LocalFileSystem)
        self.uri = self.path if self.is_local else str(place)
        self._start = posixpath.join(self.path, "")

    def __reduce__(self) -> tuple[type[Folder], tuple[str]]:
        return Folder, (self.uri,)

    def at(self, name: str) -> str:
        """The path of a name inside the filesystem; an absolute one is that path already."""
        return name if name.startswith("/") else self._start + name

    def uri_of(self, name: str) -> str:
        """The path or URI of a name; pyarrow's own storages take percent signs, those of fsspec plain text."""
        if self.is_local:
            return self.at(name)
        place, options = split_options(self.uri)
        return f"{place.rstrip('/')}/{name if isinstance(self.fs, pafs.PyFileSystem) else quote(name)}{options}"

    def exists(self, name: str = "") -> bool:
        """Whether a file or a folder has this name; without a name, whether the folder itself is there."""
        path = self.at(name) if name else self.path
        return os.path.lexists(path) if self.is_local else self._info(path).type != pafs.FileType.NotFound

    def is_folder(self) -> bool:
        """Whether this is a folder and no file; on an object store, a prefix that holds something."""
        return Path(self.path).is_dir() if self.is_local else self._info(self.path).type == pafs.FileType.Directory

    def names(self) -> set[str]:
        """The names directly in the folder. Raises OSError when it cannot be listed."""
        if self.is_local:
            return {entry.name for entry in Path(self.path).iterdir()}
        return {info.base_name for info in self._info(pafs.FileSelector(self.path))}

    def names_in(self, name: str) -> set[str]:
        """The names directly in a folder below this one; none when it is missing."""
        return {info.base_name for info in self._info(pafs.FileSelector(self.at(name), allow_not_found=True))}

    def files(self, *, skip: str = "", name_unreadable: bool = False) -> Iterator[StoredFile]:
        """Every file at any depth; links are listed, not followed. Local folders of the name ``skip`` are not entered.

        The order is the same for the same files: on an object store that of the paths, here folder by folder.

        Raises OSError when the folder is missing (FileNotFoundError), is a file (NotADirectoryError) or cannot be listed. With
        ``name_unreadable`` a local sub-folder that cannot be listed (no permission, a loop of mounts) comes as one that says so.
        """
        if not self.is_local:
            infos = self._info(pafs.FileSelector(self.path, recursive=True))
            infos.sort(key=lambda info: info.path)
            yield from (StoredFile(info.path, int(info.size or 0)) for info in infos if info.type == pafs.FileType.File)
            return
        waiting = [self.path]
        while waiting:
            place = waiting.pop()
            try:
                entries = while_away(partial(_entries, place), place)
            except OSError as error:
                if place == self.path or not name_unreadable:
                    raise
                yield StoredFile(place, 0, unreadable=f"the folder cannot be listed: {error.strerror}")
                continue
            folders = []
            for entry in entries:
                if entry.is_symlink():
                    yield StoredFile(entry.path, 0, is_link=True)
                elif entry.is_dir():
                    folders += [entry.path] if entry.name != skip else []
                elif entry.is_file():
                    yield StoredFile(entry.path, entry.stat().st_size)
            waiting += reversed(folders)

    def _info(self, place: str | pafs.FileSelector) -> Any:
        return while_away(lambda: self.fs.get_file_info(place), self.path)

    def read(self, name: str) -> bytes:
        """All bytes of a file. Raises OSError when it cannot be read."""
        return read_bytes(self.fs, self.at(name))

    def write(self, name: str, data: bytes | memoryview, *, sync: bool = True) -> str:
        """The path of a file that now holds these bytes: see `write_atomic`."""
        write_atomic(self.fs, self.at(name), data, sync=sync)
        return self.at(name)

    def sync(self, names: Iterable[str]) -> None:
        """Makes local files that were written without it survive a power cut; together, which costs much less than one by one.

        One that is gone is passed over. Raises OSError for one that the disk cannot keep.
        """
        paths = [path for name in names if os.path.lexists(path := self.at(name))] if self.is_local else []
        for start in range(0, len(paths), _OPEN_FILES):
            with contextlib.ExitStack() as opened:
                files = [opened.enter_context(Path(path).open("rb")) for path in paths[start : start + _OPEN_FILES]]
                if sys.platform == "linux":  # begins to write them all, so that the waits below are short
                    for file in files:
                        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                for file in files:
                    os.fsync(file.fileno())
        for folder in sorted({posixpath.dirname(path) for path in paths}):
            _sync_folder(folder)

    def write_with(self, name: str, fill: Callable[[BinaryIO], None]) -> str:
        """The path of a file that ``fill`` wrote, complete or not at all, and never wholly in memory."""
        path = self.at(name)
        if self.is_local:
            make_folder(self.fs, posixpath.dirname(path))
            with _replacing(path) as file:
                fill(file)
            return path
        with tempfile.TemporaryFile() as whole:
            fill(whole)
            while_away(lambda: _write_remote(self.fs, path, whole), path)
        return path

    def remove(self, name: str) -> None:
        """Removes a file; a file that is already gone is no error."""
        with contextlib.suppress(FileNotFoundError):
            if self.is_local:
                Path(self.at(name)).unlink()
            else:
                while_away(lambda: _delete_remote(self.fs, self.at(name)), self.at(name))

    def remove_folder(self, name: str) -> None:
        """Removes a local folder that is empty; one that is gone or holds something stays as it is."""
        with contextlib.suppress(OSError):
            Path(self.at(name)).rmdir()

    def remove_tree(self, name: str = "") -> None:
        """Removes a file, or a folder and all in it; what is gone already is no error."""
        path = self.at(name) if name else self.path
        kind = self.fs.get_file_info(path).type
        if kind == pafs.FileType.Directory:
            self.fs.delete_dir(path)
        elif kind == pafs.FileType.File:
            self.fs.delete_file(path)


def read_uri(uri: str | Path, *, most: int | None = None) -> bytes:
    """All bytes of the file at a path or URI: see `read_bytes`."""
    return read_bytes(*open_storage(uri), most=most)


def write_uri(uri: str | Path, data: bytes | memoryview) -> None:
    """Writes the file at a path or URI: see `write_atomic`."""
    write_atomic(*open_storage(uri), data)


def advice_on(error: BaseException) -> str | None:
    """What to do about an error, or one that caused it, that says that a storage refuses credentials or has no such bucket."""
    for words, advice in _ADVICE.items():
        if isinstance(error, (OSError, StorageError)) and re.search(words, str(error)):
            return advice
    return advice_on(error.__cause__) if error.__cause__ else None


def split_options(uri: str) -> tuple[str, str]:
    """A URI and its options, `?` included; a local path has none."""
    place, mark, options = (uri, "", "") if scheme_of(uri) == "file" else uri.partition("?")
    return place, mark + options


def read_bytes(fs: pafs.FileSystem, path: str, *, most: int | None = None) -> bytes:
    """All bytes of a file, never decompressed by its suffix. Raises OSError (FileNotFoundError, ...) when it cannot be read.

    Raises FileTooLargeError for a file that holds more than ``most`` bytes, and reads no more than those.
    """
    if isinstance(fs, pafs.PyFileSystem):
        return _read_by_fsspec(fs.handler.fs, path, most)
    if not isinstance(fs, pafs.LocalFileSystem):
        return while_away(lambda: _read_remote(fs, path, most), path)
    return while_away(lambda: _read_local(path, most), path)


def _read_local(path: str, most: int | None) -> bytes:
    status = Path(path).stat()
    if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for its writer
        raise OSError(f"{path} is no ordinary file")
    with Path(path).open("rb") as local:
        return _read_all(local, status.st_size, most)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """What a local folder holds, by name."""
    with os.scandir(folder) as found:
        return sorted(found, key=lambda entry: entry.name)


def _read_remote(fs: pafs.FileSystem, path: str, most: int | None) -> bytes:
    if isinstance(fs, pafs.S3FileSystem):
        with s3.as_os_error(path):
            answer = s3.get(fs, path)
            with contextlib.closing(answer["Body"]) as body:
                return _read_all(body, answer["ContentLength"], most)
    with fs.open_input_file(path) as file:
        return _read_all(file, file.size(), most)


def _read_by_fsspec(fs: fsspec.AbstractFileSystem, path: str, most: int | None) -> bytes:
    """All bytes of a file; each of the libraries below has errors of its own, here they are OSErrors with the same words."""
    try:
        with fs.open(path, "rb") as file:
            return _read_all(file, 0, most)
    except FileTooLargeError:
        raise
    except Exception as error:
        why = error.__cause__ or error
        kind = FileNotFoundError if isinstance(why, FileNotFoundError) else OSError
        raise kind(f"{path}: {why or type(why).__name__}") from error


def _read_all(file: IO[bytes], size: int, most: int | None) -> bytes:
    """All bytes of a file; its ``size`` is only a hint (0 where nobody knows it), what it holds counts."""
    if most is None:
        return bytes(file.read())
    pieces: list[bytes] = []
    room = 0 if size > most else most + 1
    while piece := file.read(min(_PIECE, room)):
        pieces.append(piece)
        room -= len(piece)
    if not room:
        raise FileTooLargeError(f"the file holds more than {most} bytes")
    return b"".join(pieces)


def make_folder(fs: pafs.FileSystem, path: str) -> None:
    """Creates a folder and its parents; does nothing on an object store, where folders are only part of a name."""
    if isinstance(fs, pafs.LocalFileSystem):
        Path(path).mkdir(parents=True, exist_ok=True)
    elif not isinstance(fs, (pafs.S3FileSystem, pafs.GcsFileSystem)):
        fs.create_dir(path, recursive=True)


def write_atomic(fs: pafs.FileSystem, path: str, data: bytes | memoryview, *, sync: bool = True) -> None:
    """Writes a file so that its name holds the old bytes or all of the new ones, never a part; creates missing folders.

    Locally a temporary name in the same folder, fsync and a rename; elsewhere one upload of the final name. Raises OSError
    (no space, not permitted, a folder of that name, ...) and then leaves neither a temporary file nor a changed one. Without
    ``sync`` a power cut may empty a local file until `Folder.sync`.
    """
    if not isinstance(fs, pafs.LocalFileSystem):
        while_away(lambda: _write_remote(fs, path, data), path)
        return
    make_folder(fs, posixpath.dirname(path))
    with _replacing(path, sync=sync) as file:
        file.write(data)


@contextlib.contextmanager
def _replacing(path: str, *, sync: bool = True) -> Iterator[BinaryIO]:
    """A local file that gets its name when the block ends in order, and else goes."""
    temporary = temporary_path(path)
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if sync:
        _sync_folder(temporary.parent)


def _write_remote(fs: pafs.FileSystem, path: str, data: bytes | memoryview | IO[bytes]) -> None:
    """Writes what is given in one upload, on S3 in one request where it takes so much."""
    size = len(data) if isinstance(data, (bytes, memoryview)) else data.seek(0, os.SEEK_END)
    whole = io.BytesIO(data) if isinstance(data, (bytes, memoryview)) else data
    whole.seek(0)
    if isinstance(fs, pafs.S3FileSystem) and size <= s3.LARGEST:
        s3.put(fs, path, whole)
        return
    make_folder(fs, posixpath.dirname(path))
    with fs.open_output_stream(path, compression=None) as stream:
        shutil.copyfileobj(whole, stream, _PIECE)


def _delete_remote(fs: pafs.FileSystem, path: str) -> None:
    if isinstance(fs, pafs.S3FileSystem):
        s3.delete(fs, path)
    else:
        fs.delete_file(path)


def while_away(call: Callable[[], T], place: str) -> T:
    """What the call returns, made again and again while a store is away or overloaded, with pauses of up to 30 seconds.

    Raises other errors as they are, StoreAwayError after AWAY_SECONDS, and StoreRefusesError when it takes none of our credentials:
    no photo is to blame for its store.
    """
    began, pause = time.monotonic(), 1.0
    while True:
        try:
            return call()
        except OSError as error:
            if _NO_KEY.search(str(error)):
                raise StoreRefusesError(f"{error}. What is done is kept; run the same command again with others.") from error
            if not _is_away(error):
                raise
            gone = time.monotonic() - began
            if gone + pause > AWAY_SECONDS:
                advice = "What is done is kept; run the same command again when it answers."
                raise StoreAwayError(f"{place}: the store has been away for {gone:.0f} s ({error}). {advice}") from error
            print(f"waiting for the store of {place}: {error}", file=sys.stderr)
            time.sleep(pause)
            pause = min(2 * pause, 30.0)


def _is_away(error: OSError) -> bool:
    """Whether an error says that a store is away. One that names a local file says it by its number, never by its words."""
    if error.errno in _MOUNT_AWAY:
        return True
    return error.filename is None and not isinstance(error, FileNotFoundError) and _AWAY.search(str(error)) is not None


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


def _sync_folder(folder: str | Path) -> None:
    """Makes a rename survive a power cut, where the filesystem can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network filesystems refuse to sync a folder; the rename itself has happened
            os.fsync(handle)
    finally:
        os.close(handle)
