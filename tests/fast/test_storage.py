"""Storage: places open by path and URI, and a name never holds a part of a file."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.storage import (
    exists,
    is_folder,
    is_temporary,
    join,
    list_files,
    open_storage,
    read_bytes,
    remove_file,
    temporary_path,
    write_atomic,
)


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
    fs, path = open_storage(place)
    target = join(path, "sub/x.gz")
    assert not exists(fs, target)
    write_atomic(fs, target, b"old")
    write_atomic(fs, target, memoryview(b"new\x00"))
    assert read_bytes(fs, target) == b"new\x00"
    assert [(file.path, file.size_bytes) for file in list_files(fs, path)] == [(target, 4)]
    assert is_folder(fs, path)
    remove_file(fs, target)
    remove_file(fs, target)
    assert not exists(fs, target)


def test_a_relative_path_is_taken_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_storage("out/../photos/")[1] == str(tmp_path / "photos")
    assert open_storage(Path("photos"))[1] == str(tmp_path / "photos")


@pytest.mark.parametrize(("place", "words"), [("", "empty"), ("nosuch://x", "nosuch"), ("file://host/x", "absolute")])
def test_a_place_that_cannot_be_opened_says_why(place: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        open_storage(place)


def test_a_listing_is_sorted_and_names_links_without_entering_them(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").write_bytes(b"12")
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "loop").symlink_to(tmp_path)
    fs, path = open_storage(tmp_path)
    found = [(Path(file.path).relative_to(tmp_path).as_posix(), file.is_link) for file in list_files(fs, path)]
    assert found == [("a", False), ("b/x", False), ("link", True)]


def test_a_missing_folder_and_a_file_cannot_be_listed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    fs, path = open_storage(tmp_path)
    with pytest.raises(FileNotFoundError):
        list_files(fs, join(path, "none"))
    with pytest.raises(NotADirectoryError):
        list_files(fs, join(path, "file"))


def test_a_full_disk_leaves_the_old_bytes_and_no_temporary_file(small_disk: Path) -> None:
    fs, path = open_storage(small_disk)
    write_atomic(fs, join(path, "x"), b"old")
    with pytest.raises(OSError, match=r".") as caught:
        write_atomic(fs, join(path, "x"), bytes(1_000_000))
    assert caught.value.errno == errno.ENOSPC
    assert [entry.name for entry in small_disk.iterdir()] == ["x"]
    assert read_bytes(fs, join(path, "x")) == b"old"


def test_a_write_that_stops_half_way_leaves_the_old_bytes_and_no_temporary_file(tmp_path: Path) -> None:
    fs, path = open_storage(tmp_path)
    write_atomic(fs, join(path, "x"), b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_atomic(fs, join(path, "x"), bytes(1_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]
    assert read_bytes(fs, join(path, "x")) == b"old"


def test_a_folder_in_the_place_of_the_file_is_kept_and_nothing_is_left_behind(tmp_path: Path) -> None:
    (tmp_path / "x" / "inner").mkdir(parents=True)
    fs, path = open_storage(tmp_path)
    with pytest.raises(OSError, match=r"."):
        write_atomic(fs, join(path, "x"), b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_a_reader_beside_a_killed_writer_sees_only_complete_files(tmp_path: Path) -> None:
    code = (
        "import sys; from pipeline.storage import *; fs, p = open_storage(sys.argv[1])\n"
        "while True:\n    for letter in b'ab': write_atomic(fs, join(p, 'x'), bytes([letter]) * 300_000)"
    )
    fs, path = open_storage(tmp_path)
    write_atomic(fs, join(path, "x"), b"a" * 300_000)
    writer = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[2])
    try:
        until = time.monotonic() + 30
        seen: set[bytes] = set()
        while len(seen) < 2 and time.monotonic() < until:
            data = read_bytes(fs, join(path, "x"))
            assert len(data) == 300_000
            assert len(set(data)) == 1
            seen.add(data[:1])
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert seen == {b"a", b"b"}
    assert len(read_bytes(fs, join(path, "x"))) == 300_000
    assert all(is_temporary(entry.name) for entry in tmp_path.iterdir() if entry.name != "x")


@pytest.mark.parametrize("name", ["a.jpg", "é" * 127, "日" * 85, "x" * 255])
def test_a_temporary_name_is_recognised_and_fits_where_the_name_itself_fits(tmp_path: Path, name: str) -> None:
    temporary = temporary_path(str(tmp_path / name))
    assert is_temporary(str(temporary))
    assert temporary.parent == tmp_path
    fs, path = open_storage(tmp_path)
    write_atomic(fs, join(path, name), b"1")
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    "name", ["a.jpg", ".a.jpg", ".a.tmp", "a.0123abcd.tmp", ".a.0123abcg.tmp", ".a.0123abcd.tmp.png", "..0123abcd.tmp"]
)
def test_other_names_are_not_taken_for_temporary_ones(name: str) -> None:
    assert not is_temporary(name)
