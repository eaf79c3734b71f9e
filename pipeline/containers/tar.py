"""WebDataset tars: a stream of samples, each the consecutive members that share a key; nothing is extracted to disk."""

from __future__ import annotations

import hashlib
import io
import json
import posixpath
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, BinaryIO, NamedTuple

from pipeline.containers.errors import ContainerError, one_line
from pipeline.containers.listing import PHOTO_SUFFIXES
from pipeline.containers.naming import unsafe_reason
from pipeline.photos.foreign import refused_by_suffix
from pipeline.storage import StoreAwayError

LIMIT_BYTES = 256 * 2**20
RECORD_SUFFIX = ".disrupt.json"
RECORD_BYTES = 2**16
"""A record of more is none of ours."""


@dataclass(frozen=True)
class Sample:
    """The members of one key: the photo `image` with its bytes `data`, and the `others` (name, bytes) in file order.

    `image` is None and `data` empty where no member is a photo. `position` is how many others come before the photo.
    `refused` is the reason why the photo will not be used; `whole` is false where a refused sample lacks the members that its
    reason is about, or where its names would come twice. ``record`` is what an earlier run said of the photo.
    """

    key: str
    image: str | None
    data: bytes
    others: tuple[tuple[str, bytes], ...]
    refused: str | None = None
    position: int = 0
    whole: bool = True
    record: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class NewImage:
    """What takes the place of a photo: its bytes, the suffix of their format (`.png`), and the record for `KEY.disrupt.json`."""

    data: bytes
    suffix: str
    record: Mapping[str, object]


class _Member(NamedTuple):
    run: str  # the key of the sample that it lies in or behind
    name: str
    key: str | None = None
    data: bytes | None = None
    refused: str | None = None
    damage: Exception | None = None  # what ends the tar here


