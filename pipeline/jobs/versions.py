"""Which code and which libraries a result comes from."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path

from pipeline import __version__

PACKAGES = ("torch", "ray", "pyarrow", "pillow", "imagecodecs", "numpy", "mlflow")


def versions() -> dict[str, str]:
    """Versions of Python, of this project and of the libraries that results depend on; what is not installed is left out."""
    found = {"python": platform.python_version(), "disrupt": __version__}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_commit(source: Path = Path(__file__)) -> str | None:
    """The commit that ``source`` was checked out from, plus ``-dirty`` when tracked files differ; None outside a checkout."""
    if _git(source, "ls-files", "--error-unmatch", source.name) is None:
        return None
    commit = _git(source, "rev-parse", "HEAD")
    clean = _git(source, "diff", "--quiet", "HEAD") is not None
    return commit if clean or commit is None else f"{commit}-dirty"


def _git(source: Path, *arguments: str) -> str | None:
    """What git prints in the folder of ``source``; None when it fails or is not there."""
    try:
        done = subprocess.run(["git", *arguments], cwd=source.parent, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
