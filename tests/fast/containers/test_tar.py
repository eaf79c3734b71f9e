"""WebDataset tars: what is read and refused, that cut tars say so, and that WebDataset's own reader reads what is written."""

from __future__ import annotations

import bz2
import gc
import gzip
import io
import json
import lzma
import re
import tarfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from webdataset.tariterators import base_plus_ext, group_by_keys, tar_file_expander

from pipeline.containers.errors import ContainerError
from pipeline.containers.tar import NewImage, Sample, read_samples, write_tar

Entry = tuple[str, bytes] | tarfile.TarInfo


def _photo(level: int, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), (level, 40, 90)).save(buffer, kind)
    return buffer.getvalue()


def _tar(*entries: Entry, kind: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as tar:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                tar.addfile(entry)
            else:
                header = tarfile.TarInfo(entry[0])
                header.size, header.mtime, header.uid, header.mode = len(entry[1]), 12345, 1000, 0o600
                tar.addfile(header, io.BytesIO(entry[1]))
    return buffer.getvalue()


def _special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.type, header.linkname = kind, target
    return header


def _read(data: bytes, **options: Any) -> list[Sample]:
    return list(read_samples(io.BytesIO(data), "shard.tar", **options))


def _written(*samples: tuple[Sample, NewImage | None]) -> bytes:
    buffer = io.BytesIO()
    write_tar(buffer, samples)
    return buffer.getvalue()


def _names(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return tar.getnames()


def _members(sample: Sample) -> dict[str, bytes]:
    return dict(sample.others) | ({sample.image: sample.data} if sample.image else {})


def test_samples_come_in_file_order_with_their_photo_and_everything_else() -> None:
    first, second = _photo(1), _photo(2)
    data = _tar(
        ("z/1.cls", b"3"),
        ("z/1.JPG", first),
        ("z/1.meta.json", b"{}"),
        ("a.b/2.jpeg", second),
        ("a.b/2.txt", b""),
        ("note.txt", b"n"),
    )
    assert _read(data) == [
        Sample("z/1", "z/1.JPG", first, (("z/1.cls", b"3"), ("z/1.meta.json", b"{}")), None, 1),
        Sample("a.b/2", "a.b/2.jpeg", second, (("a.b/2.txt", b""),)),
        Sample("note", None, b"", (("note.txt", b"n"),)),
    ]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_packed_tars_are_read(pack: Callable[[bytes], bytes]) -> None:
    data = _tar(("1.jpg", _photo(1)), ("2.jpg", _photo(2)))
    assert _read(pack(data)) == _read(data)


def test_a_tar_is_read_from_a_stream_that_cannot_seek() -> None:
    class Pipe(io.RawIOBase):
        def __init__(self, data: bytes) -> None:
            self.inner = io.BytesIO(data)

        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            return self.inner.read(size)

        def seek(self, *_: int) -> int:
            raise io.UnsupportedOperation

        tell = seek

    data = _tar(("1.jpg", _photo(1)), ("2.jpg", _photo(2)))
    assert list(read_samples(Pipe(data), "pipe", limit_bytes=10**6)) == _read(data)  # type: ignore[arg-type]


def test_no_sample_is_read_before_it_is_asked_for() -> None:
    data = _tar(*((f"{number}.jpg", bytes(100_000)) for number in range(10)))
    file = io.BytesIO(data)
    samples = read_samples(file, "shard.tar")
    assert next(samples).key == "0"
    assert file.tell() < 300_000


def test_headers_of_earlier_members_are_let_go() -> None:
    samples = read_samples(io.BytesIO(_tar(*((f"{number}.jpg", b"x") for number in range(200)))), "shard.tar")
    assert [next(samples).key for _ in range(150)][-1] == "149"
    assert sum(issubclass(type(thing), tarfile.TarInfo) for thing in gc.get_objects()) < 20


FOLDERS = st.from_regex(r"\A([ab.]{0,2}[aXü_]/){0,2}\Z")
LAST = st.from_regex(r"\A[abXü_]{1,3}\.[abX.]{0,4}\Z")


@given(st.builds("{}{}".format, FOLDERS, LAST))
def test_keys_are_those_of_webdataset(name: str) -> None:
    (sample,) = _read(_tar((name, b"x")))
    assert (sample.key, sample.refused) == (base_plus_ext(name)[0], None)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (_special("a.jpg", tarfile.SYMTYPE, "/etc/passwd"), "'a.jpg': a link; links are not followed"),
        (_special("a.jpg", tarfile.LNKTYPE, "b.jpg"), "'a.jpg': a link; links are not followed"),
        (_special("a.jpg", tarfile.FIFOTYPE), "'a.jpg': a device or pipe, no file"),
        (_special("a.jpg", tarfile.CHRTYPE), "'a.jpg': a device or pipe, no file"),
        (("../a.jpg", b"x"), "'../a.jpg': name leaves the output folder"),
        (("x/../../a.jpg", b"x"), "'x/../../a.jpg': name leaves the output folder"),
        (("/a.jpg", b"x"), "'/a.jpg': name leaves the output folder"),
        (("C:/a.jpg", b"x"), "'C:/a.jpg': name leaves the output folder"),
        (("x/./a.jpg", b"x"), "'x/./a.jpg': name has an empty part or a part that is only a dot"),
        (("a\nb.jpg", b"x"), "'a\\nb.jpg': name holds control characters or is not valid UTF-8"),
        (("a\udcff.jpg", b"x"), "'a\\udcff.jpg': name holds control characters or is not valid UTF-8"),
        (("big.jpg", bytes(5001)), "'big.jpg': too large: with its 5001 bytes the sample goes beyond the limit by 1"),
        (("a.jxl", b"x"), "JPEG XL files are not read; export the photo as JPEG or PNG"),
        ((".a.jpg", b"x"), "a photo whose name begins with a dot has no key"),
    ],
)
@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_members_that_cannot_be_used_are_refused_with_the_reason_and_cost_no_other_sample(
    entry: Entry, reason: str, kind: int
) -> None:
    before, after = ("1.jpg", b"1"), ("2.jpg", b"2")
    samples = _read(_tar(before, entry, after, kind=kind), limit_bytes=5000)
    assert [sample.refused for sample in samples] == [None, reason, None]
    assert [sample.data for sample in samples[::2]] == [b"1", b"2"]
    samples[1].key.encode()


