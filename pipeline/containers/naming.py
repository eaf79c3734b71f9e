"""Names of outputs: the input's relative name with the new suffix, never outside the output folder, never two alike.

A part of a name (a folder, or the file) that is too long is cut and marked with a hash. So is, among portable names, each part that
some file system does not take, or may take for another. Where a name is made that way follows from the name alone.
"""

from __future__ import annotations

import hashlib
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
LONGEST = 255
"""Bytes that file systems take for the name of a file or a folder."""
HASH_DIGITS = 12
_FORBIDDEN = re.compile(r'[<>:"|?*\\]')
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3]) *(\.|$)", re.IGNORECASE)
_TRAILING = re.compile(r"[. ]+$")
_MARKED = re.compile(rf"~[0-9a-f]{{{HASH_DIGITS}}}(\.[^.]*)?$")
"""How the parts end that are made here; an input that is called so gets a mark too, so that no two are alike."""


def unsafe_reason(key: str, *, portable: bool = False) -> str | None:
    """Why a key cannot name a file below the output folder, or None when it can.

    Refused are absolute names, `..`, drive letters, backslashes, `.` or empty parts, control characters, text that is no valid
    Unicode, and the folder `.disrupt`, which is the run's own. ``portable`` names have neither drive letters nor backslashes left.
    """
    if _PLAIN.fullmatch(key):
        return None
    parts = key.split("/")
    if not key or key.startswith("/") or ".." in parts or (not portable and ("\\" in key or _DRIVE.match(key))):
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


def simple_name(key: str, suffix: str, *, portable: bool = False) -> str:
    """The key with another suffix, as a file system takes it: the output's name where no other wants it."""
    folder, slash, name = key.rpartition("/")
    dot = name.rfind(".")
    wanted = f"{folder}{slash}{name[:dot] if 0 < dot < len(name) - 1 else name}{suffix}"
    return _fitted(wanted, key, suffix, portable=portable)


def output_names(
    keys: Iterable[str],
    *,
    suffix: str,
    portable: bool = False,
    taken: Container[str] = frozenset(),
    wanted: Container[str] = frozenset(),
    kept: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, str]:
    """The output name of each key, relative to the output folder; the same whatever the order of the keys.

    `a/b.jpg` becomes `a/b.png`, see `simple_name`. Where several keys (or ``taken``, folded names) want that name, compared as a
    filesystem that ignores case and Unicode form would, the input that bears the name keeps it and the others become
    `a/b.jpg.png`, then `a/b.jpg.2.png`, and so on, but none that is ``wanted`` by others. Keys with a name that is ``kept`` from
    before have that.
    Raises ValueError, naming the key, for a key that `unsafe_reason` refuses.
    """
    simple = {}
    for key in keys:
        if reason := unsafe_reason(key, portable=portable):
            raise ValueError(f"{key!r}: {reason}")
        simple[key] = simple_name(key, suffix, portable=portable)
    used = {fold_name(folder) for name in simple.values() for folder in folders_of(name)} | {
        fold_name(name) for name in kept.values()
    }
    rivals = Counter(fold_name(name) for name in simple.values())

    def longer(key: str, number: str) -> str:
        name = f"{key}{number}{suffix}"
        return _fitted(name, name, suffix, portable=portable)

    names = dict(kept)
    for key in sorted(simple.keys() - kept.keys(), key=lambda key: (simple[key] != key, rivals[fold_name(simple[key])] > 1, key)):
        name, number = simple[key], 1
        if fold_name(name) in used or fold_name(name) in taken or (name != key and rivals[fold_name(name)] > 1):
            name = longer(key, "")
        while (folded := fold_name(name)) in used or folded in taken or (name != simple[key] and folded in wanted):
            number += 1
            name = longer(key, f".{number}")
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


def _fitted(wanted: str, original: str, suffix: str, *, portable: bool) -> str:
    """The wanted name with each of its parts as file systems take it; marks are hashes of the parts of the original."""
    if not portable and len(wanted.encode("utf-8", "surrogatepass")) <= LONGEST:
        return wanted
    parts = [*zip(wanted.split("/"), original.split("/"), strict=True)]
    return "/".join(_part(*part, suffix if i == len(parts) else "", portable=portable) for i, part in enumerate(parts, 1))


def _part(wanted: str, original: str, suffix: str, *, portable: bool) -> str:
    is_long = len(wanted.encode("utf-8", "surrogatepass")) > LONGEST
    if not is_long and (not portable or _is_portable(original)):
        return wanted
    stem = wanted.removesuffix(suffix)
    if portable:
        stem = _FORBIDDEN.sub("_", unicodedata.normalize("NFC", stem))
        stem = f"_{stem}" if _DEVICE.match(stem) else stem
    mark = f"~{hashlib.sha256(original.encode('utf-8', 'surrogatepass')).hexdigest()[:HASH_DIGITS]}{suffix}"
    return stem.encode("utf-8", "surrogatepass")[: LONGEST - len(mark)].decode("utf-8", "ignore") + mark


def _is_portable(part: str) -> bool:
    """Whether every file system takes this name as it is, and none takes it for that of another input."""
    if fold_name(part) != part or _FORBIDDEN.search(part) or _TRAILING.search(part):
        return False
    return not (_DEVICE.match(part) or _MARKED.search(part))
