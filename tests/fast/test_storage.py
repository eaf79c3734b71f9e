"""Storage: places open by path and URI, and a name never holds a part of a file."""

from __future__ import annotations

import ctypes
import errno
import os
import pickle
import resource
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipeline import s3, storage
from pipeline.storage import (
    FileTooLargeError,
    Folder,
    StoreAwayError,
    StoreRefusesError,
    is_temporary,
    open_storage,
    read_uri,
    temporary_path,
)
from tests.fast.s3 import s3_store


@pytest.fixture(params=["path", "file", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return {"path": f"{tmp_path}/a b#?é", "file": f"file://{tmp_path}/a%20b", "memory": f"memory://{secrets.token_hex(4)}/deep"}[
        request.param
    ]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real filesystem of 64 KiB."""
    libc = ctypes.CDLL(None, use_errno=True)
    disk = tmp_path / "disk"
    disk.mkdir()
    if libc.mount(b"none", os.fsencode(disk), b"tmpfs", 0, b"size=64k") != 0:
        pytest.skip("needs the right to mount a small filesystem")
    try:
        yield disk
    finally:
        libc.umount2(os.fsencode(disk), 2)


def test_what_is_written_is_read_back_and_replaced_on_every_kind_of_storage(place: str) -> None:
    folder, name = Folder(place), "sub/x.gz"
    assert not folder.exists(name)
    assert not folder.exists()
    folder.write(name, b"old")
    assert folder.write(name, memoryview(b"new\x00")) == folder.at(name)
    assert folder.read(name) == read_uri(folder.uri_of(name)) == b"new\x00"
    assert [(file.path, file.size_bytes) for file in folder.files()] == [(folder.at(name), 4)]
    assert folder.names() == {"sub"}
    assert folder.is_folder()
    folder.remove(name)
    folder.remove(name)
    assert not folder.exists(name)


def test_a_folder_travels_as_its_uri_and_a_relative_one_stays_where_it_was(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Folder(place).write("x", b"1")
    travelled = pickle.dumps(Folder(place))
    assert len(travelled) < 300
    assert pickle.loads(travelled).read("x") == b"1"
    monkeypatch.chdir(tmp_path)
    relative = pickle.dumps(Folder("here"))
    Folder("here").write("x", b"2")
    monkeypatch.chdir("/")
    assert pickle.loads(relative).read("x") == b"2"


def test_names_on_an_object_store_survive_their_uri() -> None:
    folder = Folder("s3://bucket/some%20folder?region=eu-west-1")
    assert open_storage(folder.uri_of("ü 100%?#.jpg"))[1] == folder.at("ü 100%?#.jpg") == "bucket/some folder/ü 100%?#.jpg"


def test_a_relative_path_is_taken_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_storage("out/../photos/")[1] == str(tmp_path / "photos")
    assert open_storage(Path("photos"))[1] == str(tmp_path / "photos")


@pytest.mark.parametrize(("place", "words"), [("", "empty"), ("nosuch://x", "nosuch"), ("file://host/x", "absolute")])
def test_a_place_that_cannot_be_opened_says_why(place: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        open_storage(place)


def test_a_listing_names_links_without_entering_them(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").write_bytes(b"12")
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "loop").symlink_to(tmp_path)
    files = {Path(file.path).relative_to(tmp_path).as_posix(): file.is_link for file in Folder(tmp_path).files()}
    assert files == {"a": False, "b/x": False, "link": True, "loop": True}
    assert {Path(file.path).name for file in Folder(tmp_path).files(skip="b")} == {"a", "link", "loop"}


def test_a_missing_folder_and_a_file_cannot_be_listed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError):
        list(Folder(tmp_path / "none").files())
    with pytest.raises(NotADirectoryError):
        list(Folder(tmp_path / "file").files())


def test_a_full_disk_leaves_the_old_bytes_and_no_temporary_file(small_disk: Path) -> None:
    folder = Folder(small_disk)
    folder.write("x", b"old")
    with pytest.raises(OSError, match=r".") as caught:
        folder.write("x", bytes(1_000_000))
    assert caught.value.errno == errno.ENOSPC
    assert [entry.name for entry in small_disk.iterdir()] == ["x"]
    assert folder.read("x") == b"old"


def test_a_write_that_stops_half_way_leaves_the_old_bytes_and_no_temporary_file(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write("x", b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            folder.write("x", bytes(1_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]
    assert folder.read("x") == b"old"


def test_a_folder_in_the_place_of_the_file_is_kept_and_nothing_is_left_behind(tmp_path: Path) -> None:
    (tmp_path / "x" / "inner").mkdir(parents=True)
    folder = Folder(tmp_path)
    with pytest.raises(OSError, match=r"."):
        folder.write("x", b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_a_reader_beside_a_killed_writer_sees_only_complete_files(tmp_path: Path) -> None:
    code = (
        "import sys; from pipeline.storage import *; folder = Folder(sys.argv[1])\n"
        "while True:\n    for letter in b'ab': folder.write('x', bytes([letter]) * 300_000)"
    )
    folder = Folder(tmp_path)
    folder.write("x", b"a" * 300_000)
    writer = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[2])
    try:
        until = time.monotonic() + 30
        seen: set[bytes] = set()
        while len(seen) < 2 and time.monotonic() < until:
            data = folder.read("x")
            assert len(data) == 300_000
            assert len(set(data)) == 1
            seen.add(data[:1])
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert seen == {b"a", b"b"}
    assert len(folder.read("x")) == 300_000
    assert all(is_temporary(entry.name) for entry in tmp_path.iterdir() if entry.name != "x")


@pytest.mark.parametrize("name", ["a.jpg", "é" * 127, "日" * 85, "x" * 255])
def test_a_temporary_name_is_recognised_and_fits_where_the_name_itself_fits(tmp_path: Path, name: str) -> None:
    temporary = temporary_path(str(tmp_path / name))
    assert is_temporary(str(temporary))
    assert temporary.parent == tmp_path
    folder = Folder(tmp_path)
    folder.write(name, b"1")
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    "name", ["a.jpg", ".a.jpg", ".a.tmp", "a.0123abcd.tmp", ".a.0123abcg.tmp", ".a.0123abcd.tmp.png", "..0123abcd.tmp"]
)
def test_other_names_are_not_taken_for_temporary_ones(name: str) -> None:
    assert not is_temporary(name)


def test_a_limit_of_bytes_holds_on_every_kind_of_storage(place: str) -> None:
    folder = Folder(place)
    folder.write("x", b"1234")
    assert read_uri(folder.uri_of("x"), most=4) == b"1234"
    with pytest.raises(FileTooLargeError):
        read_uri(folder.uri_of("x"), most=3)


def test_a_file_that_says_nothing_of_its_size_is_read_no_further_than_its_limit() -> None:
    assert Path("/proc/self/maps").stat().st_size == 0
    assert len(read_uri("/proc/self/maps", most=10**7)) > 100
    with pytest.raises(FileTooLargeError):
        read_uri("/proc/self/maps", most=100)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(OSError, match="no ordinary file"):
        read_uri(tmp_path / "pipe.jpg")


def test_a_file_on_s3_is_read_written_and_removed_in_one_request_each_and_no_upload_is_in_parts() -> None:
    with s3_store() as store:
        folder, large = Folder(store.uri), secrets.token_bytes(16_000_000)  # pyarrow would make four parts of it
        folder.write("a b.png", memoryview(large))
        folder.write_with("c", lambda file: file.writelines([b"12", b"34"]))
        assert folder.read("a b.png") == large
        assert read_uri(folder.uri_of("c"), most=4) == b"1234"
        with pytest.raises(FileTooLargeError):
            read_uri(folder.uri_of("c"), most=3)
        folder.remove("c")
        folder.remove("c")
        with pytest.raises(FileNotFoundError):
            folder.read("c")
        methods = [request.partition(" ")[0] for request in store.requests]
        assert methods == ["PUT", "PUT", "GET", "GET", "GET", "DELETE", "DELETE", "GET"]
        assert store.requests[0] == "PUT /bucket/some%20folder/a%20b.png"


def test_all_files_of_a_bucket_on_s3_share_one_client() -> None:
    with s3_store() as store:
        folder = Folder(store.uri)
        assert open_storage(folder.uri_of("a b.png")) == (folder.fs, "bucket/some folder/a b.png")
        assert open_storage(folder.uri_of("c"))[0] is pickle.loads(pickle.dumps(folder)).fs is folder.fs
        assert s3._client_of(folder.fs) is s3._client_of(folder.fs)


def test_a_store_that_takes_no_credentials_ends_the_run_and_one_that_withholds_an_object_does_not() -> None:
    with s3_store() as store:
        folder = Folder(store.uri)
        store.refused += " DELETE"
        for code in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"):
            store.refuse = (403, code)
            for call in (lambda: folder.read("a"), lambda: folder.write("a", b"1"), lambda: folder.remove("a")):
                with pytest.raises(StoreRefusesError, match=code):
                    call()
        store.refuse = (403, "AccessDenied")
        with pytest.raises(OSError, match="AccessDenied"):
            folder.read("a")


SLOW_DOWN = "When uploading part for key 'a' in bucket 'b': AWS Error SLOW_DOWN (HTTP status 503) during PutObject operation: x"
AWAY = [
    SLOW_DOWN,
    "AWS Error NETWORK_CONNECTION during HeadObject operation: curlCode: 7, Couldn't connect to server",
    "AWS Error INTERNAL_FAILURE during GetObject operation",
    "google::cloud::Status(UNAVAILABLE: HTTP status 503)",
    "Connection reset by peer: [Errno 104] Connection reset",
    'bucket/a: AWS Error NETWORK_CONNECTION: Could not connect to the endpoint URL: "http://x"',
    "bucket/a: AWS Error SlowDown (HTTP status 503): reached max retries",
]


@pytest.mark.parametrize("words", AWAY)
def test_a_store_that_is_away_is_waited_for_and_given_up_in_the_end(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers: list[Exception | str] = [OSError(words), OSError(words), OSError(words), "photo"]
    pauses: list[float] = []
    monkeypatch.setattr("pipeline.storage.time.sleep", pauses.append)

    def call() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert storage.while_away(call, "bucket/a") == "photo"
    assert pauses == [1, 2, 4]
    assert "waiting for the store of bucket/a" in capsys.readouterr().err
    monkeypatch.setattr(storage, "AWAY_SECONDS", 0.0)
    answers.append(OSError(words))
    with pytest.raises(StoreAwayError, match="run the same command again"):
        storage.while_away(call, "bucket/a")


def test_a_mount_that_went_away_is_waited_for_when_a_folder_is_listed_and_a_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "SlowDown.png").write_bytes(b"photo")
    pauses, away, scandir, stat = list[float](), list[int](), os.scandir, Path.stat
    monkeypatch.setattr("pipeline.storage.time.sleep", pauses.append)

    def reached(path: Any) -> Any:
        if away:
            raise OSError(away.pop(), "away", str(path))
        return path

    monkeypatch.setattr(os, "scandir", lambda path: scandir(reached(path)))
    monkeypatch.setattr(Path, "stat", lambda path, **options: stat(reached(path), **options))
    away += [errno.ENOTCONN, errno.ESTALE]
    assert [file.path for file in Folder(tmp_path).files(name_unreadable=True)] == [str(tmp_path / "SlowDown.png")]
    away += [errno.ESTALE]
    assert Folder(tmp_path).read("SlowDown.png") == b"photo"
    assert pauses == [1, 2, 1]
    away += [errno.EACCES]
    with pytest.raises(PermissionError):
        Folder(tmp_path).read("SlowDown.png")


@pytest.mark.parametrize("error", [FileNotFoundError("HTTP status 503"), OSError("AWS Error ACCESS_DENIED"), PermissionError("no")])
def test_other_errors_are_not_waited_for(error: OSError) -> None:
    def call() -> None:
        raise error

    with pytest.raises(type(error)):
        storage.while_away(call, "bucket/a")


def test_a_redirection_into_this_network_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

        def do_GET(self) -> None:
            asked.append(self.headers["Host"].partition(":")[0])
            self.send_response(302 if self.path == "/moved" else 200)
            self.send_header("Location", f"http://127.0.0.2:{port}/here")
            self.send_header("Content-Length", "4")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(b"1234")

        do_HEAD = do_GET

    server = ThreadingHTTPServer(("0.0.0.0", 0), Answer)
    port = server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(storage, "is_public", lambda host: host == "127.0.0.1")
    files = fsspec.filesystem("http", get_client=storage._public_client, skip_instance_cache=True)
    try:
        assert storage._read_by_fsspec(files, f"http://127.0.0.1:{port}/here", 4) == b"1234"
        with pytest.raises(FileTooLargeError):
            storage._read_by_fsspec(files, f"http://127.0.0.1:{port}/here", 3)
        with pytest.raises(OSError, match=r"127.0.0.2 is no public address"):
            storage._read_by_fsspec(files, f"http://127.0.0.1:{port}/moved", 4)
        assert set(asked) == {"127.0.0.1"}
    finally:
        server.shutdown()
        server.server_close()


def test_files_written_without_sync_are_synced_together_each_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    monkeypatch.setattr(storage, "_OPEN_FILES", 2)
    folder, names = Folder(tmp_path / "out"), ["a.png", "b/c.png", "b/d.png"]
    for name in names:
        folder.write(name, b"x", sync=False)
    assert not synced
    folder.sync([*names, "gone.png"])
    expected = [*names, "", "b"]
    assert sorted(synced) == sorted(Path(folder.at(name)).stat().st_ino for name in expected)
