"""Parquet tables with photos inside: what is found and refused, that every row and type keeps its place, and who can read it."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet as pq
from pyarrow.parquet import encryption

from pipeline.containers.errors import ContainerError
from pipeline.containers.image_table import NO_IMAGE, ONLY_PATH, open_table, read_group, with_images, write_table

STRUCT = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
LARGE_STRUCT = pa.struct([pa.field("path", pa.large_string()), pa.field("bytes", pa.large_binary(), metadata={"a": "b"})])
KINDS = [pa.binary(), pa.large_binary(), STRUCT, LARGE_STRUCT]


def _photo(level: int, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), (level, 40, 90)).save(buffer, kind)
    return buffer.getvalue()


def _images(kind: pa.DataType, values: list[bytes | None]) -> pa.Array:
    if not pa.types.is_struct(kind):
        return pa.array(values, kind)
    return pa.array(
        [value if value is None else {"bytes": value, "path": f"x.y/{at}.jpg"} for at, value in enumerate(values)], kind
    )


def _file(table: pa.Table, *, rows: int = 2, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=rows, **options)
    return buffer.getvalue()


def _written(*groups: pa.Table) -> bytes:
    buffer = io.BytesIO()
    write_table(buffer, groups)
    return buffer.getvalue()


def _refused(data: bytes, **options: Any) -> str:
    with pytest.raises(ContainerError) as error:
        read_group(open_table(io.BytesIO(data), "shard.parquet", **options), 0)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith("shard.parquet")
    return message


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_row_group_gives_its_images_in_their_order(kind: pa.DataType) -> None:
    images: list[bytes | None] = [_photo(level) for level in range(5)]
    table = pa.table({"id": pa.array(range(5)), "photo": _images(kind, images)})
    opened = open_table(io.BytesIO(_file(table)), "shard.parquet")
    assert (opened.column, opened.group_count) == ("photo", 3)
    for group in range(3):
        got = read_group(opened, group)
        assert got.images == images[2 * group : 2 * group + 2]
        assert got.refused == [None] * len(got.images)
        assert got.table.equals(table.slice(2 * group, 2), check_metadata=True)


def test_only_the_row_group_that_is_asked_for_is_read() -> None:
    class Watched(io.BytesIO):
        places: set[int]

        def read(self, size: int | None = -1, /) -> bytes:
            start = self.tell()
            data = super().read(size)
            self.places.update(range(start, start + len(data)))
            return data

    data = _file(pa.table({"photo": [bytes([level]) * 200_000 for level in range(6)]}), compression="none", use_dictionary=False)
    file = Watched(data)
    file.places = set()
    opened = open_table(file, "shard.parquet")
    assert file.places.isdisjoint(range(1_130_000)), "only the footer is read to open it"
    assert read_group(opened, 1).images == [b"\2" * 200_000, b"\3" * 200_000]
    assert file.places.isdisjoint([*range(390_000), *range(810_000, 1_130_000)])


TYPED = pa.schema(
    [
        pa.field("id", pa.int16(), nullable=False, metadata={"unit": "none"}),
        pa.field("words", pa.list_(pa.large_string())),
        pa.field("photo", STRUCT, metadata={"about": "photos"}),
        pa.field("when", pa.timestamp("ms", tz="UTC")),
        pa.field("label", pa.dictionary(pa.int8(), pa.string())),
    ],
    metadata={"huggingface": json.dumps({"info": {}}), "own": "x"},
)


def _typed(kind: pa.DataType, images: list[bytes | None]) -> pa.Table:
    at = range(len(images))
    schema = TYPED.set(2, TYPED.field("photo").with_type(kind))
    columns = [
        pa.array(at, pa.int16()),
        pa.array([["a"] * number or None for number in at], schema.field("words").type),
        _images(kind, images),
        pa.array([number * 1000 for number in at], schema.field("when").type),
        pa.array([f"l{number % 2}" for number in at]).dictionary_encode().cast(schema.field("label").type),
    ]
    return pa.table(columns, schema=schema)


ROWS = st.lists(st.tuples(st.none() | st.binary(max_size=30), st.none() | st.binary(max_size=30)), min_size=1, max_size=8)


@given(st.sampled_from(KINDS), ROWS, st.integers(1, 100))
def test_every_row_type_and_all_metadata_keep_their_place(
    kind: pa.DataType, rows: list[tuple[bytes | None, bytes | None]], chunk_bytes: int
) -> None:
    table = _typed(kind, [old for old, _ in rows])
    new = [image for _, image in rows]
    reasons = pa.array([None if image else "broken" for image in new], pa.string())
    changed = with_images(table, "photo", new, {"disrupt_reason": reasons}, suffix=".png", chunk_bytes=chunk_bytes)
    assert changed.schema.equals(table.schema.append(pa.field("disrupt_reason", pa.string())), check_metadata=True)
    assert changed.drop_columns(["photo", "disrupt_reason"]).equals(table.drop_columns(["photo"]), check_metadata=True)
    assert changed["disrupt_reason"].to_pylist() == reasons.to_pylist()
    for at, (before, after, image) in enumerate(zip(table["photo"].to_pylist(), changed["photo"].to_pylist(), new, strict=True)):
        if image is None:
            assert after == before
        elif pa.types.is_struct(kind):
            assert after == {"bytes": image, "path": f"x.y/{at}.png" if before else None}
        else:
            assert after == image
    data = _written(changed)
    assert pq.read_table(io.BytesIO(data)).equals(changed, check_metadata=True)
    assert data == _written(with_images(table, "photo", new, {"disrupt_reason": reasons}, suffix=".png", chunk_bytes=chunk_bytes))


@pytest.mark.parametrize(
    ("path", "expected"),
    [("a/b.JPG", "a/b.png"), ("v1.2/name", "v1.2/name.png"), ("photo.2019", "photo.2019.png"), ("", ""), (None, None)],
)
def test_the_path_of_a_new_image_gets_its_suffix(path: str | None, expected: str | None) -> None:
    table = pa.table({"image": pa.array([{"bytes": b"old", "path": path}], STRUCT)})
    assert with_images(table, "image", [b"new"], {}, suffix=".png")["image"].to_pylist() == [{"bytes": b"new", "path": expected}]


def test_row_groups_stay_row_groups_and_large_ones_are_cut_at_their_chunks() -> None:
    table = _typed(STRUCT, [b"a" * 10] * 6)
    parts = [with_images(part, "photo", [b"b" * 40] * 3, {}, suffix=".png", chunk_bytes=80) for part in (table[:3], table[3:])]
    file = pq.ParquetFile(io.BytesIO(_written(*parts)))
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [2, 1, 2, 1]
    assert file.read()["id"].to_pylist() == list(range(6))


def test_the_library_datasets_reads_what_is_written_from_what_it_wrote(tmp_path: Path) -> None:
    photos = [{"bytes": _photo(level), "path": f"{level}.jpg"} for level in range(4)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    source, result = tmp_path / "in.parquet", tmp_path / "out.parquet"
    datasets.Dataset.from_dict({"image": photos, "label": [0, 1, 1, 0]}, features=features).to_parquet(source, batch_size=2)
    opened = open_table(str(source), "in.parquet")
    assert (opened.column, opened.group_count) == ("image", 2)
    groups, new = [], [_photo(100 + level, "PNG") for level in range(4)]
    for number in range(2):
        group = read_group(opened, number)
        assert group.images == [photo["bytes"] for photo in photos[2 * number : 2 * number + 2]]
        status = pa.array(["protected"] * 2)
        added = {"disrupt_status": status, "disrupt_psnr": pa.array([40.5, None])}
        groups.append(with_images(group.table, "image", list(new[2 * number : 2 * number + 2]), added, suffix=".png"))
    with result.open("wb") as file:
        write_table(file, groups)
    got = datasets.Dataset.from_parquet(str(result), cache_dir=str(tmp_path / "cache"))
    assert {name: got.features[name] for name in features} == features
    assert [row["image"].getpixel((0, 0)) for row in got] == [(100 + level, 40, 90) for level in range(4)]
    assert [row["image"].format for row in got] == ["PNG"] * 4
    assert got["label"][:] == [0, 1, 1, 0]
    assert got["disrupt_psnr"][:] == [40.5, None, 40.5, None]
    raw = got.cast_column("image", datasets.Image(decode=False))
    assert raw["image"][:] == [{"bytes": data, "path": f"{level}.png"} for level, data in enumerate(new)]


def test_rows_without_an_image_are_refused_with_the_reason_and_keep_their_place() -> None:
    rows = [
        {"bytes": b"1", "path": None},
        None,
        {"bytes": None, "path": "b.jpg"},
        {"bytes": None, "path": None},
        {"bytes": b"", "path": "e"},
    ]
    group = read_group(open_table(io.BytesIO(_file(pa.table({"image": pa.array(rows, STRUCT)}), rows=5)), "shard.parquet"), 0)
    assert group.images == [b"1", None, None, None, b""]
    assert group.refused == [None, NO_IMAGE, ONLY_PATH, NO_IMAGE, None]
    assert with_images(group.table, "image", [None] * 5, {}, suffix=".png")["image"].to_pylist() == rows
    plain = read_group(open_table(io.BytesIO(_file(pa.table({"image": [None, b"2"]}))), "shard.parquet"), 0)
    assert (plain.images, plain.refused) == ([None, b"2"], [NO_IMAGE, None])


NO_KIND = "no image column, which is binary, large_binary or struct<bytes: binary, path: string>"
BOTH = {"a": [b"1"], "b": ["x"]}
TWO = {"a": [b"1"], "b": pa.array([{"bytes": b"1", "path": "x"}], STRUCT)}
TEXT = {"a": [{"bytes": "text", "path": "x"}]}
EMPTY = {"a": pa.array([], pa.binary())}
PROTECTED = {"a": [b"1"], "disrupt_status": ["protected"]}


@pytest.mark.parametrize(
    ("columns", "column", "message"),
    [
        ({"a": [1], "b": ["x"]}, None, f"has {NO_KIND}; it has a (int64), b (string)"),
        (BOTH, "c", "has no column 'c'; it has a (binary), b (string)"),
        (BOTH, "b", f"the column 'b' is {NO_KIND}; the table has a (binary), b (string)"),
        ({"a": [[b"1"]]}, "a", f"the column 'a' is {NO_KIND}; the table has a (list<element: binary>)"),
        (TWO, None, f"has several image columns (a, b), name one; it has a (binary), b ({STRUCT})"),
        (TEXT, "a", f"the column 'a' is {NO_KIND}; the table has a (struct<bytes: string, path: string>)"),
        (EMPTY, None, "the table has no rows"),
        (PROTECTED, None, "has the column disrupt_status: it was protected before; give the original table"),
    ],
)
def test_tables_that_do_not_fit_are_refused_with_what_they_have(columns: dict[str, Any], column: str | None, message: str) -> None:
    assert _refused(_file(pa.table(columns)), column=column) == f"shard.parquet: {message}"


def test_of_several_image_columns_the_named_one_is_read() -> None:
    data = _file(pa.table({"a": [b"1"], "b": [b"2"]}))
    assert read_group(open_table(io.BytesIO(data), "shard.parquet", column="b"), 0).images == [b"2"]


def test_two_columns_of_one_name_are_refused() -> None:
    data = _file(pa.table([pa.array([b"1"]), pa.array([b"2"])], names=["a", "a"]))
    assert "has several columns 'a'" in _refused(data, column="a")
    assert "has several image columns (a, a)" in _refused(data)


GOOD = _file(pa.table({"photo": [bytes(range(256)) * 40] * 4}), write_page_checksum=True, compression="none")


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"PAR1",
        lambda data: b"not a table" * 100,
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: data[:-60] + b"\xff" * 40 + data[-20:],
        lambda data: data[:-8] + b"\xff\xff\xff\x7fPAR1",
    ],
)
def test_a_damaged_footer_is_refused_by_name(damage: Callable[[bytes], bytes]) -> None:
    assert "cannot be read as Parquet" in _refused(damage(GOOD))


def test_photos_are_written_without_a_dictionary_or_statistics_and_with_checksums() -> None:
    photo = random.Random(0).randbytes(2000)
    data = _written(pa.table({"id": [1, 2], "image": _images(STRUCT, [photo, photo]), "plain": [photo, photo]}))
    group = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0)
    leaves = [group.column(at) for at in range(group.num_columns)]
    assert [leaf.path_in_schema for leaf in leaves if leaf.has_dictionary_page] == ["id"]
    assert [leaf.path_in_schema for leaf in leaves if leaf.is_stats_set] == ["id"]
    at = data.index(photo[500:600])
    assert "cannot be read as Parquet" in _refused(data[:at] + bytes(100) + data[at + 100 :], column="image")


def test_a_path_that_is_no_text_is_damage() -> None:
    path = pa.array([b"\xff.jpg"]).view(pa.string())
    data = _file(pa.table({"image": pa.StructArray.from_arrays([pa.array([b"1"]), path], fields=list(STRUCT))}))
    assert "Invalid UTF8" in _refused(data)


def test_damaged_data_are_refused_with_their_row_group_and_cost_no_other() -> None:
    at = GOOD.index(bytes(range(256)))
    data = GOOD[: at + 50] + b"?" + GOOD[at + 51 :]
    assert _refused(data).startswith("shard.parquet, row group 0: cannot be read as Parquet: ")
    assert read_group(open_table(io.BytesIO(data), "shard.parquet"), 1).images == [bytes(range(256)) * 40] * 2


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_a_changed_byte_ends_in_images_or_in_an_error_that_names_the_table(at: int, value: int) -> None:
    try:
        opened = open_table(io.BytesIO(GOOD[:at] + bytes([value]) + GOOD[at + 1 :]), "shard.parquet")
        for group in range(opened.group_count):
            read_group(opened, group)
    except ContainerError as error:
        assert str(error).startswith("shard.parquet")


class _Keys(encryption.KmsClient):  # type: ignore[misc]
    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> str:
        return key_bytes.hex()

    def unwrap_key(self, wrapped_key: str, master_key_identifier: str) -> bytes:
        return bytes.fromhex(wrapped_key)


@pytest.mark.parametrize("plain_footer", [False, True])
def test_an_encrypted_table_is_refused_as_encrypted(plain_footer: bool) -> None:
    settings = encryption.EncryptionConfiguration(footer_key="f", column_keys={"c": ["photo"]}, plaintext_footer=plain_footer)
    keys = encryption.CryptoFactory(lambda _: _Keys()).file_encryption_properties(encryption.KmsConnectionConfig(), settings)
    data = _file(pa.table({"photo": [b"1"], "id": [1]}), encryption_properties=keys)
    assert "encrypted, or cannot be read" in _refused(data)


def test_what_cannot_be_written_is_said() -> None:
    table = pa.table({"photo": [b"1", b"2"]})
    with pytest.raises(ValueError, match="added columns are new and begin with disrupt_, unlike status"):
        with_images(table, "photo", [None, None], {"status": pa.array(["a", "b"])}, suffix=".png")
    with pytest.raises(ValueError, match="shorter"):
        with_images(table, "photo", [None], {}, suffix=".png")
    with pytest.raises(ValueError, match="Expected length 2 but got length 1"):
        with_images(table, "photo", [None, None], {"disrupt_status": pa.array(["a"])}, suffix=".png")
    with pytest.raises(ValueError, match="a table needs a row group"):
        _written()
    with pytest.raises(ValueError, match="schema"):
        _written(table, pa.table({"photo": ["text"]}))
