"""A run folder: opened by one job, holding one signature."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from pipeline.ledger.layout import CONFIG, OWN, PARTS, PARTS_BEFORE, PLAN, PLAN_FILE, PROGRESS
from pipeline.ledger.lock import Lock
from pipeline.ledger.owner import claim
from pipeline.storage import Folder


class RunFolder:
    """An output folder held by this process; made by `open_run`, closed by `close` or by leaving the `with` block.

    Workers do not get this object but its `folder`, which travels.
    """

    def __init__(self, folder: Folder, *, signature: str, retry_failed: bool, lock: Lock) -> None:
        self.folder = folder
        self.signature = signature
        self.retry_failed = retry_failed
        self._lock = lock

    def check(self) -> None:
        """Raises LedgerError when another job has taken the folder over; a thread looks every now and then."""
        self._lock.check()

    def close(self) -> None:
        """Gives the folder back; closing twice is no error."""
        self._lock.release()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def open_run(out_uri: str | Path, *, signature: str, config: Mapping[str, Any], retry_failed: bool = False) -> RunFolder:
    """The run folder of `out_uri`, created or resumed, locked for this process: see `pipeline.ledger.owner.claim`.

    Until there is a plan, other options replace those of a call that could not list its input.
    """
    folder = Folder(out_uri)
    begun = folder.exists(PLAN_FILE) or folder.exists(PARTS_BEFORE)
    lock = claim(folder, CONFIG, verb="protect", signature=signature, config=config, is_begun=begun)
    return RunFolder(folder, signature=signature, retry_failed=retry_failed, lock=lock)


@contextmanager
def work_folder(out: str, verb: str, *, signature: str, config: Mapping[str, Any]) -> Iterator[RunFolder]:
    """A run folder below ``out`` that goes when the block ends in order, for a verb that leaves nothing but its results.

    What a stopped run of the same signature has done is there; anything else is removed first.
    """
    folder = Folder(Folder(out).uri_of(f"{OWN}/{verb}"))
    same = folder.exists(CONFIG) and _signature(folder) == signature
    lock = claim(folder, CONFIG, verb=verb, signature=signature, config=config, is_begun=same)
    with RunFolder(folder, signature=signature, retry_failed=False, lock=lock) as run:
        if not same:
            for name in (PLAN_FILE, PLAN, PARTS, PROGRESS):
                folder.remove_tree(name)
        yield run
    folder.remove_tree()
    Folder(out).remove_folder(OWN)


def _signature(folder: Folder) -> str | None:
    try:
        return str(json.loads(folder.read(CONFIG))["signature"])
    except (ValueError, KeyError, TypeError):
        return None
