"""The journal of a part in the works: rows that are done already, and the photo that a process was at when it ended.

It lies beside the plan and goes when the part is committed, so what was computed is not computed again after a stop.
"""

from __future__ import annotations

import json
import posixpath
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.ledger.layout import PROGRESS
from pipeline.ledger.results import write_result, write_table
from pipeline.storage import Folder

_TRYING = "trying.json"


@dataclass(frozen=True)
class Trying:
    """What a process is at: a photo by its key and the stage it is in, or the whole part; and how many died there before.

    A ``group`` of more than one are that photo and those that come after it.
    """

    key: str | None = None
    stage: str | None = None
    deaths: int = 0
    group: int = 1

    @property
    def suspect(self) -> str | None:
        """The photo that is to blame if there is one."""
        return self.key if self.group == 1 else None


class Journal:
    """The journal of one part."""

    def __init__(self, folder: Folder, part: str) -> None:
        self._folder = folder
        self._place = f"{PROGRESS}/{part}"
        self._names = sorted(name for name in folder.names_in(self._place) if name.endswith((".parquet", ".json")))
        self._next = sum(name.endswith(".parquet") for name in self._names)

    def rows(self) -> list[pa.Table]:
        """The rows that are done, as they were added. A file that cannot be read holds none: its photos are done again."""
        tables = []
        for name in self._names:
            if name.endswith(".parquet"):
                try:
                    tables.append(pq.read_table(pa.BufferReader(self._folder.read(f"{self._place}/{name}"))))
                except pa.ArrowException:
                    continue
        return tables

    def trying(self) -> Trying | None:
        """What an earlier process was at when it ended without saying so; None when there was none."""
        if _TRYING not in self._names:
            return None
        try:
            return Trying(**json.loads(self._folder.read(f"{self._place}/{_TRYING}")))
        except (ValueError, TypeError):
            return Trying()

    def add(self, rows: pa.Table) -> None:
        """Keeps rows. Raises LedgerError when they cannot be written."""
        name = f"{self._next:06d}.parquet"
        write_table(self._folder, f"{self._place}/{name}", rows)
        self._names.append(name)
        self._next += 1

    def say(self, trying: Trying) -> None:
        """Notes what is tried next. Raises LedgerError when it cannot be written."""
        write_result(self._folder, f"{self._place}/{_TRYING}", json.dumps(asdict(trying)).encode())
        if _TRYING not in self._names:
            self._names.append(_TRYING)

    def calm(self) -> None:
        """Notes that the process ends in order: whoever comes next need not be careful."""
        if _TRYING in self._names:
            self._folder.remove(f"{self._place}/{_TRYING}")
            self._names.remove(_TRYING)

    def clear(self) -> None:
        """Removes the journal."""
        for name in self._names:
            self._folder.remove(posixpath.join(self._place, name))
        self._names = []
        if self._folder.is_local:
            self._folder.remove_folder(self._place)
