"""The flow in a for-loop: the same stages in one process, without Ray.

Nothing isolates a photo: one that kills its process ends the run, and the same command meets it again. On Ray it costs one row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline.ledger.schema import ManifestRow
from pipeline.protection.options import ProtectConfig
from pipeline.protection.row import Work
from pipeline.protection.stages.choose import chosen_stage
from pipeline.protection.stages.read import read_photos
from pipeline.protection.stages.sign import Signer
from pipeline.protection.stages.write import Destination, write_shard


def protect_locally(
    shards: Iterable[tuple[str, list[Work]]], config: ProtectConfig, to: Destination, *, threads: int, signer: Signer | None = None
) -> Iterator[list[ManifestRow]]:
    """Protect shard by shard in this process; yields the rows of each as soon as they are committed."""
    protect = chosen_stage(config, signer, threads=threads)
    for shard_id, works in shards:
        # One photo at a time, so that only one is in memory as pixels.
        done = [protect(read_photos([work], max_pixels=config.photos.max_pixels))[0] for work in works]
        yield write_shard(shard_id, done, config, to)
