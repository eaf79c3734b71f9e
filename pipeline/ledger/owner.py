"""A folder that belongs to one job: claimed by the signature of its options, locked, and refused to any other."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from pipeline.ledger.errors import LedgerError, unwritable
from pipeline.ledger.layout import OWN
from pipeline.ledger.lock import Lock, lock_folder
from pipeline.storage import Folder, is_temporary

_HARMLESS = {OWN, ".DS_Store", "lost+found"}  # what an empty folder may hold
_SHOWN_OPTIONS = 12
_SAME = "Give another output folder, or the same options to go on with that run."


def claim(
    folder: Folder,
    record: str,
    *,
    verb: str,
    signature: str,
    config: Mapping[str, Any],
    is_begun: bool = True,
    advice: str = _SAME,
) -> Lock:
    """The lock of a folder that is new or holds this very run, rid of temporary files that a killed job left.

    The file ``record`` in the folder keeps the signature and the options that it covers; the options say what differs. Where no
    work ``is_begun``, other options replace them. Raises LedgerError when the place is no folder, cannot be written, holds other
    files, or another run (the message ends in ``advice``), or is in use.
    """
    _refuse_foreign(folder, record, verb)
    try:
        lock = lock_folder(folder)
        try:
            _record(folder, record, signature, config, is_begun=is_begun, advice=advice)
            remove_stale(folder)
        except BaseException:
            lock.release()
            raise
    except OSError as error:
        raise unwritable(folder.path, error) from error
    return lock


def remove_stale(folder: Folder) -> None:
    """Removes the temporary files below a local folder; only for who holds its lock. Elsewhere nothing temporary is written."""
    if folder.is_local:
        for parent, _, names in os.walk(folder.path):
            for name in (name for name in names if name.endswith(".tmp") and is_temporary(name)):
                folder.remove(os.path.join(parent, name))  # noqa: PTH118 (millions of names: no Path each)


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The options that differ, one `name: old there, new now` each, nested ones with dotted names."""
    old, new = _flat(before), _flat(now)
    absent = "(absent)"
    return [
        f"{name}: {old.get(name, absent)} there, {new.get(name, absent)} now"
        for name in sorted(old.keys() | new.keys())
        if name not in old or name not in new or old[name] != new[name]
    ]


def _refuse_foreign(folder: Folder, record: str, verb: str) -> None:
    if not folder.exists():
        return
    if not folder.is_folder():
        raise LedgerError(f"{folder.path} is a file; the output has to be a folder")
    if folder.exists(record):
        return
    try:
        names = folder.names()
    except OSError as error:
        raise LedgerError(f"{folder.path} cannot be read: {error}") from error
    if names - _HARMLESS:
        raise LedgerError(f"{folder.path} is not empty and was not made by disrupt {verb}. Give a new or an empty folder.")


def _record(folder: Folder, record: str, signature: str, config: Mapping[str, Any], *, is_begun: bool, advice: str) -> None:
    """Stores signature and options in a new folder; compares them with what is stored in an old one."""
    plain = json.loads(json.dumps(dict(config), default=str))
    if is_begun and folder.exists(record):
        try:
            stored = json.loads(folder.read(record))
            before, earlier = stored["signature"], stored["config"]
        except (ValueError, KeyError, TypeError) as error:
            raise LedgerError(f"{folder.at(record)} is damaged: give another output folder") from error
        if before == signature:
            return
        changes = differences(earlier, plain)
        more = f"; and {len(changes) - _SHOWN_OPTIONS} more" if len(changes) > _SHOWN_OPTIONS else ""
        shown = f"made with other options ({'; '.join(changes[:_SHOWN_OPTIONS])}{more})"
        why = shown if changes else "made by another version of the program or with other weights"
        raise LedgerError(f"{folder.path} holds another run, {why}. {advice}")
    text = json.dumps({"signature": signature, "config": plain}, indent=2, sort_keys=True, ensure_ascii=False)
    folder.write(record, text.encode())


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = json.dumps(value, ensure_ascii=False)
    return flat
