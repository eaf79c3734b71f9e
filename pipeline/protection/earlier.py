"""Photos that this program wrote before: IN, or a folder above it, is the OUT of an earlier run whose manifest names them."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from pipeline.containers.listing import PhotoRef
from pipeline.ledger.errors import LedgerError
from pipeline.ledger.manifest import outputs_of
from pipeline.ledger.places import base_folder
from pipeline.storage import Folder, open_storage

PROTECTED_BEFORE = "an earlier run wrote this file: give the original photo; two protections show more and may break less"


@dataclass(frozen=True)
class Earlier:
    """The files that earlier runs wrote, each known by 64 bits of its place and size, in order."""

    hashes: NDArray[np.uint64]

    def __contains__(self, ref: object) -> bool:
        if not (len(self.hashes) and isinstance(ref, PhotoRef)) or ref.container or ref.refused:
            return False
        wanted = _hash(open_storage(ref.uri)[1], ref.size_bytes)
        at = int(np.searchsorted(self.hashes, wanted))
        return at < len(self.hashes) and bool(self.hashes[at] == wanted)


def earlier_outputs(place: str) -> Earlier:
    """What the manifest of an earlier run in this place names, or, where it is local, in a folder above it.

    A manifest that cannot be read, or is none of ours, names nothing.
    """
    hashes = array("Q")
    for folder in _folders(place):
        try:
            hashes.extend(_hash(folder.at(name), size) for name, size in outputs_of(folder))
        except (LedgerError, OSError):
            continue
    return Earlier(np.sort(np.frombuffer(hashes, np.uint64)))


def _folders(place: str) -> Iterator[Folder]:
    base = Folder(base_folder(place))
    yield base
    if base.is_local:
        yield from (Folder(str(parent)) for parent in PurePosixPath(base.path).parents)


def _hash(path: str, size: int) -> int:
    """64 bits that stand for a file in this process."""
    return hash((path, size)) & 0xFFFF_FFFF_FFFF_FFFF
