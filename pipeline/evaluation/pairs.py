"""Which protected file belongs to which original: by the manifest of the run where there is one, else by relative name."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from pipeline.containers.listing import PhotoRef, boxes_of
from pipeline.containers.naming import unsafe_reason
from pipeline.containers.read import MAX_BYTES
from pipeline.evaluation.row import EvaluationRow, Status
from pipeline.images.types import Box
from pipeline.ledger.rows import schema_of, table_of
from pipeline.storage import read_uri

NO_PARTNER = "a protected file to which no original belongs: renamed?"
ORIGINAL_RENAMED, PROTECTED_RENAMED = "original renamed since", "protected file renamed since"


@dataclass(frozen=True)
class Pair:
    """An original and its protected file, or the row that says why there is no such pair.

    ``sha256_in`` and ``sha256_out`` are what the manifest says of the two files, None without one. ``epsilon`` is in levels. The
    ``boxes`` are those around the faces that were protected, in upright pixels; None where none were found or looked for. The bytes
    of files are there where they are read already: those of photos in containers. A pair of containers has the ``part`` of
    the manifest that speaks of its photos.
    """

    key: str
    original: PhotoRef | None = None
    protected: PhotoRef | None = None
    sha256_in: str | None = None
    sha256_out: str | None = None
    epsilon: int | None = None
    boxes: tuple[Box, ...] | None = None
    flags: tuple[str, ...] = ()
    ended: EvaluationRow | None = None
    part: str | None = None
    original_data: bytes | None = None
    protected_data: bytes | None = None


@dataclass(frozen=True, slots=True)
class PlannedPair:
    """A pair as a row of the plan: its fields as JSON."""

    key: str
    fields: str


PLANNED = schema_of(PlannedPair)


def pairs_as_table(pairs: Sequence[Pair]) -> pa.Table:
    """Pairs as rows of the plan."""
    return table_of((PlannedPair(pair.key, json.dumps(asdict(pair))) for pair in pairs), PLANNED)


def pairs_of_table(table: pa.Table) -> list[Pair]:
    """The pairs of rows of the plan."""
    return [_pair(json.loads(fields)) for fields in table["fields"].to_pylist()]


def _pair(fields: dict[str, Any]) -> Pair:
    refs = {name: _ref(fields[name]) if fields[name] else None for name in ("original", "protected")}
    boxes = fields["boxes"] and tuple(map(tuple, fields["boxes"]))
    ended = EvaluationRow(**fields["ended"]) if fields["ended"] else None
    return Pair(**{**fields, **refs, "ended": ended, "boxes": boxes, "flags": tuple(fields["flags"])})


def _ref(fields: dict[str, Any]) -> PhotoRef:
    return PhotoRef(**{**fields, "boxes": tuple(map(tuple, fields["boxes"]))})


def face_boxes(row: Mapping[str, Any]) -> tuple[Box, ...] | None:
    """The boxes around the faces that were found in a photo, as its manifest row has them; None where there are none."""
    return boxes_of(row["boxes"]) if row.get("region") == "faces" else None


def match(
    originals: Sequence[PhotoRef], protected: Sequence[PhotoRef], manifest: Sequence[Mapping[str, Any]] | None, *, whole: bool
) -> list[Pair]:
    """One pair for each original, and one that has ended for each protected file without an original; sorted by key.

    With a manifest a file is found by the name there, or by its content where it was renamed. Without one, by its relative name:
    the same, the same without suffix, or the original's whole name with another suffix. ``whole`` says that ``originals`` are all
    there are, so that a protected file without one is worth a row.
    """
    pairs = _by_manifest(originals, protected, manifest) if manifest is not None else _by_name(originals, protected)
    used = {pair.protected.key for pair in pairs if pair.protected}
    if whole:
        lost = {row["output"]: row["key"] for row in manifest or () if row["output"]}
        pairs += [_orphan(ref.key, lost.get(ref.key)) for ref in protected if ref.key not in used]
    return sorted(pairs, key=lambda pair: (pair.key, pair.original is None))


def match_containers(
    originals: Sequence[PhotoRef], protected: Sequence[PhotoRef], parts: Mapping[str, str], *, whole: bool
) -> list[Pair]:
    """A pair for each original container, and one that has ended for each protected one without an original; sorted by key.

    They belong together by their names, or if there is one of each. ``parts`` are the parts of the manifest by container.
    """
    named = {ref.key: ref for ref in protected}
    if len(originals) == len(protected) == 1 and not parts:
        named = {originals[0].key: protected[0]}
    pairs = [_containers(ref, named.get(ref.key), parts.get(ref.key)) for ref in originals]
    if whole:
        known = {ref.key for ref in originals}
        strange = sorted((named.keys() | parts.keys()) - known)
        pairs += [_orphan(key, key if key in parts else None) for key in strange]
    return sorted(pairs, key=lambda pair: pair.key)


def _containers(original: PhotoRef, protected: PhotoRef | None, part: str | None) -> Pair:
    if protected and protected.container != original.container:
        return end_pair(original, "failed", f"a {original.container} container, but the protected one is {protected.container}")
    ended = refusal(original, protected or original)
    return Pair(original.key, original, protected and replace(protected, most=original.most), part=part, ended=ended)


def _by_manifest(originals: Sequence[PhotoRef], protected: Sequence[PhotoRef], manifest: Sequence[Mapping[str, Any]]) -> list[Pair]:
    rows = {row["key"]: row for row in manifest}
    files = {ref.key: ref for ref in protected}
    expected = {row["output"] for row in manifest if row["output"]}
    wanted = {row["sha256_out"] for row in manifest if row["output"] and row["output"] not in files}
    by_content = _by_sha256((ref for ref in protected if ref.key not in expected), wanted) if wanted else {}
    known = {ref.key for ref in originals}
    lost = {row["sha256_in"]: row for row in manifest if row["key"] not in known and row["sha256_in"]}
    pairs, strangers = [], []
    for ref in originals:
        if ref.key in rows:
            pairs.append(_pair_of_row(ref, rows[ref.key], files, by_content, ()))
        else:
            strangers.append(ref)
    contents = _by_sha256(strangers, lost.keys()) if lost else {}
    renamed = {ref.key: lost[sha256] for sha256, ref in contents.items()}
    for ref in strangers:
        if ref.key in renamed:
            pairs.append(_pair_of_row(ref, renamed[ref.key], files, by_content, (ORIGINAL_RENAMED,)))
        else:
            pairs.append(_missing(ref, "the manifest of the protected files has neither its name nor its content: added later?"))
    return pairs


def _pair_of_row(
    ref: PhotoRef, row: Mapping[str, Any], files: Mapping[str, PhotoRef], by_content: Mapping[str, PhotoRef], flags: tuple[str, ...]
) -> Pair:
    """The pair of an original with a manifest row. A name that cannot be written is no hindrance: its output has another."""
    output = row["output"]
    if output and ref.refused and ref.refused == unsafe_reason(ref.key):
        ref = replace(ref, refused=None)
    if not output:
        said = f"protect {row['status']}: {row['reason']}"
        return end_pair(ref, "skipped" if row["status"] == "skipped" else "missing", said)
    found = files.get(output) or by_content.get(row["sha256_out"])
    if found is None:
        return _missing(ref, "its protected file is gone, and no other file there has its content", output)
    if found.key != output:
        flags = (*flags, PROTECTED_RENAMED)
    ended = refusal(ref, found)
    return Pair(ref.key, ref, found, row["sha256_in"], row["sha256_out"], row["epsilon"], face_boxes(row), flags, ended)


def _by_name(originals: Sequence[PhotoRef], protected: Sequence[PhotoRef]) -> list[Pair]:
    exact = {ref.key: ref for ref in protected}
    stems: dict[str, list[PhotoRef]] = defaultdict(list)
    for ref in protected:
        stems[_stem(ref.key)].append(ref)
    rivals: dict[str, int] = defaultdict(int)
    for ref in originals:
        rivals[_stem(ref.key)] += 1
    return [_pair_by_name(ref, exact, stems, rivals[_stem(ref.key)]) for ref in originals]


def _pair_by_name(ref: PhotoRef, exact: Mapping[str, PhotoRef], stems: Mapping[str, list[PhotoRef]], rivals: int) -> Pair:
    """The pair of an original by its name; ``rivals`` originals have its name without the suffix."""
    long = stems.get(ref.key, [])  # a.jpg.png for a.jpg: how protect tells apart what would have one name
    found = [exact[ref.key]] if ref.key in exact else long or stems.get(_stem(ref.key), [])
    if len(found) > 1 or (rivals > 1 and ref.key not in exact and not long and found):
        return end_pair(ref, "failed", "cannot tell which protected file is its own: their names differ in nothing but the suffix")
    if not found:
        return _missing(ref, "no protected file has its name: renamed?")
    return Pair(ref.key, ref, found[0], ended=refusal(ref, found[0]))


def refusal(original: PhotoRef, protected: PhotoRef) -> EvaluationRow | None:
    """The row of a pair of which a file is not to be read at all."""
    for what, ref in (("original", original), ("protected", protected)):
        if ref.refused:
            return EvaluationRow(
                key=original.key, protected=protected.key, status="failed", stage="list", reason=f"{what}: {ref.refused}"
            )
    return None


def _orphan(name: str, key: str | None) -> Pair:
    was = "its original is not among the originals" if key else NO_PARTNER
    return Pair(name, ended=EvaluationRow(key=key or name, protected=name, status="missing", stage="pair", reason=was))


def _missing(ref: PhotoRef, reason: str, protected: str | None = None) -> Pair:
    return end_pair(ref, "missing", reason, protected)


def end_pair(ref: PhotoRef, status: Status, reason: str, protected: str | None = None) -> Pair:
    """A pair that has ended with this row."""
    row = EvaluationRow(key=ref.key, protected=protected, status=status, stage="pair", reason=reason)
    return Pair(ref.key, ref, ended=row)


def _by_sha256(refs: Iterable[PhotoRef], wanted: Iterable[str]) -> dict[str, PhotoRef]:
    """Those of the files whose content has one of the wanted hashes; unreadable ones are passed over."""
    looked_for = set(wanted)
    found: dict[str, PhotoRef] = {}
    for ref in refs:
        if ref.refused:
            continue
        try:
            sha256 = hashlib.sha256(read_uri(ref.uri, most=MAX_BYTES)).hexdigest()
        except OSError:  # measured nowhere: it has a row of its own as a file that belongs to nothing
            continue
        if sha256 in looked_for:
            found.setdefault(sha256, ref)
    return found


def _stem(key: str) -> str:
    return PurePosixPath(key).with_suffix("").as_posix()
