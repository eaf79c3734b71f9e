"""What happens to photos, top to bottom. `pipeline.jobs.stages` folds this list in a loop or on Ray, the dry run in memory.

    shard of works                references only
      -> read                     file bytes and decoded pixels
      -> protect (holds the generators)   protected pixels, effect; or a signal alone, without generators
      -> write                    files written and verified, part committed
      -> rows                     what became of each input

On Ray a shard crosses the object store twice: decoded on its way to an actor, and protected, with the file bytes but not the old
pixels, on its way to be written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from pipeline.jobs.stages import ActorStage, TaskStage
from pipeline.ledger.plan import shard_id
from pipeline.ledger.schema import ManifestRow, Stage
from pipeline.protection.options import ProtectConfig
from pipeline.protection.row import Work
from pipeline.protection.stages.read import end, read_photos
from pipeline.protection.stages.sign import Sign, Signer
from pipeline.protection.stages.write import Destination, write_shard


def protect_stages(
    config: ProtectConfig, signer: Signer | None, write: Callable[[Sequence[Work]], list[ManifestRow]]
) -> list[TaskStage | ActorStage]:
    """The stages of a run; ``write`` makes rows of protected photos."""
    return [
        TaskStage("read", partial(read_photos, max_pixels=config.photos.max_pixels)),
        ActorStage("protect", partial(pixel_stage, config, signer)),
        TaskStage("write", write, whole=True),
    ]


def pixel_stage(config: ProtectConfig, signer: Signer | None) -> Callable[[Sequence[Work]], list[Work]]:
    """The stage that changes pixels: the signal alone with --recipe none, else the disruption, the signal included."""
    if signer is not None and not config.disrupts():
        return Sign(signer)
    from pipeline.protection.stages.disrupt import Protect  # with torch

    return Protect(config, threads=config.compute.threads, signer=signer)


def write_works(works: Sequence[Work], *, config: ProtectConfig, to: Destination, attempt: int) -> list[ManifestRow]:
    """The rows of a shard, or of a part of one, committed under the name that the plan gives to these photos."""
    name = shard_id(to.signature, (work.ref.key for work in works), attempt=attempt)
    return write_shard(name, works, config, to)


def fail(work: Work, stage: Stage, reason: str, *, write: Callable[[Sequence[Work]], list[ManifestRow]]) -> list[ManifestRow]:
    """The row of a photo that killed its process, committed like all others."""
    row = ManifestRow(key=work.ref.key, status="failed", stage=stage, reason=reason, bytes_in=work.ref.size_bytes)
    return write([end(work, row)])
