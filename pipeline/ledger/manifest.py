"""The manifest that a protection run left, as those who measure its files read it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.ledger.errors import LedgerError
from pipeline.ledger.layout import MANIFEST_FILE
from pipeline.storage import exists, is_folder, join, open_storage, read_bytes

COLUMNS = ["key", "output", "status", "reason", "sha256_in", "sha256_out", "epsilon"]


def read_manifest(protected: str) -> list[dict[str, Any]] | None:
    """The rows of the protection run that wrote this folder, with COLUMNS; None when there is no manifest."""
    fs, path = open_storage(protected)
    file = join(path, MANIFEST_FILE)
    if not is_folder(fs, path) or not exists(fs, file):
        return None
    try:
        rows: list[dict[str, Any]] = pq.read_table(pa.BufferReader(read_bytes(fs, file)), columns=COLUMNS).to_pylist()
    except (OSError, pa.ArrowException, KeyError) as error:
        raise LedgerError(f"{file} cannot be read: {error}. Run the same disrupt protect again to have it made anew.") from error
    return rows