def test_a_bad_member_refuses_the_sample_that_it_lies_in() -> None:
    (sample,) = _read(_tar(("a.jpg", b"x"), _special("a.txt", tarfile.SYMTYPE, "b")))
    assert (sample.key, sample.image, sample.refused) == ("a", "a.jpg", "'a.txt': a link; links are not followed")


def test_the_limit_is_for_the_members_of_a_sample_together() -> None:
    samples = _read(_tar(*((f"{key}.{number}.bin", bytes(400)) for key in "ab" for number in range(3))), limit_bytes=1000)
    assert ["too large" in str(sample.refused) for sample in samples] == [True, True]
    assert [len(sample.others) for sample in samples] == [2, 2]


@pytest.mark.parametrize("names", [("a.jpg", "a.jpg"), ("a.txt", "a.jpg", "a.txt"), ("a.jpg", "a.JPG"), ("./a.jpg", "a.jpg")])
def test_a_name_that_comes_twice_is_refused_as_webdataset_would(names: tuple[str, ...]) -> None:
    (sample,) = _read(_tar(*((name, name.encode()) for name in names)), image_suffix="jpg")
    assert sample.refused
    assert "a name comes twice" in sample.refused


@pytest.mark.parametrize("name", ["a.json", "a.jpg"])
def test_a_key_that_comes_back_later_is_noticed(name: str) -> None:
    samples = _read(_tar(("a.jpg", b"1"), ("b.jpg", b"2"), (name, b"3")))
    assert [(sample.key, sample.refused) for sample in samples] == [
        ("a", None),
        ("b", None),
        ("a", "its key came before: the members of a sample must follow each other"),
    ]
    assert _members(samples[2]) == {name: b"3"}


def test_a_name_without_a_key_that_comes_twice_is_noticed() -> None:
    samples = _read(_tar(("README", b"1"), ("README.txt", b"2"), ("README", b"3")))
    assert [(sample.key, bool(sample.refused)) for sample in samples] == [("README", False), ("README", False), ("README", True)]


def test_of_several_photos_one_must_be_named() -> None:
    data = _tar(("a.input.JPG", b"1"), ("a.mask.png", b"2"), ("b.jpg", b"3"), ("c.mask.png", b"4"))
    first, second, third = _read(data)
    assert (first.image, first.refused) == (
        None,
        "not clear which of its members is the photo: name one suffix (a.input.JPG, a.mask.png)",
    )
    assert (second.image, third.image) == ("b.jpg", "c.mask.png")
    first, second, third = _read(data, image_suffix="input.jpg")
    assert (first.image, first.others, first.refused) == ("a.input.JPG", (("a.mask.png", b"2"),), None)
    assert second.refused, "a photo under another suffix is not passed on as if it were none"
    assert third.refused


