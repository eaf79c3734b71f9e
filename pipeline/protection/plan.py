"""The plan of a protection run: which photos, in which parts, under which names; and which parts are still to be done.

The input is listed once. A run that is not over goes on with its plan; one that is over lists again and adds what is new.
"""

from __future__ import annotations

import itertools
import os
from array import array
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.containers.find import walk_photos
from pipeline.containers.listing import ContainerKind, PhotoRef, boxes_of
from pipeline.containers.naming import fold_name, folders_of, output_names, simple_name, unsafe_reason
from pipeline.containers.samples import limit_photos
from pipeline.jobs.parts import PARTS_FOR_EACH
from pipeline.ledger.errors import LedgerError
from pipeline.ledger.journal import Journal
from pipeline.ledger.layout import is_reserved
from pipeline.ledger.parts import committed, read_part, remove_part
from pipeline.ledger.plan import Plan, commit_plan, extend_plan, planned, read_plan, rewrite_plan
from pipeline.ledger.rows import Int64, schema_of, table_of
from pipeline.ledger.run import RunFolder
from pipeline.ledger.schema import RETRIED
from pipeline.photos.encode import FORMATS
from pipeline.protection.earlier import PROTECTED_BEFORE, earlier_outputs
from pipeline.protection.job import Job
from pipeline.protection.options import ProtectConfig
from pipeline.protection.row import Work
from pipeline.storage import Folder

Hashes = NDArray[np.uint64]
LISTED = 100_000
"""Names of one folder that are held in memory; each takes about a hundred bytes."""


@dataclass(frozen=True, slots=True)
class PlannedPhoto:
    """A photo of the plan, or a ``container`` of which ``most`` photos are used, or all. ``output`` is its name where that is not
    simply the key with another suffix; ``boxes`` has four numbers for each box of the table. ``earlier`` is one that an earlier
    run wrote."""

    key: str
    uri: str
    size_bytes: Int64
    boxes: Sequence[float] | None = None
    refused: str | None = None
    output: str | None = None
    container: ContainerKind | None = None
    most: Int64 | None = None
    failed: bool = False
    earlier: bool = False


PLANNED = schema_of(PlannedPhoto)


def plan_run(job: Job, run: RunFolder) -> tuple[Plan, list[str]]:
    """The plan, written down, and the names of the parts that are still to be done."""
    plan, done = read_plan(run.folder), committed(run.folder)
    if len(done) >= len(plan.counts) or job.config.photos.limit != plan.limit:
        plan = _extend(job, run, plan)
    if run.retry_failed:
        _reopen(job, run, sorted(committed(run.folder)), lambda rows: pc.is_in(rows["status"], value_set=pa.array(RETRIED)))
    if run.folder.is_local:
        there = _There(run.folder)
        _reopen(job, run, sorted(committed(run.folder)), lambda rows: _gone(there, rows))
    done = committed(run.folder)
    return plan, [name for name in plan.parts if name not in done]


def works_of(table: pa.Table, suffix: str, *, portable: bool = False) -> list[Work]:
    """The photos of a file of the plan, with the names of their outputs, which end in ``suffix``."""
    works = []
    for one in (PlannedPhoto(**row) for row in table.to_pylist()):
        output = one.output or ("" if one.refused else simple_name(one.key, suffix, portable=portable))
        works.append(Work(_ref(one), output, notes=(PROTECTED_BEFORE,) if one.earlier else ()))
    return works


def planned_refs(table: pa.Table) -> list[PhotoRef]:
    """What a file of the plan names."""
    return [_ref(PlannedPhoto(**row)) for row in table.to_pylist()]


def in_containers(run: RunFolder, plan: Plan) -> bool:
    """Whether the plan names containers, and no photos."""
    return any(ref.container for name in plan.parts[:1] for ref in planned_refs(planned(run.folder, name)))


def photo_of_plan(run: RunFolder, part: str, key: str) -> PhotoRef | None:
    """A photo by the part that it is in; None when it is not there."""
    table = planned(run.folder, part)
    rows = table.filter(pc.equal(table["key"], key)).to_pylist()
    return _ref(PlannedPhoto(**rows[0])) if rows else None


