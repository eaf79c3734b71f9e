"""The lock of an output folder: one job at a time, and a dead job's lock is taken over."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from types import TracebackType

import psutil

from pipeline.ledger.errors import CANNOT_WRITE, LedgerError, unwritable
from pipeline.ledger.layout import LOCK, OWN
from pipeline.storage import Folder, StoreAwayError, make_folder

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
    """A held lock: a thread renews it until `release`. Made by `lock_folder`; it stays in the process that took it."""

    def __init__(self, folder: Folder, owner: Owner) -> None:
        self.owner = owner
        self._folder = folder
        self._stop = threading.Event()
        self._lost: LedgerError | None = None
        self._thread = threading.Thread(target=self._renew, name="disrupt-heartbeat", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises LedgerError when the last sign of life found that another job has the folder by now."""
        if self._lost is not None:
            raise self._lost

    def beat(self) -> None:
        """Renews the sign of life. Raises LedgerError when another job has the folder by now, OSError when it cannot be written."""
        with _guard(self._folder):
            holder = _read_owner(self._folder)
            if holder is None or holder.id != self.owner.id:
                other = holder or "its lock is gone"
                raise LedgerError(f"{self._folder.path} was taken over by another job ({other}), this one stops")
            _write_owner(self._folder, replace(self.owner, beat=time.time()))

    def release(self) -> None:
        """Gives the folder back; a lock that another job has taken over stays. Doing it twice, or on a lost disk, is no error."""
        self._stop.set()
        self._thread.join()
        with contextlib.suppress(OSError, StoreAwayError), _guard(self._folder):  # one that stays is stale once this process ended
            holder = _read_owner(self._folder)
            if holder is not None and holder.id == self.owner.id:
                self._folder.remove(LOCK)

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Release; an error of the disk under the work becomes one that says the fix."""
        self.release()
        if isinstance(error, OSError) and error.errno in CANNOT_WRITE:
            raise unwritable(self._folder.path, error) from error

    def _renew(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            try:
                self.beat()
            except LedgerError as lost:
                self._lost = lost
                return
            except (OSError, StoreAwayError):
                continue  # a full or absent disk for a while: the lock grows old, and the job meets the error on its own


def lock_folder(folder: Folder) -> Lock:
    """The lock of a folder, taken for this process.

    Exactly one job gets it on a filesystem with exclusive creation; on an object store two that start within half a second may
    both believe they have it until the next sign of life. Raises LedgerError naming the owner when the folder is in use.
    """
    make_folder(folder.fs, folder.at(OWN))
    now = time.time()
    mine = Owner(secrets.token_hex(8), socket.gethostname(), _space(), os.getpid(), started=now, beat=now)
    with _guard(folder):
        holder = _read_owner(folder)
        if holder is not None and not holder.is_gone():
            raise _in_use(folder, holder)
        if holder is not None:
            folder.remove(LOCK)
        _create(folder, mine)
    if not folder.is_local:
        time.sleep(SETTLE_SECONDS)
        holder = _read_owner(folder)
        if holder is not None and holder.id != mine.id:
            raise _in_use(folder, holder)
    return Lock(folder, mine)


def _in_use(folder: Folder, holder: Owner) -> LedgerError:
    return LedgerError(
        f"{folder.path} is in use by another job: {holder}. Wait for it, stop it, or give another output folder; "
        f"a job that died is noticed after {STALE_SECONDS:.0f} s."
    )


def _create(folder: Folder, owner: Owner) -> None:
    if not folder.is_local:
        _write_owner(folder, owner)
        return
    path = Path(folder.at(LOCK))
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(json.dumps(asdict(owner)))
    except FileExistsError as error:
        busy = f"{folder.path} is being taken by another job right now: wait for it or give another output folder"
        raise LedgerError(busy) from error
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _write_owner(folder: Folder, owner: Owner) -> None:
    folder.write(LOCK, json.dumps(asdict(owner)).encode())


def _read_owner(folder: Folder) -> Owner | None:
    """Who holds the folder; a lock that cannot be understood counts as someone unknown, alive since the file was last changed."""
    try:
        return Owner(**json.loads(folder.read(LOCK)))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        changed = (folder.fs.get_file_info(folder.at(LOCK)).mtime_ns or 0) / 1e9
        return Owner("unknown", "an unknown machine", "", 0, started=changed, beat=changed)


@contextlib.contextmanager
def _guard(folder: Folder) -> Iterator[None]:
    """One process at a time looks at the lock and changes it; where the filesystem cannot, exclusive creation has to do."""
    if not folder.is_local:
        yield
        return
    handle = os.open(folder.at(OWN), os.O_RDONLY)
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
