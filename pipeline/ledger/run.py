"""A run folder: opened by one job, holding one signature, knowing what is done."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.ledger import parts
from pipeline.ledger.errors import unwritable
from pipeline.ledger.layout import CONFIG
from pipeline.ledger.lock import Lock
from pipeline.ledger.owner import claim
from pipeline.ledger.plan import MAX_BYTES, MAX_COUNT, Ref, Shard, attempt_of, plan_shards
from pipeline.ledger.schema import RETRIED, ManifestRow
from pipeline.storage import Folder


class RunFolder:
    """An output folder held by this process; made by `open_run`, closed by `close` or by leaving the `with` block.

    Workers do not get this object: they call `commit_part` with its `folder`, which travels.
    """

    def __init__(self, folder: Folder, *, signature: str, retry_failed: bool, lock: Lock) -> None:
        self.folder = folder
        self.signature = signature
        self.retry_failed = retry_failed
        latest = max(map(attempt_of, parts.committed_ids(folder)), default=-1)
        self.attempt = max(latest, 0) if not retry_failed else latest + 1
        self._lock = lock

    def done_keys(self) -> set[str]:
        """The keys that need no more work: every committed one, less those that failed before when failed ones are retried."""
        if not self.retry_failed:
            return set(parts.read_columns(self.folder, ["key"])["key"].to_pylist())
        table = parts.latest_rows(parts.read_columns(self.folder, ["key", "status", "shard"]))
        retried = pc.is_in(table["status"], value_set=pa.array(RETRIED))
        earlier = pc.less(parts.attempts(table["shard"]), self.attempt)
        return set(table["key"].filter(pc.invert(pc.and_(retried, earlier))).to_pylist())

    def plan(
        self, refs: Iterable[Ref], *, max_count: int = MAX_COUNT, max_bytes: int = MAX_BYTES, again: Collection[str] = ()
    ) -> list[Shard[Ref]]:
        """The micro-shards that are still to be done of these inputs, found by key without opening any; ``again`` are not done."""
        done = self.done_keys().difference(again)
        return plan_shards(
            refs, signature=self.signature, max_count=max_count, max_bytes=max_bytes, done=done, attempt=self.attempt
        )

    def commit(self, shard_id: str, rows: Sequence[ManifestRow]) -> None:
        """Commits one shard: see `pipeline.ledger.parts.commit_part`."""
        parts.commit_part(self.folder, shard_id, rows)

    def rows(self) -> pa.Table:
        """The manifest so far: exactly one row for every committed key, the latest attempt, sorted by key."""
        return parts.read_rows(self.folder)

    def write_manifest(self) -> str:
        """Writes `manifest.parquet` and returns its path. Raises LedgerError when another job has taken the folder over."""
        self.beat()
        return parts.write_manifest(self.folder)

    def beat(self) -> None:
        """Renews the lock (a thread does it too). Raises LedgerError when another job has taken the folder over."""
        try:
            self._lock.beat()
        except OSError as error:
            raise unwritable(self.folder.path, error) from error

    def close(self) -> None:
        """Gives the folder back; closing twice is no error."""
        self._lock.release()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def open_run(out_uri: str | Path, *, signature: str, config: Mapping[str, Any], retry_failed: bool = False) -> RunFolder:
    """The run folder of `out_uri`, created or resumed, locked for this process: see `pipeline.ledger.owner.claim`."""
    folder = Folder(out_uri)
    lock = claim(folder, CONFIG, verb="protect", signature=signature, config=config)
    try:
        return RunFolder(folder, signature=signature, retry_failed=retry_failed, lock=lock)
    except OSError as error:
        lock.release()
        raise unwritable(folder.path, error) from error
    except BaseException:
        lock.release()
        raise