def _extend(job: Job, run: RunFolder, plan: Plan) -> Plan:
    """The plan with the photos that it does not hold yet."""
    config = job.config
    walk = walk_photos(config.input, containers=True)
    rest = iter(walk)
    first = next(rest)
    if plan.counts and planned_refs(planned(run.folder, plan.parts[0]))[0].container != first.container:
        kind = "photos" if first.container is None else f"{first.container} containers"
        raise LedgerError(
            f"{config.output} holds a run over other inputs than {config.input} has now, which are {kind}: give a new OUT"
        )
    every = itertools.chain([first], rest)
    extend = _extend_containers if first.container else _extend_photos
    longer = replace(extend(job, run, plan, every), limit=config.photos.limit, ignored=walk.ignored)
    commit_plan(run.folder, longer)
    return longer


def _extend_containers(job: Job, run: RunFolder, plan: Plan, refs: Iterable[PhotoRef]) -> Plan:
    """One container a part. Of those that the plan has, one with another size, or with more photos to use, is done again."""
    config = job.config
    now = {ref.key: ref for ref in limit_photos(refs, config.photos.limit, image=config.image)}
    for part in plan.parts:
        (before,) = planned_refs(planned(run.folder, part))
        after = now.pop(before.key, before)
        if after.size_bytes != before.size_bytes or (before.most and (after.most is None or after.most > before.most)):
            Journal(run.folder, part).clear()
            remove_part(run.folder, part)
            rewrite_plan(run.folder, part, _as_table([after]))
    shares = PARTS_FOR_EACH * config.compute.known_actors
    return extend_plan(run.folder, plan, now.values(), _as_table, most=1, shares=shares)


def _extend_photos(job: Job, run: RunFolder, plan: Plan, refs: Iterable[PhotoRef]) -> Plan:
    config, named = job.config, _naming(job.config)
    known = {_hash(key) for name in plan.parts for key in planned(run.folder, name, ["key"])["key"].to_pylist()}
    names, folders = array("Q"), {""}

    def fresh() -> Iterator[PhotoRef]:
        for number, ref in enumerate(refs):
            if _hash(ref.key) in known:
                continue
            if not _unnamed(ref, portable=config.portable_names):
                names.append(_hash(fold_name(named(ref.key))))
                folders.add(named(ref.key).rpartition("/")[0])
            if config.photos.limit is None or number < config.photos.limit:
                yield ref

    as_table = partial(_as_table, portable=config.portable_names, earlier=earlier_outputs(config.input))
    longer = extend_plan(
        run.folder, plan, fresh(), as_table, most=config.part_photos, shares=PARTS_FOR_EACH * config.compute.known_actors
    )
    if longer.counts != plan.counts:
        taken = set()
        for work in _named_works(job, run, plan):
            names.append(_hash(fold_name(named(work.key))))
            folders.add(named(work.key).rpartition("/")[0])
            taken.add(_hash(fold_name(work.output)))
        taken |= {_hash(fold_name(name)) for folder in folders for name in (folder, *folders_of(folder))}
        _settle_names(job, run, (plan, longer), np.sort(np.frombuffer(names, np.uint64)), taken)
    return longer


def _settle_names(job: Job, run: RunFolder, plans: tuple[Plan, Plan], names: Hashes, taken: set[int]) -> None:
    """Gives names of their own to photos of which several want one name, or one that is ``taken``.

    Only these photos are looked at again; all others keep their simple names, and those of the first plan the names that they have.
    """
    suffix, portable, named = FORMATS[job.config.format].suffix, job.config.portable_names, _naming(job.config)
    rivals = set(names[1:][names[1:] == names[:-1]].tolist()) | set(names[np.isin(names, np.array([*taken], np.uint64))].tolist())
    if not rivals:
        return
    refs = [ref for ref in walk_photos(job.config.input) if not _unnamed(ref, portable=portable)]
    keys = [ref.key for ref in refs if _hash(fold_name(named(ref.key))) in rivals]
    if len(set(keys)) < len(keys):
        twin = next(key for i, key in enumerate(keys) if key in keys[:i])
        raise LedgerError(f"two inputs have the name {twin!r}: every photo of a run needs a name of its own")
    before, plan = plans
    kept = {work.key: work.output for work in _named_works(job, run, before) if _hash(fold_name(named(work.key))) in rivals}
    own = output_names(keys, suffix=suffix, portable=portable, taken=_Hashed(taken), wanted=_Hashed(set(names.tolist())), kept=kept)
    for part in plan.parts[len(before.counts) :]:
        table = planned(run.folder, part)
        outputs = [own.get(key) for key in table["key"].to_pylist()]
        if any(outputs):
            at = table.schema.get_field_index("output")
            rewrite_plan(run.folder, part, table.set_column(at, PLANNED.field("output"), pa.array(outputs, pa.string())))