class _Header(tarfile.TarInfo):
    """A header that says when it is damaged or missing, where tarfile would take that for the end of the archive."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> _Header:
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.HeaderError as error:
            if isinstance(error, tarfile.EOFHeaderError):  # type: ignore[attr-defined]
                raise
            raise tarfile.ReadError(str(error)) from error


def read_samples(
    file: BinaryIO, place: str, *, image_suffix: str | None = None, protected: bool = False, limit_bytes: int = LIMIT_BYTES
) -> Iterator[Sample]:
    """The samples of a tar (plain, gz, bz2 or xz) in file order, read once from front to back; `place` names it in errors.

    The key is WebDataset's: the name up to the first dot of its last part. A sample with several photos is refused unless
    `image_suffix` (`jpg`, `input.png`, in lower case) says which. Refused are links, devices, names that leave the folder,
    names and keys that come again, and members that take a sample beyond `limit_bytes`. Names without a key (`README`,
    `.DS_Store`) are samples of their own; macOS's `._a.jpg` is no photo and belongs to `a`; folders are passed over. Samples that
    were protected before are refused, or with ``protected`` read with their records, which say which photo is meant. Raises
    ContainerError where the tar is cut or damaged, has no end mark, or goes on behind it, after the samples known to be whole.
    """
    earlier: set[tuple[str, bool]] = set()
    for run, group in groupby(_members(file, limit_bytes), key=lambda member: member.run):
        members = list(group)
        if damage := members[-1].damage:
            where = f"at {members[-1].name!r}" if members[-1].name else "at its start"
            raise ContainerError(f"{place}: no tar, or cut or damaged {where}: {one_line(damage)}") from damage
        keyed = [member for member in members if member.key is not None]
        alone = [(member.name, [member]) for member in members if member.key is None]
        for key, parts in [(run, keyed), *alone] if keyed else alone:
            yield _sample(key, parts, image_suffix, protected=protected, comes_again=(key, parts is keyed) in earlier)
            earlier.add((key, parts is keyed))


def write_tar(file: BinaryIO, samples: Iterable[tuple[Sample, NewImage | None]]) -> None:
    """Write a tar whose bytes depend only on the samples: members in order, with mtime 0, owner 0 and mode 0644.

    A sample with a NewImage gets the new bytes under the photo's name with the new suffix (`a.jpg` becomes `a.png`, or
    `a.jpg.png` where `a.png` is taken) and `KEY.disrupt.json` at its end; one with None is copied byte for byte.
    Raises ValueError for a refused sample, which must be left out, and for a name that comes twice.
    """
    written: set[str] = set()
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT, encoding="utf-8") as tar:
        for sample, new in samples:
            for name, data in _output(sample, new):
                if name in written:
                    raise ValueError(f"{name!r} would be in the tar twice")
                written.add(name)
                header = tarfile.TarInfo(name)  # its defaults: a file with mtime 0, owner 0 and mode 0644
                header.size = len(data)
                tar.addfile(header, io.BytesIO(data))


def _members(file: BinaryIO, limit_bytes: int) -> Iterator[_Member]:
    run, name, held = "", "", 0
    try:
        with tarfile.open(fileobj=file, mode="r|*", tarinfo=_Header, encoding="utf-8") as tar:
            while (header := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]
                if header.isdir():
                    continue
                name, key = header.name, _key(header.name)
                if key is not None and key != run:
                    run, held = key, 0
                refused = _refusal(header, limit_bytes - held)
                data = None if refused else tar.extractfile(header).read()  # type: ignore[union-attr]
                held += len(data or b"")
                yield _Member(run, name, key, data, refused)
            while rest := tar.fileobj.read(2**20):
                if rest.strip(b"\0"):
                    raise tarfile.ReadError("data behind the end mark; one file holds one tar")
    except StoreAwayError:
        raise
    except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError) as error:
        yield _Member(run, name, damage=error)


def _refusal(header: tarfile.TarInfo, room_bytes: int) -> str | None:
    if header.issym() or header.islnk():
        return "a link; links are not followed"
    if not header.isreg():
        return "a device or pipe, no file"
    if header.size > room_bytes:
        return f"too large: with its {header.size} bytes the sample goes beyond the limit by {header.size - room_bytes}"
    return unsafe_reason(_plain(header.name))


def _sample(key: str, members: list[_Member], image_suffix: str | None, *, protected: bool, comes_again: bool) -> Sample:
    kept = {member.name: member.data for member in members if member.data is not None}
    names = list(kept)
    photos = [name for name in names if _is_photo(name)]
    fitting = [name for name in photos if image_suffix is None or _last(name).partition(".")[2].lower() == image_suffix]
    record = _record(kept) if protected else None
    image = (record and _recorded(record, kept, photos)) or (fitting[0] if len(fitting) == 1 else None)
    reasons = [f"{member.name!r}: {member.refused}" for member in members if member.refused]
    if comes_again:
        reasons.append("its key came before: the members of a sample must follow each other")
    if len({_plain(name).lower() for name in names}) < len([member for member in members if member.data is not None]):
        reasons.append("a name comes twice (large and small letters count as the same)")
    whole = not reasons
    if photos and image is None:
        reasons.append(f"not clear which of its members is the photo: name one suffix ({', '.join(photos)})")
    if photos and members[0].key is None:
        reasons.append("a photo whose name begins with a dot has no key")
    if photos and not protected and any(name.lower().endswith(RECORD_SUFFIX) for name in names):
        reasons.append(f"has a member *{RECORD_SUFFIX}: it was protected before; give the original photos")
    if image and (foreign := refused_by_suffix(_suffix(image))):
        reasons.append(foreign)
    return Sample(
        key=_printable(key),
        image=image,
        data=kept[image] if image else b"",
        others=tuple((name, data) for name, data in kept.items() if name != image),
        refused=reasons[0] if reasons else None,
        position=names.index(image) if image else 0,
        whole=whole,
        record=record,
    )


def _record(kept: Mapping[str, bytes]) -> Mapping[str, Any] | None:
    """What a run said of the photo; None where nothing was said that can be read."""
    for name, data in kept.items():
        if name.lower().endswith(RECORD_SUFFIX) and len(data) <= RECORD_BYTES:
            try:
                record = json.loads(data)
            except (ValueError, RecursionError):
                continue
            if isinstance(record, dict):
                return record
    return None


def _recorded(record: Mapping[str, Any], kept: Mapping[str, bytes], photos: list[str]) -> str | None:
    """The photo whose bytes are those that the record speaks of."""
    sha256 = record.get("sha256_out") or record.get("sha256_in")
    return next((name for name in photos if hashlib.sha256(kept[name]).hexdigest() == sha256), None)


def _output(sample: Sample, new: NewImage | None) -> list[tuple[str, bytes]]:
    if sample.refused:
        raise ValueError(f"{sample.key}: a refused sample is not written: {sample.refused}")
    members = list(sample.others)
    if sample.image is None:
        if new:
            raise ValueError(f"{sample.key}: a new image for a sample that has none")
        return members
    if new is None:
        return [*members[: sample.position], (sample.image, sample.data), *members[sample.position :]]
    simple = posixpath.splitext(sample.image)[0] + new.suffix
    is_taken = any(_plain(name).lower() == _plain(simple).lower() for name, _ in members)
    members.insert(sample.position, (sample.image + new.suffix if is_taken else simple, new.data))
    record = json.dumps(new.record, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    prefix = sample.image[: len(sample.image) - len(_last(sample.image))] + _last(sample.image).partition(".")[0]
    return [*members, (prefix + RECORD_SUFFIX, record.encode())]


def _key(name: str) -> str | None:
    folder, slash, last = _plain(name).rpartition("/")
    stem, dot, _ = last.removeprefix("._").partition(".")
    return folder + slash + stem if stem and dot else None


def _is_photo(name: str) -> bool:
    return _suffix(name) in PHOTO_SUFFIXES and not _last(name).startswith("._")


def _suffix(name: str) -> str:
    return posixpath.splitext(name)[1].lower()


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _plain(name: str) -> str:
    return name.removeprefix("./")


def _printable(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
