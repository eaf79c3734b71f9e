"""Names of outputs: the input's relative name with the new suffix, never outside the output folder, never two alike."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable
from pathlib import PurePosixPath

OWN_FOLDER = ".disrupt"
LEAVES_FOLDER = "name leaves the output folder"

_DRIVE = re.compile(r"^[A-Za-z]:")


def unsafe_reason(key: str) -> str | None:
    """Why a key cannot name a file below the output folder, or None when it can.

    Refused are absolute names, `..`, drive letters, backslashes, `.` or empty parts, control characters, text that is no valid
    Unicode, and the folder `.disrupt`, which is the run's own.
    """
    parts = key.split("/")
    if not key or key.startswith("/") or "\\" in key or _DRIVE.match(key) or ".." in parts:
        return LEAVES_FOLDER
    if "" in parts or "." in parts:
        return "name has an empty part or a part that is only a dot"
    if any(unicodedata.category(letter) in {"Cc", "Cs"} for letter in key):
        return "name holds control characters or is not valid UTF-8"
    if any(part.casefold() == OWN_FOLDER for part in parts):
        return f"name lies in the folder {OWN_FOLDER}, which holds the records of a run"
    return None


def output_names(keys: Iterable[str], *, suffix: str, taken: Collection[str] = ()) -> dict[str, str]:
    """The output name of each key, relative to the output folder; the same whatever the order of the keys.

    `a/b.jpg` becomes `a/b.png`. Where several inputs (or a name in `taken`) want that name, compared as a filesystem that ignores
    case and Unicode form would, the input that bears the name keeps it and the others become `a/b.jpg.png`, then
    `a/b.jpg.2.png`, and so on. Raises ValueError, naming the key, for a key that `unsafe_reason` refuses.
    """
    wanted = {}
    for key in keys:
        if reason := unsafe_reason(key):
            raise ValueError(f"{key!r}: {reason}")
        wanted[key] = PurePosixPath(key).with_suffix(suffix).as_posix()
    used = {_fold(name) for name in taken} | _folders(wanted)
    rivals: dict[str, int] = {}
    for name in wanted.values():
        rivals[_fold(name)] = rivals.get(_fold(name), 0) + 1
    names: dict[str, str] = {}
    for key in sorted(wanted, key=lambda key: (wanted[key] != key, rivals[_fold(wanted[key])] > 1, key)):
        simple = wanted[key]
        may_be_simple = simple == key or rivals[_fold(simple)] == 1
        names[key] = simple if may_be_simple and _fold(simple) not in used else _long_name(key, suffix, used)
        used.add(_fold(names[key]))
    return names


def _long_name(key: str, suffix: str, used: Collection[str]) -> str:
    name, number = f"{key}{suffix}", 2
    while _fold(name) in used:
        name, number = f"{key}.{number}{suffix}", number + 1
    return name


def _folders(keys: Iterable[str]) -> set[str]:
    """The folders that the outputs need, so that no file takes the name of one."""
    return {_fold(folder.as_posix()) for key in keys for folder in PurePosixPath(key).parents}


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
