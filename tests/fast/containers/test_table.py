"""Tables of photos: paths of all kinds, keys that stay inside, boxes, and errors that name the row."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from pipeline.containers.find import Listing, ListingError, find_photos
from pipeline.containers.read import UnusablePhotoError, read_photo
from pipeline.containers.table import _refused_place
from pipeline.images.boxes import region_box
from pipeline.storage import Folder, read_uri
from tests.fast.s3 import s3_store


def _table(folder: Path, columns: dict[str, list[Any]], suffix: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"photos{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    else:
        rows = zip(*columns.values(), strict=True)
        lines = [",".join("" if value is None else f'"{value}"' for value in row) for row in rows]
        path.write_text("\n".join([",".join(columns), *lines]) + "\n", encoding="utf-8")
    return path


def _listed(folder: Path, columns: dict[str, list[Any]], suffix: str = ".csv") -> Listing:
    return find_photos(_table(folder, columns, suffix))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_paths_relative_to_the_table_absolute_and_as_uri_are_found(tmp_path: Path, suffix: str) -> None:
    home, other = tmp_path / "home", tmp_path / "other"
    for path in (home / "a ü.jpg", home / "x/b.jpg", home / "x/d.jpg", other / "c.jpg", other / "e.jpg"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(path.name.encode())
    paths = ["./a ü.jpg", str(home / "x/b.jpg"), (home / "x/d.jpg").as_uri(), str(other / "c.jpg"), (other / "e.jpg").as_uri()]
    refs = _listed(home, {"number": [1, 2, 3, 4, 5], "path": paths}, suffix).refs
    outside = str(other).lstrip("/")
    assert [ref.key for ref in refs] == sorted(["a ü.jpg", "x/b.jpg", "x/d.jpg", f"{outside}/c.jpg", f"{outside}/e.jpg"])
    for ref in refs:
        assert ref.refused is None
        assert read_uri(ref.uri) == ref.key.rpartition("/")[2].encode()
        assert ref.size_bytes == len(read_uri(ref.uri))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_boxes_are_read_and_may_be_empty(tmp_path: Path, suffix: str) -> None:
    columns: dict[str, list[Any]] = {
        "path": ["a.jpg", "b.jpg"],
        "left": [0, None],
        "top": [2, None],
        "right": [30, None],
        "bottom": [40, None],
    }
    assert [ref.boxes for ref in _listed(tmp_path, columns, suffix).refs] == [((0, 2, 30, 40),), ()]


def test_a_key_column_names_the_outputs(tmp_path: Path) -> None:
    listing = _listed(tmp_path, {"path": ["/data/1.jpg", "2.jpg"], "key": ["people/ann.jpg", None]})
    assert [(ref.key, ref.uri) for ref in listing.refs] == [("2.jpg", f"{tmp_path}/2.jpg"), ("people/ann.jpg", "/data/1.jpg")]


def test_keys_that_would_leave_the_output_folder_are_listed_as_refused(tmp_path: Path) -> None:
    paths = ["../a.jpg", "x/../../b.jpg", "ok.jpg", "c\\d.jpg", ".disrupt/lock.jpg"]
    refs = {ref.key: ref.refused for ref in _listed(tmp_path, {"path": paths}).refs}
    assert refs.pop("ok.jpg") is None
    assert len(refs) == 4
    assert all(refs.values())


def test_a_file_that_is_missing_keeps_its_row_and_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link.jpg").symlink_to("/etc/hostname")
    refs = _listed(tmp_path, {"path": ["gone.jpg", "link.jpg", "without-suffix"]}).refs
    assert [(ref.size_bytes, bool(ref.refused)) for ref in refs] == [(0, False), (refs[1].size_bytes, True), (0, False)]


def test_a_table_on_other_storage_names_files_beside_it() -> None:
    memory = fsspec.filesystem("memory")
    text = "path\nx/a b.jpg\nmemory://tables/y.jpg\nmemory://elsewhere/z.jpg\n"
    memory.pipe({"/tables/t.csv": text.encode(), "/tables/x/a b.jpg": b"1", "/tables/y.jpg": b"22", "/elsewhere/z.jpg": b"333"})
    try:
        refs = find_photos("memory://tables/t.csv").refs
        assert [(ref.key, ref.size_bytes) for ref in refs] == [("elsewhere/z.jpg", 0), ("x/a b.jpg", 0), ("y.jpg", 0)]
        assert [len(read_uri(ref.uri)) for ref in refs[1:]] == [1, 2]
        assert "may not name memory://" in (refs[0].refused or "")
    finally:
        memory.rm("/tables", recursive=True)
        memory.rm("/elsewhere", recursive=True)


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("http://127.0.0.1:{port}/x.jpg", "may not name http://"),
        ("HTTP://example.org/x.jpg", "may not name http://"),
        ("zip://x.jpg::http://127.0.0.1:{port}/x.zip", "may not name zip://"),
        ("ftp://127.0.0.1:{port}/x.jpg", "may not name ftp://"),
        ("memory://x/y.jpg", "may not name memory://"),
        ("https://127.0.0.1:{port}/x.jpg", "no public address"),
        ("https://[::1]:{port}/x.jpg", "no public address"),
        ("https://user@169.254.169.254/x.jpg", "no public address"),
        ("https://10.1.2.3/x.jpg", "no public address"),
        ("https://[10/x.jpg", "no URL"),
        ("hf://datasets/a/b/x.jpg::http://127.0.0.1:{port}/x.jpg", "server of its own"),
        ("s3://bucket/x.jpg?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1", "server of its own"),
        ("abfs://me@localhost:{port}/box/x.jpg", "server of its own"),
        ("abfss://me@evil.example.org/box/x.jpg", "server of its own"),
    ],
)
def test_a_row_that_names_a_storage_it_may_not_is_refused_and_not_asked(tmp_path: Path, place: str, says: str) -> None:
    (tmp_path / "a.jpg").write_bytes(b"1")
    with s3_store() as store:
        port = store.uri.partition("127.0.0.1:")[2].partition("&")[0]
        refs = {ref.key: ref for ref in _listed(tmp_path, {"path": ["a.jpg", place.format(port=port)], "key": ["a", "b"]}).refs}
        assert store.requests == []
    assert refs["a"].refused is None
    assert says in (refs["b"].refused or "")


def test_the_rows_of_a_table_are_not_asked_for_one_by_one() -> None:
    """A store that is asked for the size of each of a million files answers for hours."""
    fs = fsspec.filesystem("memory")
    fs.pipe("/asked/t.csv", "\n".join(["path", *(f"s3://bucket/{number}.jpg" for number in range(20))]).encode())
    try:
        refs = find_photos("memory://asked/t.csv").refs
        assert [(ref.size_bytes, ref.refused) for ref in refs] == [(0, None)] * 20
    finally:
        fs.rm("/asked", recursive=True)


def test_rows_below_the_table_are_opened_with_its_options_and_with_no_others() -> None:
    with s3_store() as store:
        place, _, options = store.uri.partition("?")
        evil = f"{place}/z.jpg?endpoint_override=127.0.0.1:1&scheme=http&region=us-east-1"
        rows = ["path", "a b.jpg", f"{place}/c.jpg", f"{place}/d.jpg?{options}", evil]
        Folder(store.uri).write("t.csv", "\n".join(rows).encode())
        Folder(store.uri).write("a b.jpg", b"1")
        refs = find_photos(f"{place}/t.csv?{options}").refs
        assert [(ref.key, bool(ref.refused)) for ref in refs] == [
            ("a b.jpg", False),
            ("c.jpg", False),
            ("d.jpg", False),
            ("z.jpg", True),
        ]
        assert read_uri(refs[0].uri) == b"1"
        assert [ref.uri.partition("?")[2] for ref in refs[:3]] == [options] * 3


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433"])
def test_a_name_that_leads_into_this_machine_gets_its_row_and_no_connection(tmp_path: Path, host: str) -> None:
    with s3_store() as store:
        port = store.uri.partition("127.0.0.1:")[2].partition("&")[0]
        (ref,) = _listed(tmp_path, {"path": [f"https://{host}:{port}/x.jpg"]}).refs
        with pytest.raises(UnusablePhotoError, match=r"no public address|not a canonical IPv4") as caught:
            read_photo(ref, max_pixels=10**6)
        assert (caught.value.status, store.requests) == ("failed", [])


@pytest.mark.parametrize(
    "place",
    ["s3://bucket/x.jpg", "s3://bucket/x.jpg?region=eu-west-1", "abfss://box@me.dfs.core.windows.net/x.jpg", "gs://b/x.jpg"],
)
def test_a_row_may_name_object_stores(place: str) -> None:
    assert _refused_place(place, "/tables") is None


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"file": ["a.jpg"]}, "no column 'path'"),
        ({"path": ["a.jpg", "b.jpg", "a.jpg"]}, "rows 1 and 3: both are 'a.jpg'"),
        ({"path": ["a.jpg", "./a.jpg"]}, "rows 1 and 2"),
        ({"path": ["a.jpg"], "left": [0]}, "missing: top, right, bottom"),
    ],
)
def test_a_wrong_table_says_which_row_and_what_is_needed(
    tmp_path: Path, columns: dict[str, list[Any]], says: str, suffix: str
) -> None:
    with pytest.raises(ListingError, match=says):
        _listed(tmp_path, columns, suffix)


def test_files_that_are_no_tables_are_refused(tmp_path: Path) -> None:
    for name, content in (("a.parquet", b"text"), ("b.csv", b""), ("d.csv", b"path\n")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ListingError, match=name):
            find_photos(tmp_path / name)


CORNERS = ("left", "top", "right", "bottom")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("t.csv", b"Path;LEFT;top;right;bottom\na.jpg;420.0;1;430;9,0\n"),
        ("t.csv", "path\tleft\ttop\tright\tbottom\r\na.jpg\t420\t1\t430\t9\r\n".encode("utf-16")),
        ("t.csv", "path,left,top,right,bottom\na.jpg,420,1,430,9\n".encode("utf-16-le")),
        ("t.csv", b"\xef\xbb\xbfpath,x,y,width,height\na.jpg,420,1,10,8\n"),
        ("t.csv.gz", gzip.compress(b"path,left,top,right,bottom\na.jpg,420,1,430,9\n", mtime=0)),
        ("t.jsonl", b'{"Path": "a.jpg", "left": 420.0, "top": 1, "right": 430, "bottom": 9}\n\n'),
        ("t.tsv", b"path\tleft\ttop\twidth\theight\na.jpg\t420\t1\t10\t8\n"),
    ],
    ids=["semicolons", "utf-16", "utf-16-le", "size", "gzip", "json", "tabs"],
)
def test_a_table_is_read_whatever_program_wrote_it(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    assert [(ref.key, ref.boxes, ref.refused) for ref in find_photos(tmp_path / name).refs] == [
        ("a.jpg", ((420, 1, 430, 9),), None)
    ]


def test_a_list_has_one_path_a_line(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("b, c.jpg\n\na.jpg\n", encoding="utf-8")
    assert [ref.key for ref in find_photos(tmp_path / "t.txt").refs] == ["a.jpg", "b, c.jpg"]


@pytest.mark.parametrize("columns", [CORNERS, ("x", "y", "width", "height")])
def test_a_box_in_shares_is_that_part_of_the_photo(tmp_path: Path, columns: tuple[str, ...]) -> None:
    numbers = (0.25, 0.5, 0.75, 1.0) if columns == CORNERS else (0.25, 0.5, 0.5, 0.5)
    (ref,) = _listed(tmp_path, {"path": ["a.jpg"]} | {name: [n] for name, n in zip(columns, numbers, strict=True)}).refs
    assert region_box("box", 200, 100, *ref.boxes) == (50, 50, 150, 100)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_an_odd_row_fails_alone(tmp_path: Path, suffix: str) -> None:
    numbers: list[tuple[str, list[Any]]] = [("left", [5, -1, None, 0]), ("top", [0, 0, 0, 2])]
    numbers += [("right", [5, 5, 5, 30]), ("bottom", [9, 9, 9, 40])]
    refs = _listed(tmp_path, {"path": ["a.jpg", "b.jpg", "c.jpg", "d.jpg"], **dict(numbers)}, suffix).refs
    assert [ref.failed for ref in refs] == [True, True, True, False]
    paths = ["ok.jpg", "", "foo://x/y.jpg", "file://relative/x.jpg", "https://"]
    refs = _listed(tmp_path, {"path": paths}, suffix).refs
    assert sorted(ref.key for ref in refs if ref.failed) == ["row 2", "row 4", "x/y.jpg"]
    with pytest.raises(UnusablePhotoError) as caught:
        read_photo(refs[-1], max_pixels=10**6)
    assert (caught.value.status, caught.value.stage) == ("failed", "list")


@pytest.mark.parametrize(
    "line", ['{"path": ["a.jpg"]}', '{"path": {}}', '{"path": 7}', '{"path": " "}', "[1]", "{", "[" * 100_000], ids=range(7)
)
def test_an_odd_line_fails_alone(tmp_path: Path, line: str) -> None:
    (tmp_path / "t.jsonl").write_text(f'{{"path": "a.jpg"}}\n{line}\n')
    assert [(ref.key, ref.failed) for ref in find_photos(tmp_path / "t.jsonl").refs] == [("a.jpg", False), ("row 2", True)]


def _boxed(folder: Path, rows: list[tuple[Any, ...]]) -> Listing:
    columns = dict(zip(("path", *CORNERS), map(list, zip(*rows, strict=True)), strict=True))
    return _listed(folder, columns)


def test_rows_of_one_photo_are_its_boxes(tmp_path: Path) -> None:
    refs = _boxed(tmp_path, [("a.jpg", 0, 0, 9, 9), ("b.jpg", 1, 1, 8, 8), ("./a.jpg", 20, 0, 29, 9)]).refs
    assert [(ref.key, ref.boxes) for ref in refs] == [("a.jpg", ((0, 0, 9, 9), (20, 0, 29, 9))), ("b.jpg", ((1, 1, 8, 8),))]


def test_an_odd_box_fails_its_photo_rather_than_leaving_a_face_out(tmp_path: Path) -> None:
    refs = _boxed(tmp_path, [("a.jpg", 0, 0, 9, 9), ("a.jpg", 20, 0, 10, 9), ("b.jpg", 1, 1, 8, 8)]).refs
    assert [(ref.key, ref.failed) for ref in refs] == [("a.jpg", True), ("b.jpg", False)]
    assert "not a box: left 20" in (refs[0].refused or "")


def test_a_photo_named_twice_without_a_box_or_two_files_of_one_key_refuse_the_table(tmp_path: Path) -> None:
    with pytest.raises(ListingError, match=r"rows 1 and 2: both are 'a\.jpg'; keep one row for each photo, or one for each box"):
        _boxed(tmp_path, [("a.jpg", 0, 0, 9, 9), ("a.jpg", None, None, None, None)])
    columns: dict[str, list[Any]] = {
        "path": ["a.jpg", "b.jpg"],
        "key": ["k", "k"],
        "left": [0, 0],
        "top": [0, 0],
        "right": [9, 9],
        "bottom": [9, 9],
    }
    with pytest.raises(ListingError, match="rows 1 and 2: both are 'k'"):
        _listed(tmp_path, columns)