def test_files_of_macos_and_names_without_a_key_are_kept_and_break_no_sample() -> None:
    names = ["d/._1.jpg", "d/1.jpg", "d/.DS_Store", "d/._1.txt", "d/1.txt", "README", "2.jpg"]
    entries = [(name, name.encode()) for name in names]
    samples = _read(_tar(_special("d", tarfile.DIRTYPE), *entries))
    assert [(sample.key, sample.image, sample.refused) for sample in samples] == [
        ("d/1", "d/1.jpg", None),
        ("d/.DS_Store", None, None),
        ("README", None, None),
        ("2", "2.jpg", None),
    ]
    data = _written(*((sample, None) for sample in samples))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        contents = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    assert contents == dict(entries)
    assert list(contents)[:4] == ["d/._1.jpg", "d/1.jpg", "d/._1.txt", "d/1.txt"]


def test_names_with_a_leading_dot_and_slash_are_kept() -> None:
    (sample,) = _read(_tar(("./x/1.jpg", b"1"), ("./x/1.txt", b"t")))
    assert (sample.key, sample.image, sample.refused) == ("x/1", "./x/1.jpg", None)
    data = _written((sample, NewImage(b"new", ".png", {})))
    assert _names(data) == ["./x/1.png", "./x/1.txt", "./x/1.disrupt.json"]


WHOLE = _tar(("1.jpg", bytes(range(256)) * 5), ("1.txt", b"one"), ("2.jpg", bytes(700)), ("3.jpg", b"3"))
STARTS = [512 * block for block in (0, 4, 6, 9)]  # of 1.jpg, 1.txt, 2.jpg, 3.jpg: each a header and whole blocks
END = 512 * 11
CUTS = [
    0,
    1,
    511,
    600,
    *STARTS[1:],
    STARTS[2] + 511,
    STARTS[2] + 512,
    STARTS[2] + 600,
    STARTS[3] + 512,
    STARTS[3] + 513,
    END,
    END + 1,
]


def _read_until_error(data: bytes) -> tuple[list[Sample], str]:
    samples: list[Sample] = []
    with pytest.raises(ContainerError) as error:
        samples.extend(_each(data, samples))
    return samples, str(error.value)


def _each(data: bytes, into: list[Sample]) -> list[Sample]:
    for sample in read_samples(io.BytesIO(data), "shard.tar"):
        into.append(sample)
    return []


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("cut", CUTS)
def test_a_cut_tar_gives_the_samples_known_to_be_whole_and_then_says_so(cut: int, pack: Callable[[bytes], bytes]) -> None:
    samples, message = _read_until_error(pack(WHOLE[:cut]))
    whole = sum(cut >= start + 512 for start in STARTS[2:])  # a sample is whole once the header of the next one is there
    assert samples == _read(WHOLE)[:whole]
    assert re.fullmatch(r"shard\.tar: no tar, or cut or damaged at (its start|'\d\.(jpg|txt)'): .+", message)


def test_a_packed_tar_that_is_cut_says_so() -> None:
    for pack in (gzip.compress, bz2.compress, lzma.compress):
        assert _read_until_error(pack(WHOLE)[:-60])[1].startswith("shard.tar: ")


@pytest.mark.parametrize("at", STARTS)
@pytest.mark.parametrize("damage", [b"\xff" * 512, bytes(512)])
def test_a_damaged_header_is_no_end_of_the_tar(at: int, damage: bytes) -> None:
    samples, message = _read_until_error(WHOLE[:at] + damage + WHOLE[at + 512 :])
    assert samples == _read(WHOLE)[: max(0, STARTS.index(at) - 2)]
    assert message.startswith("shard.tar: ")


def test_a_second_tar_behind_the_first_is_not_lost() -> None:
    samples, message = _read_until_error(WHOLE + _tar(("4.jpg", b"4")))
    assert samples == _read(WHOLE)[:-1], "the last one could go on"
    assert message.endswith("data behind the end mark; one file holds one tar")


def test_headers_without_end_are_damage() -> None:
    header = tarfile.TarInfo("a.jpg")
    header.pax_headers = {"comment": "x"}
    pax = header.tobuf(tarfile.PAX_FORMAT)[:1024]
    with pytest.raises(ContainerError):
        _read(pax * 5000)


@pytest.mark.parametrize("data", [b"", b"not a tar" * 100, _photo(1), gzip.compress(b"not a tar" * 100, mtime=0)])
def test_what_is_no_tar_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(ContainerError, match=r"^shard\.tar: no tar"):
        _read(data)


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_a_changed_byte_ends_in_samples_or_in_an_error_that_names_the_tar(at: int, value: int) -> None:
    try:
        _read(WHOLE[:at] + bytes([value]) + WHOLE[at + 1 :])
    except ContainerError as error:
        assert str(error).startswith("shard.tar")


