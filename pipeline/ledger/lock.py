"""The lock of an output folder: one job at a time, and a dead job's lock is taken over."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import posixpath
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

import psutil
from pyarrow import fs as pafs

from pipeline.ledger.errors import LedgerError
from pipeline.ledger.layout import LOCK, OWN
from pipeline.storage import is_local, join, make_folder, read_bytes, remove_file, write_atomic

STALE_SECONDS = 120.0
BEAT_SECONDS = 15.0
SETTLE_SECONDS = 0.5  # how long to wait for a rival on a store that cannot create a name exclusively


@dataclass(frozen=True)
class Owner:
    """Who holds a folder. Times in seconds since 1970; `space` names the running system and its process numbering."""

    id: str
    host: str
    space: str
    pid: int
    started: float
    beat: float

    def __str__(self) -> str:
        started = datetime.fromtimestamp(self.started).astimezone().isoformat(sep=" ", timespec="seconds")
        return f"process {self.pid} on {self.host}, started {started}, last heard of {max(time.time() - self.beat, 0):.0f} s ago"

    def is_gone(self) -> bool:
        """Whether this owner died on this very machine, or was not heard of for STALE_SECONDS."""
        here = self.host == socket.gethostname() and self.space == _space()
        return (here and not _is_running(self.pid)) or time.time() - self.beat > STALE_SECONDS


class Lock:
    """A held lock: a thread renews it until `release`. Made by `take_lock`; it stays in the process that took it."""

    def __init__(self, fs: pafs.FileSystem, out: str, owner: Owner) -> None:
        self.owner = owner
        self._fs = fs
        self._out = out
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="disrupt-heartbeat", daemon=True)
        self._thread.start()

    def beat(self) -> None:
        """Renews the sign of life. Raises LedgerError when another job has the folder by now, OSError when it cannot be written."""
        with _guard(self._fs, self._out):
            holder = _read_owner(self._fs, self._out)
            if holder is None or holder.id != self.owner.id:
                raise LedgerError(f"{self._out} was taken over by another job ({holder or 'its lock is gone'}), this one stops")
            _write_owner(self._fs, self._out, replace(self.owner, beat=time.time()))

    def release(self) -> None:
        """Gives the folder back; a lock that another job has taken over stays. Doing it twice, or on a lost disk, is no error."""
        self._stop.set()
        self._thread.join()
        with contextlib.suppress(OSError), _guard(self._fs, self._out):  # a lock that stays is stale once this process has ended
            holder = _read_owner(self._fs, self._out)
            if holder is not None and holder.id == self.owner.id:
                remove_file(self._fs, join(self._out, LOCK))

    def _renew(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            try:
                self.beat()
            except LedgerError:
                return  # the next `beat` of the job itself says so
            except OSError:
                continue  # a full or absent disk for a while: the lock grows old, and the job meets the error on its own


def take_lock(fs: pafs.FileSystem, out: str) -> Lock:
    """The lock of the run folder `out`, taken for this process.

    Exactly one job gets it on a filesystem with exclusive creation; on an object store two that start within half a second may
    both believe they have it until the next sign of life. Raises LedgerError naming the owner when the folder is in use.
    """
    make_folder(fs, join(out, OWN))
    now = time.time()
    mine = Owner(secrets.token_hex(8), socket.gethostname(), _space(), os.getpid(), started=now, beat=now)
    with _guard(fs, out):
        holder = _read_owner(fs, out)
        if holder is not None and not holder.is_gone():
            raise _in_use(out, holder)
        if holder is not None:
            remove_file(fs, join(out, LOCK))
        _create(fs, out, mine)
    if not is_local(fs):
        time.sleep(SETTLE_SECONDS)
        holder = _read_owner(fs, out)
        if holder is not None and holder.id != mine.id:
            raise _in_use(out, holder)
    return Lock(fs, out, mine)


def _in_use(out: str, holder: Owner) -> LedgerError:
    return LedgerError(
        f"{out} is in use by another job: {holder}. Wait for it, stop it, or give another output folder; "
        f"a job that died is noticed after {STALE_SECONDS:.0f} s."
    )


def _create(fs: pafs.FileSystem, out: str, owner: Owner) -> None:
    if not is_local(fs):
        _write_owner(fs, out, owner)
        return
    path = Path(join(out, LOCK))
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(json.dumps(asdict(owner)))
    except FileExistsError as error:
        raise LedgerError(f"{out} is being taken by another job right now: wait for it or give another output folder") from error
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _write_owner(fs: pafs.FileSystem, out: str, owner: Owner) -> None:
    write_atomic(fs, join(out, LOCK), json.dumps(asdict(owner)).encode())


def _read_owner(fs: pafs.FileSystem, out: str) -> Owner | None:
    """Who holds the folder; a lock that cannot be understood counts as someone unknown, alive since the file was last changed."""
    path = join(out, LOCK)
    try:
        return Owner(**json.loads(read_bytes(fs, path)))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        changed = (fs.get_file_info(path).mtime_ns or 0) / 1e9
        return Owner("unknown", "an unknown machine", "", 0, started=changed, beat=changed)


@contextlib.contextmanager
def _guard(fs: pafs.FileSystem, out: str) -> Iterator[None]:
    """One process at a time looks at the lock and changes it; where the filesystem cannot, exclusive creation has to do."""
    if not is_local(fs):
        yield
        return
    handle = os.open(posixpath.join(out, OWN), os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network filesystems have no such locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)  # which also unlocks


def _is_running(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _space() -> str:
    """The running system and its process numbering, so that a number of another container is not taken for one of ours."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + " " + str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
