"""A folder that belongs to one job: claimed by the signature of the job's options, refused to every other job."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.jobs.options import ConfigError
from pipeline.ledger.errors import unwritable
from pipeline.ledger.layout import OWN
from pipeline.ledger.lock import take_lock
from pipeline.storage import open_storage, write_atomic

CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


@contextmanager
def claim_folder(
    out: Path,
    record: str,
    *,
    verb: str,
    work: str,
    signature: str,
    options: Mapping[str, Any],
    replaces: bool = False,
    hint: str = "",
) -> Iterator[None]:
    """Inside the block the folder ``out`` belongs to this job: by a lock, and by the file ``record`` below it for later jobs.

    ``verb`` and ``work`` say in errors who fills the folder with what; ``replaces`` allows other options than those on record.
    Raises ConfigError when the folder holds something else or work with other options, LedgerError when another job works in it
    or it cannot be written.
    """
    file = out / record
    facts = json.loads(json.dumps({"signature": signature, "options": options}, default=str))
    if file.is_file():
        owner = json.loads(file.read_text(encoding="utf-8"))
        if owner["signature"] != signature and not replaces:
            changes = ", ".join(_changes(owner["options"], facts["options"])) or "another version"
            raise ConfigError(f"OUT {out} holds a {work} with other options: {changes}. Give another folder{hint}")
    elif out.is_dir() and any(entry.name != OWN for entry in out.iterdir()):
        raise ConfigError(f"OUT {out} is not empty and was not made by disrupt {verb}: give another folder")
    try:
        lock = take_lock(*open_storage(out))
        try:
            write_atomic(*open_storage(file), json.dumps(facts, indent=2).encode())
            yield
        finally:
            lock.release()
    except OSError as error:
        if error.errno in CANNOT_WRITE:
            raise unwritable(str(out), error) from error
        raise


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(before.keys() | now.keys()):
        old, new = ("default" if options.get(name) is None else options[name] for options in (before, now))
        if old != new:
            yield f"{name} {old} (now {new})"
