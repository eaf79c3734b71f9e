"""What happens to the photos of a part, top to bottom. `pipeline.jobs.parts` folds this list in a loop here or in an actor on Ray.

    part of the plan              references only
      -> read                     file bytes and decoded pixels
      -> protect (holds the generators)   protected pixels, effect; or a signal, or universal perturbation, without generators
      -> write                    files written and verified
      -> rows                     what became of each input; their commit is the part of the manifest

All of it happens in one process: no photo crosses Ray's object store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pyarrow as pa

from pipeline.jobs.parts import PartJob, Stage, same
from pipeline.ledger.run import RunFolder
from pipeline.ledger.schema import ManifestRow, manifest_schema, rows_to_table
from pipeline.ledger.schema import Stage as StageName
from pipeline.photos.encode import FORMATS
from pipeline.protection.job import Job
from pipeline.protection.options import ProtectConfig
from pipeline.protection.plan import planned_refs, works_of
from pipeline.protection.repack import commit_repacked, works_in
from pipeline.protection.row import Work
from pipeline.protection.stages.add import Add
from pipeline.protection.stages.perturb import Perturber
from pipeline.protection.stages.read import end, reader
from pipeline.protection.stages.sign import Signer
from pipeline.protection.stages.write import Destination, write_photos
from pipeline.protection.sums import sums_of


def part_job(job: Job, run: RunFolder) -> PartJob:
    """How the parts of a run are done."""
    config = job.config
    compute = config.used_compute()
    generator = ", ".join(config.generator) if config.measures() else None
    universal = job.perturber.universal.id if job.perturber else None
    to = Destination(run.folder, job.signature, generator, job.signer.bundle.id if job.signer else None, universal)
    write = partial(write_photos, config=config, to=to)
    stages = (
        Stage("read", partial(same, reader(config))),
        Stage("protect", partial(pixel_stage, config, job.signer, job.perturber)),
        Stage("write", partial(same, write)),
    )
    return PartJob(
        run.folder,
        stages,
        photos=partial(_works, config=config),
        died=partial(died, write=write),
        table=partial(_table, schema=manifest_schema(identity=config.identity)),
        order=("key",),
        sums=sums_of,
        commit=partial(commit_repacked, config=config),
        files=_files,
        batch=config.batch_size if compute.on_gpu else 1,
        pixels=_pixels,
        threads=compute.threads,
    )


def pixel_stage(
    config: ProtectConfig, signer: Signer | None, perturber: Perturber | None
) -> Callable[[Sequence[Work]], list[Work]]:
    """The stage that changes pixels, behind one that looks for earlier signals where the run asks for it."""
    stage = _changing_stage(config, signer, perturber)
    if not (config.find_signed and signer):
        return stage
    from pipeline.protection.stages.find_signed import FindSigned  # with torch

    return FindSigned(signer.bundle, stage, threads=config.compute.threads)


def _changing_stage(
    config: ProtectConfig, signer: Signer | None, perturber: Perturber | None
) -> Callable[[Sequence[Work]], list[Work]]:
    """With --recipe none what is added alone, else the disruption; behind either, where a share is measured, what measures it."""
    if not config.disrupts():
        most = config.epsilon - (signer.levels if signer else 0) if config.mask else None
        add = Add(signer, perturber, region=config.region or "square", mask_most=most)
        if not config.measures():
            return add
        from pipeline.protection.stages.measure_some import MeasureSome  # with torch

        return MeasureSome(config, add)
    from pipeline.protection.stages.disrupt import Protect  # with torch

    stage = Protect(config, threads=config.compute.threads, signer=signer, perturber=perturber)
    if config.measured_share() in (0, 1):
        return stage
    from pipeline.protection.stages.measure_some import MeasureSome

    return MeasureSome(config, stage, stage.generators)


def died(work: Work, stage: StageName, reason: str, *, write: Callable[[Sequence[Work]], list[ManifestRow]]) -> list[ManifestRow]:
    """The row of a photo that killed its process."""
    row = ManifestRow.failed(work.key, stage=stage, reason=reason, bytes_in=work.ref.size_bytes)
    return write([end(work, row)])


def _works(table: pa.Table, config: ProtectConfig) -> Iterator[Work]:
    """The photos of a part: those of its containers, or those that the plan names."""
    if table.num_rows and (ref := planned_refs(table)[0]).container and not ref.refused:
        yield from works_in(ref, config)
    else:
        yield from works_of(table, FORMATS[config.format].suffix, portable=config.portable_names)


def _table(rows: Sequence[ManifestRow], part: str, *, schema: pa.Schema) -> pa.Table:
    return rows_to_table(rows, shard=part, schema=schema)


def _files(rows: Sequence[ManifestRow]) -> list[str]:
    return [row.output for row in rows if row.output]


def _pixels(work: Work) -> int:
    return work.pixels
