"""The plan: which photos are done together. A micro-shard is bounded by count and by bytes and is named by what is in it."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from pipeline.ledger.errors import LedgerError

MAX_COUNT = 32
MAX_BYTES = 64 * 2**20
SHARD_ID = re.compile(r"^[0-9a-f]{16}(-[1-9][0-9]*)?$")


class Planned(Protocol):
    """What the plan needs to know of a photo."""

    @property
    def key(self) -> str:
        """The name that identifies it in the run."""
        ...

    @property
    def size_bytes(self) -> int:
        """The size of its file."""
        ...


Ref = TypeVar("Ref", bound=Planned)


@dataclass(frozen=True)
class Shard(Generic[Ref]):
    """Photos that are read, protected and committed together. `id`: 16 hex digits, and `-N` when it is the N-th retry."""

    id: str
    refs: tuple[Ref, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of its photos, sorted."""
        return tuple(ref.key for ref in self.refs)


def plan_shards(
    refs: Iterable[Ref],
    *,
    signature: str,
    max_count: int = MAX_COUNT,
    max_bytes: int = MAX_BYTES,
    done: Collection[str] = frozenset(),
    attempt: int = 0,
) -> list[Shard[Ref]]:
    """Micro-shards that hold every photo whose key is not `done`, each once, in the order of the keys.

    A shard has at most `max_count` photos and `max_bytes` bytes of files; a larger file is a shard of its own. The plan depends on
    the set of photos only. Shards that nothing of is done keep their id from one run to the next; what is left of the others
    is put together. `attempt` counts the retries of failed photos. Raises LedgerError for two photos of one key.
    """
    if max_count < 1 or max_bytes < 1:
        raise ValueError(f"a shard needs room for something: max_count={max_count}, max_bytes={max_bytes}")
    ordered = sorted(refs, key=lambda ref: ref.key)
    _refuse_twins(ordered)
    whole: list[list[Ref]] = []
    rest: list[Ref] = []
    for group in _cut(ordered, max_count, max_bytes):
        left = [ref for ref in group if ref.key not in done]
        if len(left) == len(group):
            whole.append(group)
        else:
            rest.extend(left)
    groups = sorted([*whole, *_cut(rest, max_count, max_bytes)], key=lambda group: group[0].key)
    return [Shard(shard_id(signature, (ref.key for ref in group), attempt=attempt), tuple(group)) for group in groups]


def shard_id(signature: str, keys: Iterable[str], *, attempt: int = 0) -> str:
    """The name of a shard: 16 hex digits of the SHA-256 over the run's signature and the keys; `-N` is added for the N-th retry."""
    digest = hashlib.sha256()
    for text in (signature, *keys):
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:16] + (f"-{attempt}" if attempt else "")


def attempt_of(name: str) -> int:
    """Which retry a shard id belongs to; 0 is the first run."""
    return int(name[17:] or 0)


def _cut(refs: Iterable[Ref], max_count: int, max_bytes: int) -> Iterator[list[Ref]]:
    group: list[Ref] = []
    group_bytes = 0
    for ref in refs:
        if group and (len(group) == max_count or group_bytes + ref.size_bytes > max_bytes):
            yield group
            group, group_bytes = [], 0
        group.append(ref)
        group_bytes += ref.size_bytes
    if group:
        yield group


def _refuse_twins(ordered: list[Ref]) -> None:
    for ref, following in itertools.pairwise(ordered):
        if ref.key == following.key:
            raise LedgerError(f"two inputs have the name {ref.key!r}: every photo of a run needs a name of its own")
