"""A file of results beside what a run writes: complete or not at all, and an error that says what to do."""

from __future__ import annotations

from pyarrow import fs as pafs

from pipeline.ledger.errors import unwritable
from pipeline.storage import join, write_atomic


def write_result(fs: pafs.FileSystem, folder: str, name: str, data: bytes | memoryview) -> None:
    """Write ``folder/name``. Raises LedgerError when it cannot be written, with the reason."""
    try:
        write_atomic(fs, join(folder, name), data)
    except OSError as error:
        raise unwritable(folder, error) from error