def test_webdataset_reads_what_is_written() -> None:
    long = "folder/" * 20 + "ü" * 60
    samples = _read(_tar(("x/1.JPG", _photo(1)), ("x/1.cls", b"7"), (f"{long}.jpg", _photo(2)), ("3.txt", b"no"), ("4.jpg", b"4")))
    news = [NewImage(_photo(number, "PNG"), ".png", {"psnr": 40.5, "name": "ü"}) for number in range(2)]
    data = _written(*zip(samples, [*news, None, None], strict=True))
    got = list(group_by_keys(tar_file_expander([{"url": "out.tar", "stream": io.BytesIO(data)}])))
    record = b'{"name": "\xc3\xbc", "psnr": 40.5}\n'
    assert [{key: value for key, value in sample.items() if key != "__url__"} for sample in got] == [
        {"__key__": "x/1", "png": news[0].data, "cls": b"7", "disrupt.json": record},
        {"__key__": long, "png": news[1].data, "disrupt.json": record},
        {"__key__": "3", "txt": b"no"},
        {"__key__": "4", "jpg": b"4"},
    ]
    assert json.loads(record) == news[0].record


PART = st.text(st.characters(exclude_categories=["C"], exclude_characters="/\\."), min_size=1, max_size=60).filter(
    lambda part: ":" not in part
)
ORDER = st.lists(st.tuples(PART, PART), min_size=1, max_size=5, unique_by=lambda pair: pair[1])


@given(
    ORDER, st.lists(st.tuples(st.sampled_from(["jpg", "txt", "cls", "a.json"]), st.binary(max_size=700)), unique_by=lambda m: m[0])
)
def test_samples_survive_writing_and_reading_and_the_same_samples_give_the_same_bytes(
    folders: list[tuple[str, str]], members: list[tuple[str, bytes]]
) -> None:
    entries = [(f"{folder}/{stem}.{suffix}", data) for folder, stem in folders for suffix, data in members]
    samples = _read(_tar(*entries))
    assert [entry for sample in samples for entry in _in_order(sample)] == entries
    data = _written(*((sample, None) for sample in samples))
    assert _read(data) == samples
    assert data == _written(*((sample, None) for sample in _read(_tar(*entries, kind=tarfile.GNU_FORMAT))))


def _in_order(sample: Sample) -> list[tuple[str, bytes]]:
    members = list(sample.others)
    if sample.image:
        members.insert(sample.position, (sample.image, sample.data))
    return members


def test_written_members_bear_no_time_no_owner_and_one_mode() -> None:
    data = _written(*((sample, NewImage(b"n", ".png", {"a": 1})) for sample in _read(_tar(("1.txt", b"t"), ("1.jpg", b"1")))))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        facts = {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode, m.type) for m in tar}
    assert facts == {(0, 0, 0, "", "", 0o644, tarfile.REGTYPE)}
    assert _names(data) == ["1.txt", "1.png", "1.disrupt.json"]


@pytest.mark.parametrize(
    ("other", "suffix", "name"),
    [("a.txt", ".png", "a.in.png"), ("a.in.PNG", ".png", "a.in.jpg.png"), ("a.txt", ".jpg", "a.in.jpg")],
)
def test_the_new_name_is_never_that_of_another_member(other: str, suffix: str, name: str) -> None:
    (sample,) = _read(_tar(("a.in.jpg", b"1"), (other, b"2")), image_suffix="in.jpg")
    assert _names(_written((sample, NewImage(b"new", suffix, {})))) == [name, other, "a.disrupt.json"]


def test_a_protected_tar_is_not_protected_again() -> None:
    data = _written(*((sample, NewImage(b"n", ".png", {})) for sample in _read(_tar(("1.jpg", b"1")))))
    (sample,) = _read(data)
    assert sample.refused
    assert "it was protected before" in sample.refused


def test_what_cannot_be_written_is_said() -> None:
    (sample,) = _read(_tar(("1.jpg", b"1")))
    with pytest.raises(ValueError, match=r"'1\.jpg' would be in the tar twice"):
        _written((sample, None), (sample, None))
    with pytest.raises(ValueError, match="a refused sample is not written: broken"):
        _written((replace(sample, refused="broken"), None))
    with pytest.raises(ValueError, match="a new image for a sample that has none"):
        _written((Sample("2", None, b"", (("2.txt", b""),)), NewImage(b"n", ".png", {})))
    with pytest.raises(ValueError, match="JSON"):
        _written((sample, NewImage(b"n", ".png", {"psnr": float("inf")})))
