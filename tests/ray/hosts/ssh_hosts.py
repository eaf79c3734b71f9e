"""A laptop and real SSH hosts in Linux namespaces, for tests of Ray's cluster launcher.

Every machine has its own network, process, mount and host-name namespaces. That is what makes `ray stop`, which ends every Ray
process it can see, safe to run here, and it keeps the tests off the real network. Needs root and sshd; see `missing`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
PROGRAMS = ("unshare", "nsenter", "ip", "ssh", "ssh-keygen", "rsync")
PACKAGES = "openssh-server openssh-client rsync iproute2 util-linux"


def missing() -> str | None:
    """Why these hosts cannot be made on this machine, or None when they can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "SSH hosts in namespaces need Linux and root"
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if not Path("/usr/sbin/sshd").exists():
        absent.append("sshd")
    return f"not installed: {', '.join(absent)} (packages: {PACKAGES})" if absent else None


@dataclass(frozen=True)
class Machine:
    """One machine of the little network: where its first process and its home are."""

    name: str
    pid: int
    home: Path

    def run(
        self,
        *command: str | Path,
        cwd: Path = ROOT,
        timeout_s: float = 300,
        env: Mapping[str, str] | None = None,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """What `command` printed (both streams) and returned on this machine; with `check` an AssertionError when it failed."""
        done = subprocess.run(
            self._entering(cwd, command),
            env={**self.environment(), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            text=True,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(map(str, command))} returned {done.returncode} on {self.name}:\n{done.stdout[-6000:]}")
        return done

    @contextmanager
    def running(
        self, *command: str | Path, log: Path, cwd: Path = ROOT, env: Mapping[str, str] | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """`command` runs in the background on this machine while the block lasts; what it prints goes to `log`."""
        with log.open("w") as out:
            process = subprocess.Popen(
                self._entering(cwd, command),
                env={**self.environment(), **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            inside = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            for each in inside:
                with suppress(psutil.NoSuchProcess):
                    each.kill()
            process.kill()
            process.wait(timeout=30)

    def processes(self, words: str) -> list[psutil.Process]:
        """What runs on this machine and has these words in its command."""
        found = []
        for each in psutil.Process(self.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                found += [each] if words in " ".join(each.cmdline()) else []  # what has ended has no command
        return found

    def _entering(self, cwd: Path, command: Sequence[str | Path]) -> list[str]:
        enter = ["nsenter", f"--target={self.pid}", "--net", "--mount", "--pid", "--uts", "--"]
        return [*enter, "bash", "-c", 'cd "$0" && exec "$@"', str(cwd), *map(str, command)]

    def environment(self) -> dict[str, str]:
        """The variables that a login on this machine has; nothing of the calling process leaks in."""
        paths = [f"{sys.prefix}/bin", "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        return {"HOME": str(self.home), "PATH": ":".join(paths), "LANG": "C.UTF-8", "USER": "root", "RAY_USAGE_STATS_ENABLED": "0"}


@dataclass(frozen=True)
class Network:
    """The laptop that users type on, the hosts in order of their addresses, and the key that opens them."""

    laptop: Machine
    hosts: tuple[Machine, ...]
    key: Path

    @property
    def addresses(self) -> tuple[str, ...]:
        """The address of each host."""
        return tuple(f"10.77.0.{number}" for number in range(1, len(self.hosts) + 1))


@contextmanager
def ssh_hosts(folder: Path, *, count: int) -> Iterator[Network]:
    """A running network of one laptop and `count` hosts; all its processes end with the block, its logs stay in `folder`.

    Files under `folder`, the checkout and the Python environment are the same on all machines: that is the shared storage.
    """
    state = folder / "machines"
    state.mkdir(parents=True)
    keep = sorted({str(path.resolve()) for path in (folder, ROOT, Path(sys.prefix), Path(sys.base_prefix))})
    with (state / "network.log").open("w") as log:
        namespaces = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--uts"]
        script = [str(HERE / "network.sh"), str(state), str(count), sys.prefix, *keep]
        outer = subprocess.Popen([*namespaces, *script], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        names = ("laptop", *(f"host{number}" for number in range(1, count + 1)))
        _wait_until_ready(state, names, outer)
        machines = [Machine(name, _first_process(outer.pid, state, name), state / name / "home") for name in names]
        yield Network(machines[0], tuple(machines[1:]), state / "key")
    finally:
        outer.kill()
        outer.wait(timeout=30)


def _wait_until_ready(state: Path, names: Sequence[str], outer: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while not all((state / f"{name}.ready").exists() for name in names):
        if outer.poll() is not None or time.monotonic() > deadline:
            logs = "\n".join(f"{path.name}: {path.read_text()}" for path in sorted(state.glob("*.log")))
            raise RuntimeError(f"the hosts did not start:\n{logs}")
        time.sleep(0.05)


def _first_process(outer_pid: int, state: Path, name: str) -> int:
    """The process id, seen from here, of the script that is process 1 on machine `name`."""
    wanted = [str(HERE / "network.sh"), str(state)] if name == "laptop" else [str(HERE / "host.sh"), str(state / name)]
    for process in psutil.Process(outer_pid).children(recursive=True):
        if process.cmdline()[1:3] == wanted:
            return int(process.pid)
    raise RuntimeError(f"{name} has ended; see {state}")