def _naming(config: ProtectConfig) -> Callable[[str], str]:
    """The simple name of an output by the key of its photo."""
    return partial(simple_name, suffix=FORMATS[config.format].suffix, portable=config.portable_names)


def _named_works(job: Job, run: RunFolder, plan: Plan) -> Iterator[Work]:
    """The photos of the plan that have outputs."""
    suffix, portable = FORMATS[job.config.format].suffix, job.config.portable_names
    works = (work for name in plan.parts for work in works_of(planned(run.folder, name), suffix, portable=portable))
    return (work for work in works if work.output)


class _Hashed:
    """Folded names, known by their hashes."""

    def __init__(self, hashes: set[int]) -> None:
        self._hashes = hashes

    def __contains__(self, name: object) -> bool:
        return _hash(str(name)) in self._hashes


def _reopen(job: Job, run: RunFolder, parts: Sequence[str], again: Callable[[pa.Table], pa.Array]) -> None:
    """Takes parts out of the manifest in which photos are to be done ``again``; their other rows stay, in the journal.

    A container that is written as one is done again as a whole: its photos lie nowhere else.
    """
    for part in parts:
        if pc.any(again(read_part(run.folder, part, ["key", "status", "output"]))).as_py():
            rows = read_part(run.folder, part)
            journal = Journal(run.folder, part)
            journal.clear()
            kept = rows.filter(pc.invert(again(rows)))
            whole = job.config.container == "same" and planned_refs(planned(run.folder, part))[0].container
            if kept.num_rows and not whole:
                journal.add(kept)
            remove_part(run.folder, part)


class _There:
    """Which names a local folder holds: each folder below it is listed once, and what a listing does not show is asked for."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self._names = lru_cache(maxsize=4)(self._list)

    def __contains__(self, name: str) -> bool:
        below, _, own = name.rpartition("/")
        return own in self._names(below) or os.path.lexists(self.folder.at(name))

    def _list(self, below: str) -> frozenset[str]:
        try:
            with os.scandir(self.folder.at(below) if below else self.folder.path) as entries:
                return frozenset(entry.name for entry in itertools.islice(entries, LISTED))
        except OSError:
            return frozenset()


def _gone(there: _There, rows: pa.Table) -> pa.Array:
    """Which rows name an output that is not there. Raises LedgerError for one that would lie outside the folder."""
    outputs = rows["output"].to_pylist()
    for name in outputs:
        if name and (reason := unsafe_reason(name)):
            raise LedgerError(f"{there.folder.path} records the output {name!r}: {reason}. Give another output folder.")
    return pa.array([bool(name) and name not in there for name in outputs], pa.bool_())


def _unnamed(ref: PhotoRef, *, portable: bool = False) -> str | None:
    """Why a photo has no output, so that none is named for it."""
    refused = ref.refused
    if portable and refused == unsafe_reason(ref.key):
        refused = unsafe_reason(ref.key, portable=True)
    return refused or ("name is one that the run itself uses" if is_reserved(ref.key) else None)


def _as_table(refs: Sequence[PhotoRef], *, portable: bool = False, earlier: Container[PhotoRef] = ()) -> pa.Table:
    photos = [
        PlannedPhoto(
            ref.key,
            ref.uri,
            ref.size_bytes,
            [number for box in ref.boxes for number in box] or None,
            _unnamed(ref, portable=portable),
            container=ref.container,
            most=ref.most,
            failed=ref.failed,
            earlier=ref in earlier,
        )
        for ref in sorted(refs, key=lambda ref: ref.key)
    ]
    return table_of(photos, PLANNED)


def _ref(photo: PlannedPhoto) -> PhotoRef:
    return PhotoRef(
        photo.key,
        photo.uri,
        photo.size_bytes,
        boxes=boxes_of(photo.boxes),
        refused=photo.refused,
        container=photo.container,
        most=photo.most,
        failed=photo.failed,
    )


def _hash(text: str) -> int:
    """64 bits that stand for a name in this process."""
    return hash(text) & 0xFFFF_FFFF_FFFF_FFFF
