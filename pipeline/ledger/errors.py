"""What the ledger refuses, in words that say the fix."""

from __future__ import annotations

import errno

CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
"""What the disk says when it takes no more."""


class LedgerError(ValueError):
    """A run cannot start or go on in this output folder; the message says why and what to do."""


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, or one that caused it, says that the storage has no room left."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in {errno.ENOSPC, errno.EDQUOT}:
            return True
        seen = seen.__cause__
    return False


def unwritable(place: str, error: OSError) -> LedgerError:
    """The error to raise (`from error`) when writing below `place` failed."""
    if is_disk_full(error):
        return LedgerError(f"{place}: no space left. Free some, then run the same command again: what is done is kept.")
    return LedgerError(f"{place} cannot be written: {error.strerror or error}. Give another folder or mend its permissions.")
