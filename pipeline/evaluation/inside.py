"""The pairs of photos of two containers: of an original one, and of what protect made of it; both are read once, side by side."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from pipeline.containers.find import CONTAINERS
from pipeline.containers.listing import PhotoRef
from pipeline.containers.naming import simple_name, unsafe_reason
from pipeline.containers.samples import End, Held, photos_inside
from pipeline.evaluation.options import EvaluateConfig
from pipeline.evaluation.pairs import NO_PARTNER, Pair, end_pair, face_boxes, pairs_of_table, refusal
from pipeline.evaluation.row import EvaluationRow
from pipeline.ledger.manifest import manifest_of_part
from pipeline.storage import Folder

AHEAD_BYTES = 2**26
"""How far a protected photo is looked for in its container."""
SUFFIXES = (".png", ".webp", ".jpg")
"""Of the plain files that protect writes instead of a container."""
WRITTEN = ("protected", "not_disrupted")
NO_PHOTO = "its container has no photo of its key, or in another order"
Record = Mapping[str, Any]


def pairs_of_part(table: pa.Table, *, config: EvaluateConfig) -> Iterator[Pair]:
    """The pairs of a part of the plan, those of containers one by one."""
    for pair in pairs_of_table(table):
        if pair.original and pair.original.container and not pair.ended:
            yield from pairs_inside(pair, config)
        else:
            yield pair


def pairs_inside(pair: Pair, config: EvaluateConfig) -> Iterator[Pair]:
    """The pairs of a container, in its order; a protected photo without an original ends in a row, and so does a container that
    cannot be read to its end."""
    if pair.original is None:
        return
    ends: list[tuple[str, End]] = []
    originals = _until_end(photos_inside(pair.original, image=config.image), "original", ends)
    protected: Iterator[Held] = iter(())
    if pair.protected:
        protected = _until_end(photos_inside(pair.protected, image=config.image, protected=True), "protected", ends)
    partners = _Partners(config, pair)
    for original, found in side_by_side(originals, protected, (pair.original.key, pair.protected.key if pair.protected else "")):
        if original:
            yield partners.pair(original, found)
        elif found and pair.original.most is None and not any(what == "original" and end.status == "failed" for what, end in ends):
            row = EvaluationRow(key=found.key, protected=found.key, status="missing", stage="pair", reason=NO_PARTNER)
            yield Pair(found.key, ended=row)
    if ends:
        failed = any(end.status == "failed" for _, end in ends)
        reason = "; ".join(f"{what}: {end.reason}" for what, end in ends)
        yield Pair(
            pair.key, ended=EvaluationRow(key=pair.key, status="failed" if failed else "skipped", stage="read", reason=reason)
        )


def side_by_side(
    originals: Iterable[Held], protected: Iterator[Held], names: tuple[str, str], *, ahead_bytes: int = AHEAD_BYTES
) -> Iterator[tuple[Held | None, Held | None]]:
    """Each original with the photo of the same key, None where there is none; and those that belong to no original.

    Keys are compared without the ``names`` of the two containers. Both have one order, so a photo that is passed belongs to none;
    up to ``ahead_bytes`` of them are held.
    """
    name, other_name = names
    ahead: dict[str, Held] = {}
    held_bytes = 0
    for original in originals:
        key = original.key.removeprefix(f"{name}/")
        while original.whole and key not in ahead and held_bytes <= ahead_bytes and (found := next(protected, None)):
            ahead[found.key.removeprefix(f"{other_name}/")] = found
            held_bytes += len(found.data or b"")
        if key not in ahead:
            yield original, None
            continue
        for passed in list(ahead):
            found = ahead.pop(passed)
            held_bytes -= len(found.data or b"")
            yield (original if passed == key else None), found
            if passed == key:
                break
    for found in (*ahead.values(), *protected):
        yield None, found


class _Partners:
    """What is on record of the photos of a container, and where their protected files lie."""

    def __init__(self, config: EvaluateConfig, pair: Pair) -> None:
        self._original, self._protected = pair.original, pair.protected
        self._folder = Folder(config.protected)
        self._rows = manifest_of_part(self._folder, pair.part) if pair.part else {}

    def pair(self, original: Held, found: Held | None) -> Pair:
        row = self._rows.get(original.key) or _checked(found.record if found else None)
        ref = PhotoRef(original.key, _uri(self._original), len(original.data or b""), refused=original.refused)
        if row and row["status"] not in WRITTEN:
            said = f"protect {row['status']}: {row['reason']}"
            return end_pair(ref, "skipped" if row["status"] == "skipped" else "missing", said)
        if found:
            other = PhotoRef(found.key, _uri(self._protected), len(found.data or b""), refused=found.refused)
        elif name := self._plain_file(original.key, row):
            other = PhotoRef(name, self._folder.uri_of(name), 0)
        else:
            return end_pair(ref, "missing", NO_PHOTO if self._protected else "its container is not among the protected ones")
        known = row or {}
        return Pair(
            ref.key,
            ref,
            other,
            known.get("sha256_in"),
            known.get("sha256_out"),
            known.get("epsilon"),
            face_boxes(known),
            ended=refusal(ref, other),
            original_data=original.data,
            protected_data=found.data if found else None,
        )

    def _plain_file(self, key: str, row: Record | None) -> str | None:
        """The name of the file that was written instead of a place in a container."""
        names = [row["output"]] if row and row.get("output") else [simple_name(key, suffix) for suffix in SUFFIXES]
        plain = (name for name in names if not unsafe_reason(name) and posixpath.splitext(name)[1] not in CONTAINERS)
        return next(filter(self._folder.exists, plain), None)


def _until_end(photos: Iterable[Held | End], what: str, ends: list[tuple[str, End]]) -> Iterator[Held]:
    for each in photos:
        if isinstance(each, End):
            ends.append((what, each))
        else:
            yield each


def _uri(ref: PhotoRef | None) -> str:
    return ref.uri if ref else ""


def _checked(record: Record | None) -> Record | None:
    """A record as far as it holds what a run writes: a container may come from anywhere."""
    if record is None or not isinstance(record.get("status"), str):
        return None
    texts: dict[str, Any] = {
        name: str(record[name]) for name in ("status", "reason", "sha256_in", "sha256_out") if record.get(name)
    }
    epsilon = record.get("epsilon")
    region, boxes = record.get("region"), record.get("boxes")
    if region == "faces" and isinstance(boxes, list) and boxes and all(type(edge) is int for edge in boxes):
        texts |= {"region": region, "boxes": boxes}
    return {"reason": "", **texts, "epsilon": epsilon if type(epsilon) is int and 1 <= epsilon <= 64 else None}
