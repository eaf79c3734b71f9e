"""The protect flow on Ray Data, top to bottom.

    shards {works}                           one row a micro-shard: references only
      -> read    (CPU tasks)                 file bytes and decoded pixels
      -> protect (actors, each with the generators, GPU or CPU)   protected pixels, effect; or a signal alone, without generators
      -> write   (CPU tasks)                 files written and verified, part committed
      -> rows                                what became of each input, streamed to the driver

A shard crosses the object store twice: decoded on its way to an actor, protected (with the file bytes, not the old pixels) on its
way to be written. What happens when a process dies: `pipeline.jobs.ray_data`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from pipeline.disruption.recipes import REFERENCES
from pipeline.jobs.options import absolute_weights
from pipeline.jobs.ray_data import TaskStage, actor_stage, run_stages
from pipeline.ledger.plan import attempt_of, shard_id
from pipeline.ledger.schema import ManifestRow, Stage
from pipeline.protection.options import ProtectConfig
from pipeline.protection.row import Work
from pipeline.protection.stages.choose import chosen_stage
from pipeline.protection.stages.read import ended, read_photos
from pipeline.protection.stages.sign import Signer
from pipeline.protection.stages.write import Destination, write_shard
from pipeline.storage import open_storage


def protect_on_ray(
    shards: Sequence[tuple[str, list[Work]]], config: ProtectConfig, to: Destination, *, threads: int, signer: Signer | None = None
) -> Iterator[list[ManifestRow]]:
    """Protect the shards on the connected Ray cluster; yields the rows of each as soon as they are committed, in any order.

    Raises FlowError when processes die over all photos, and the errors of a stage as they are.
    """
    # Workers may run in another folder than this process.
    config = dataclasses.replace(
        config,
        weights=absolute_weights(config.weights),
        reference=str(Path(config.reference).absolute())
        if config.reference and config.reference not in REFERENCES
        else config.reference,
    )
    place = Place(to.path if to.fs.type_name == "local" else config.output, to.signature, to.generator, to.signals)
    write = partial(_write, config=config, place=place, attempt=attempt_of(shards[0][0]))

    def fail(work: Work, stage: Stage, reason: str) -> list[ManifestRow]:
        row = ManifestRow(key=work.ref.key, status="failed", stage=stage, reason=reason, bytes_in=work.ref.size_bytes)
        return write([ended(work, row)])

    read = TaskStage("read", partial(read_photos, max_pixels=config.photos.max_pixels))
    protect = actor_stage("protect", partial(chosen_stage, config, signer, threads=threads), config.used_compute())
    yield from run_stages([works for _, works in shards], [read, protect, TaskStage("write", write)], fail)


@dataclasses.dataclass(frozen=True)
class Place:
    """The destination as plain text, which travels to every node."""

    uri: str
    signature: str
    generator: str | None
    signals: str | None = None

    def open(self) -> Destination:
        """The destination as seen from this process."""
        fs, path = open_storage(self.uri)
        return Destination(fs, path, self.signature, self.generator, self.signals)


def _write(works: Sequence[Work], *, config: ProtectConfig, place: Place, attempt: int) -> list[ManifestRow]:
    """The rows of a shard, or of a part of one, committed under the name that the plan gives to these photos."""
    name = shard_id(place.signature, (work.ref.key for work in works), attempt=attempt)
    return write_shard(name, works, config, place.open())
