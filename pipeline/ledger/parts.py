"""Parts: the committed rows of one shard each. That a part has its name is the commit; the manifest is all parts put together."""

from __future__ import annotations

import functools
import posixpath
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs as pafs

from pipeline.ledger.errors import LedgerError
from pipeline.ledger.layout import MANIFEST_FILE, PARTS
from pipeline.ledger.plan import SHARD_ID
from pipeline.ledger.results import write_table
from pipeline.ledger.schema import MANIFEST, ManifestRow, rows_to_table
from pipeline.storage import Folder, read_bytes

_SUFFIX = ".parquet"
_ROWS_AT_ONCE = 65_536
_PARTS_AT_ONCE = 1024  # then their columns are copied together: thousands of small tables cost more than their rows
_READERS = 32  # a distant store answers slowly, but many at a time


def commit_part(folder: Folder, shard_id: str, rows: Sequence[ManifestRow]) -> None:
    """Commits a shard of a run folder: its rows, written under the shard's name in one step, after all its photos.

    Doing it again replaces the part. Raises LedgerError for rows that the manifest cannot hold and when the storage is full or
    cannot be written.
    """
    if not SHARD_ID.match(shard_id):
        raise LedgerError(f"{shard_id!r} is no shard id")
    if not rows:
        raise LedgerError(f"shard {shard_id} has no rows")
    write_table(folder, f"{PARTS}/{shard_id}{_SUFFIX}", rows_to_table(rows, shard=shard_id))


def committed_ids(folder: Folder) -> set[str]:
    """The ids of the shards that are committed in a run folder; none when it has no parts yet."""
    return {_id_of(path) for path in _part_paths(folder)}


def read_columns(folder: Folder, columns: Sequence[str]) -> pa.Table:
    """Some columns of all committed rows, earlier attempts included, in no order. Raises LedgerError for a part that is damaged."""
    paths = _part_paths(folder)
    wanted = pa.schema([MANIFEST.field(name) for name in columns])
    read = functools.partial(_read_part, folder.fs, columns=list(columns))
    groups = [wanted.empty_table()]
    with ThreadPoolExecutor(1 if folder.is_local else _READERS) as pool:
        for start in range(0, len(paths), _PARTS_AT_ONCE):
            found = pa.concat_tables(pool.map(read, paths[start : start + _PARTS_AT_ONCE]))
            groups.append(found.combine_chunks())
    return pa.concat_tables(groups)


def read_rows(folder: Folder) -> pa.Table:
    """The manifest: one row for every key that was ever committed, the latest attempt, sorted by key."""
    return latest_rows(read_columns(folder, MANIFEST.names))


def write_manifest(folder: Folder) -> str:
    """Writes the manifest of a run folder from its parts, sorted by key, and returns the path of that file."""
    return write_table(folder, MANIFEST_FILE, read_rows(folder), rows_at_once=_ROWS_AT_ONCE)


def attempts(shards: pa.ChunkedArray) -> pa.ChunkedArray:
    """The attempt number of each shard id of a column (`pipeline.ledger.plan.attempt_of` for many)."""
    number = pc.utf8_slice_codeunits(shards, 17)
    return pc.cast(pc.if_else(pc.equal(number, ""), "0", number), pa.int32())


def latest_rows(table: pa.Table) -> pa.Table:
    """The one row that counts for each key, sorted by key: that of the latest attempt. Needs the columns key and shard."""
    table = table.combine_chunks()
    ranked = pa.table({"key": table["key"], "attempt": attempts(table["shard"]), "shard": table["shard"]})
    order = pc.sort_indices(ranked, sort_keys=[(name, "ascending") for name in ranked.column_names])
    keys = ranked["key"].take(order).combine_chunks()
    last = pc.not_equal(keys.slice(0, max(len(keys) - 1, 0)), keys.slice(1))
    return table.take(order.filter(pa.concat_arrays([last, pa.array([True][: len(keys)], pa.bool_())])))


def _read_part(fs: pafs.FileSystem, path: str, *, columns: list[str]) -> pa.Table:
    try:
        data = read_bytes(fs, path)
    except OSError as error:
        raise LedgerError(f"the part {path} cannot be read now: {error}. Mend that and run the same command again.") from error
    try:
        table = pq.ParquetFile(pa.BufferReader(data)).read(columns=columns, use_threads=False)
        wanted = pa.schema([MANIFEST.field(name) for name in columns])
        return table if table.schema.equals(wanted) else table.select(columns).cast(wanted)
    except (pa.ArrowException, KeyError, OSError) as error:
        advice = "Remove that file and run the same command: its photos are done again."
        raise LedgerError(f"the part {path} is damaged: {error}. {advice}") from error


def _part_paths(folder: Folder) -> list[str]:
    infos = folder.fs.get_file_info(pafs.FileSelector(folder.at(PARTS), allow_not_found=True))
    return sorted(info.path for info in infos if info.path.endswith(_SUFFIX) and SHARD_ID.match(_id_of(info.path)))


def _id_of(path: str) -> str:
    return posixpath.basename(path).removesuffix(_SUFFIX)
