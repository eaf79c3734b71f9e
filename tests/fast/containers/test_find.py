"""Finding photos in folders, by patterns and on other storage."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipeline.containers.find import ListingError, find_photos
from pipeline.containers.pattern import compile_pattern, split_pattern
from pipeline.storage import read_uri


def _put(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


def test_a_folder_is_listed_at_any_depth_sorted_by_key(tmp_path: Path) -> None:
    _put(tmp_path, "b.JPG", "a/z.png", "a/b/näme ü 日本 100%.webp", "notes.txt", "a/.DS_Store", "._b.JPG", "movie.mp4", ".keep")
    listing = find_photos(tmp_path)
    assert [ref.key for ref in listing.refs] == ["a/b/näme ü 日本 100%.webp", "a/z.png", "b.JPG"]
    assert listing.ignored_count == 5
    for ref in listing.refs:
        assert (ref.refused, ref.boxes, ref.size_bytes) == (None, (), len(ref.key.encode()))
        assert read_uri(ref.uri) == ref.key.encode()
    assert find_photos(tmp_path.as_uri()) == listing
    assert find_photos(f"{tmp_path}/") == listing


def test_the_records_of_a_run_are_passed_over(tmp_path: Path) -> None:
    _put(tmp_path, "a.jpg", ".disrupt/example.png", "sub/.disrupt/example.png")
    listing = find_photos(tmp_path)
    assert ([ref.key for ref in listing.refs], listing.ignored_count) == (["a.jpg"], 0)


def test_links_are_listed_as_refused_and_not_followed(tmp_path: Path) -> None:
    outside = _put(tmp_path / "outside", "secret.jpg")
    inside = _put(tmp_path / "in", "a.jpg")
    (inside / "file.jpg").symlink_to(outside / "secret.jpg")
    (inside / "folder").symlink_to(outside)
    (inside / "gone.jpg").symlink_to(outside / "gone.jpg")
    refs = {ref.key: ref.refused for ref in find_photos(inside).refs}
    assert refs["a.jpg"] is None
    assert refs.keys() == {"a.jpg", "file.jpg", "folder", "gone.jpg"}
    assert all("symbolic link" in str(refs[key]) for key in ("file.jpg", "folder", "gone.jpg"))
    assert find_photos(inside / "file.jpg").refs[0].refused


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    (_put(tmp_path, "a.jpg") / "again").symlink_to(tmp_path)
    assert len(find_photos(tmp_path).refs) == 2


def test_raw_files_are_listed_as_refused_with_the_way_out_and_phone_formats_are_not(tmp_path: Path) -> None:
    refs = find_photos(_put(tmp_path, "a.HEIC", "b.nef", "c.avif", "d.jxl")).refs
    assert ["export" in str(ref.refused) for ref in refs] == [False, True, False, True]


def test_names_that_cannot_be_written_are_listed_as_refused(tmp_path: Path) -> None:
    _put(tmp_path, "fine.jpg", "back\\slash.jpg", "line\nbreak.jpg")
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg"))).write_bytes(b"x")
    refs = {ref.key: ref.refused for ref in find_photos(tmp_path).refs}
    assert refs == {
        "fine.jpg": None,
        "back\\slash.jpg": "name leaves the output folder",
        "line\nbreak.jpg": "name holds control characters or is not valid UTF-8",
        "\\xff.jpg": "name holds control characters or is not valid UTF-8",
    }
    assert all(key.encode() for key in refs), "every key can be stored"


def test_a_single_photo_is_an_input(tmp_path: Path) -> None:
    refs = find_photos(_put(tmp_path, "a/b.jpg") / "a/b.jpg").refs
    assert [(ref.key, ref.size_bytes) for ref in refs] == [("b.jpg", 7)]


@pytest.mark.parametrize(
    ("pattern", "keys"),
    [
        ("*.jpg", ["a.jpg"]),
        ("**/*.jpg", ["a.jpg", "x/b.jpg", "x/y/c.jpg"]),
        ("x/**", ["b.jpg", "y/c.jpg", "y/c.png"]),
        ("x/?.jpg", ["b.jpg"]),
        ("[x-z]/*.jpg", ["x/b.jpg"]),
        ("x/y/c.[!j]*", ["c.png"]),
    ],
)
def test_a_pattern_selects_by_whole_names_below_its_folder(tmp_path: Path, pattern: str, keys: list[str]) -> None:
    _put(tmp_path, "a.jpg", "x/b.jpg", "x/y/c.jpg", "x/y/c.png", "x/y/c.txt")
    assert [ref.key for ref in find_photos(f"{tmp_path}/{pattern}").refs] == keys


@pytest.mark.parametrize("pattern", ["*.jpg", "**/*.jpg", "x/**/c.*", "*/?.jpg", "**", "[ax].jpg", "a.jpg", "x/[!b]*"])
def test_patterns_mean_what_pathlib_says(tmp_path: Path, pattern: str) -> None:
    _put(tmp_path, "a.jpg", "x.jpg", "x/b.jpg", "x/y/c.jpg", "x/y/z/c.png", "x/.h.jpg")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    if pattern == "**":
        expected = {path.relative_to(tmp_path).as_posix() for path in files}
    else:
        expected = {path.relative_to(tmp_path).as_posix() for path in tmp_path.glob(pattern) if path.is_file()}
    compiled = compile_pattern(pattern)
    assert {name for path in files if compiled.fullmatch(name := path.relative_to(tmp_path).as_posix())} == expected


def test_a_pattern_is_split_where_its_first_sign_is() -> None:
    assert split_pattern("/a/b/*/c.jpg") == ("/a/b", "*/c.jpg")
    assert split_pattern("*.jpg") == (".", "*.jpg")
    assert split_pattern("/*.jpg") == ("/", "*.jpg")


def test_a_folder_whose_name_looks_like_a_pattern_is_a_folder(tmp_path: Path) -> None:
    assert len(find_photos(_put(tmp_path / "trip [2024]", "a.jpg")).refs) == 1


def test_photos_on_other_storage_are_listed_with_uris_that_open() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe({f"/find/{name}": name.encode() for name in ("a b.jpg", "x/ü%20.png", "x/.disrupt/c.png", "d.txt")})
    try:
        listing = find_photos("memory://find")
        assert ([ref.key for ref in listing.refs], listing.ignored_count) == (["a b.jpg", "x/ü%20.png"], 1)
        for ref in listing.refs:
            assert read_uri(ref.uri) == ref.key.encode()
            assert ref.size_bytes == len(ref.key.encode())
        assert [ref.key for ref in find_photos("memory://find/x/*.png").refs] == ["ü%20.png"]
        assert find_photos("memory://find/a b.jpg").refs[0].key == "a b.jpg"
    finally:
        memory.rm("/find", recursive=True)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("missing", "no such folder"),
        ("missing/*.jpg", "no such folder"),
        ("texts", r"no photos found \(2 other files there\)"),
        ("texts/*.jpg", "no photo fits the pattern"),
        ("texts/b.md", "not a photo, a folder, or a table"),
        ("empty", "no photos found; photos end in"),
        ("nowhere://x", "nowhere"),
    ],
)
def test_a_source_without_photos_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, says: str) -> None:
    _put(tmp_path / "texts", "a.txt", "b.md")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ListingError, match=says):
        find_photos(source)


def test_a_sub_folder_that_cannot_be_listed_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _put(tmp_path, "a.jpg", "locked/b.jpg", "z/c.jpg")
    scandir = os.scandir

    def refuse(place: str) -> Any:
        if place.endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return scandir(place)

    monkeypatch.setattr("pipeline.storage.os.scandir", refuse)
    refs = find_photos(tmp_path).refs
    assert [(ref.key, ref.failed, bool(ref.refused)) for ref in refs] == [
        ("a.jpg", False, False),
        ("locked", True, True),
        ("z/c.jpg", False, False),
    ]
