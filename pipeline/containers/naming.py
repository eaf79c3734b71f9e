"""Names of outputs: the input's relative name with the new suffix, never outside the output folder, never two alike."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from pathlib import PurePosixPath
from types import MappingProxyType

OWN_FOLDER = ".disrupt"
LEAVES_FOLDER = "name leaves the output folder"

_DRIVE = re.compile(r"^[A-Za-z]:")
_PLAIN = re.compile(r"\w[\w.\- ]*(?:/\w[\w.\- ]*)*", re.ASCII)
"""Names without anything odd: what most photos have."""


def unsafe_reason(key: str) -> str | None:
    """Why a key cannot name a file below the output folder, or None when it can.

    Refused are absolute names, `..`, drive letters, backslashes, `.` or empty parts, control characters, text that is no valid
    Unicode, and the folder `.disrupt`, which is the run's own.
    """
    if _PLAIN.fullmatch(key):
        return None
    parts = key.split("/")
    if not key or key.startswith("/") or "\\" in key or _DRIVE.match(key) or ".." in parts:
        return LEAVES_FOLDER
    if "" in parts or "." in parts:
        return "name has an empty part or a part that is only a dot"
    if not (key.isascii() and key.isprintable()) and any(unicodedata.category(letter) in {"Cc", "Cs"} for letter in key):
        return "name holds control characters or is not valid UTF-8"
    if OWN_FOLDER in key.casefold() and any(part.casefold() == OWN_FOLDER for part in parts):
        return f"name lies in the folder {OWN_FOLDER}, which holds the records of a run"
    return None


def suffix_of(name: str) -> str:
    """The suffix of a name with its dot, in lower case; "" where there is none."""
    name = name.rpartition("/")[2].lstrip(".")
    dot = name.rfind(".")
    return name[dot:].lower() if dot >= 0 else ""


def simple_name(key: str, suffix: str) -> str:
    """The key with another suffix: the output's name where no other wants it."""
    folder, slash, name = key.rpartition("/")
    dot = name.rfind(".")
    return f"{folder}{slash}{name[:dot] if 0 < dot < len(name) - 1 else name}{suffix}"


def output_names(
    keys: Iterable[str],
    *,
    suffix: str,
    taken: Container[str] = frozenset(),
    wanted: Container[str] = frozenset(),
    kept: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, str]:
    """The output name of each key, relative to the output folder; the same whatever the order of the keys.

    `a/b.jpg` becomes `a/b.png`. Where several keys (or ``taken``, folded names) want that name, compared as a filesystem that
    ignores case and Unicode form would, the input that bears the name keeps it and the others become `a/b.jpg.png`, then
    `a/b.jpg.2.png`, and so on, but none that is ``wanted`` by others. Keys with a name that is ``kept`` from before have that.
    Raises ValueError, naming the key, for a key that `unsafe_reason` refuses.
    """
    simple = {}
    for key in keys:
        if reason := unsafe_reason(key):
            raise ValueError(f"{key!r}: {reason}")
        simple[key] = simple_name(key, suffix)
    used = {fold_name(folder) for key in simple for folder in folders_of(key)} | {fold_name(name) for name in kept.values()}
    rivals = Counter(fold_name(name) for name in simple.values())
    names = dict(kept)
    for key in sorted(simple.keys() - kept.keys(), key=lambda key: (simple[key] != key, rivals[fold_name(simple[key])] > 1, key)):
        name, number = simple[key], 1
        if fold_name(name) in used or fold_name(name) in taken or (name != key and rivals[fold_name(name)] > 1):
            name = f"{key}{suffix}"
        while (folded := fold_name(name)) in used or folded in taken or (name != simple[key] and folded in wanted):
            number += 1
            name = f"{key}.{number}{suffix}"
        names[key] = name
        used.add(fold_name(name))
    return names


def folders_of(key: str) -> list[str]:
    """The folders that an output needs, so that no file takes the name of one."""
    return [folder.as_posix() for folder in PurePosixPath(key).parents]


def fold_name(name: str) -> str:
    """The same text for names that a filesystem takes for one if it ignores case and Unicode form."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
