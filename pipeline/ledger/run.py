"""A run folder: opened by one job, holding one signature, knowing what is done."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import fs as pafs

from pipeline.ledger import parts
from pipeline.ledger.errors import LedgerError, unwritable
from pipeline.ledger.layout import CONFIG, OWN
from pipeline.ledger.lock import Lock, take_lock
from pipeline.ledger.plan import MAX_BYTES, MAX_COUNT, Ref, Shard, attempt_of, plan_shards
from pipeline.ledger.schema import RETRIED, ManifestRow
from pipeline.storage import exists, is_folder, is_local, is_temporary, join, open_storage, read_bytes, remove_file, write_atomic

_HARMLESS = {OWN, ".DS_Store", "lost+found"}  # what an empty folder may hold
_SHOWN_OPTIONS = 12


class RunFolder:
    """An output folder held by this process; made by `open_run`, closed by `close` or by leaving the `with` block.

    Workers do not get this object: they call `commit_part` with the filesystem and path of the same place.
    """

    def __init__(self, fs: pafs.FileSystem, path: str, *, signature: str, retry_failed: bool, lock: Lock) -> None:
        self.fs = fs
        self.path = path
        self.signature = signature
        self.retry_failed = retry_failed
        latest = max(map(attempt_of, parts.committed_ids(fs, path)), default=-1)
        self.attempt = max(latest, 0) if not retry_failed else latest + 1
        self._lock = lock

    def done_keys(self) -> set[str]:
        """The keys that need no more work: every committed one, less those that failed before when failed ones are retried."""
        if not self.retry_failed:
            return set(parts.read_columns(self.fs, self.path, ["key"])["key"].to_pylist())
        table = parts.latest_rows(parts.read_columns(self.fs, self.path, ["key", "status", "shard"]))
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
        parts.commit_part(self.fs, self.path, shard_id, rows)

    def rows(self) -> pa.Table:
        """The manifest so far: exactly one row for every committed key, the latest attempt, sorted by key."""
        return parts.read_rows(self.fs, self.path)

    def write_manifest(self) -> str:
        """Writes `manifest.parquet` and returns its path. Raises LedgerError when another job has taken the folder over."""
        self.beat()
        return parts.write_manifest(self.fs, self.path)

    def beat(self) -> None:
        """Renews the lock (a thread does it too). Raises LedgerError when another job has taken the folder over."""
        try:
            self._lock.beat()
        except OSError as error:
            raise unwritable(self.path, error) from error

    def close(self) -> None:
        """Gives the folder back; closing twice is no error."""
        self._lock.release()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def open_run(out_uri: str | Path, *, signature: str, config: Mapping[str, Any], retry_failed: bool = False) -> RunFolder:
    """The run folder of `out_uri`, created or resumed, locked for this process, rid of temporary files that a killed job left.

    `config` holds the options that the signature covers; it is stored to say later what differs. Raises LedgerError when the place
    is no folder, cannot be written, holds other files or another run, or is in use.
    """
    fs, path = open_storage(out_uri)
    _refuse_foreign(fs, path)
    try:
        lock = take_lock(fs, path)
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        _agree_on_config(fs, path, signature, config)
        remove_stale(fs, path)
        return RunFolder(fs, path, signature=signature, retry_failed=retry_failed, lock=lock)
    except OSError as error:
        lock.release()
        raise unwritable(path, error) from error
    except BaseException:
        lock.release()
        raise


def remove_stale(fs: pafs.FileSystem, path: str) -> list[str]:
    """Removes the temporary files below a local folder and returns their paths; only for who holds the folder's lock."""
    if not is_local(fs):
        return []  # nothing temporary is written there
    stale = [join(parent, name) for parent, _, names in os.walk(path) for name in names if is_temporary(name)]
    for name in stale:
        remove_file(fs, name)
    return sorted(stale)


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The options that differ, one `name: old there, new now` each, nested ones with dotted names."""
    old, new = _flat(before), _flat(now)
    absent = "(absent)"
    return [
        f"{name}: {old.get(name, absent)} there, {new.get(name, absent)} now"
        for name in sorted(old.keys() | new.keys())
        if name not in old or name not in new or old[name] != new[name]
    ]


def _refuse_foreign(fs: pafs.FileSystem, path: str) -> None:
    if not exists(fs, path):
        return
    if not is_folder(fs, path):
        raise LedgerError(f"{path} is a file; the output has to be a folder")
    if exists(fs, join(path, CONFIG)):
        return
    try:
        names = _names(fs, path)
    except OSError as error:
        raise LedgerError(f"{path} cannot be read: {error}") from error
    if names - _HARMLESS:
        raise LedgerError(f"{path} is not empty and was not made by disrupt. Give a new or an empty folder.")


def _names(fs: pafs.FileSystem, folder: str) -> set[str]:
    if is_local(fs):
        return {entry.name for entry in Path(folder).iterdir()}
    return {info.base_name for info in fs.get_file_info(pafs.FileSelector(folder))}


def _agree_on_config(fs: pafs.FileSystem, path: str, signature: str, config: Mapping[str, Any]) -> None:
    """Stores signature and config in a new run folder; compares them with what is stored in an old one."""
    plain = json.loads(json.dumps(dict(config), default=str))
    if not exists(fs, join(path, CONFIG)):
        text = json.dumps({"signature": signature, "config": plain}, indent=2, sort_keys=True, ensure_ascii=False)
        write_atomic(fs, join(path, CONFIG), text.encode())
        return
    try:
        stored = json.loads(read_bytes(fs, join(path, CONFIG)))
        before, earlier = stored["signature"], stored["config"]
    except (ValueError, KeyError, TypeError) as error:
        raise LedgerError(f"{join(path, CONFIG)} is damaged: give another output folder") from error
    if before == signature:
        return
    found = differences(earlier, plain)
    shown = "; ".join(found[:_SHOWN_OPTIONS]) + (f"; and {len(found) - _SHOWN_OPTIONS} more" if len(found) > _SHOWN_OPTIONS else "")
    what = f"made with other options ({shown})" if found else "made by another version of the program or with other weights"
    raise LedgerError(f"{path} holds another run, {what}. Give another output folder, or the same options to go on with that run.")


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = json.dumps(value, ensure_ascii=False)
    return flat
