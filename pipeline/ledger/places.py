"""Input and output must lie apart: a run never reads what it writes."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from pipeline.ledger.errors import LedgerError
from pipeline.storage import open_storage, scheme_of, split_options

_WILDCARD = re.compile(r"[*?\[{]")


def check_places(in_uri: str | Path, out_uri: str | Path) -> None:
    """Raises LedgerError when the output is the input, lies inside it, or holds it.

    A glob stands for the folder before its first wildcard; a table of paths for the table file itself. Local paths are
    compared with their symbolic links resolved. Nothing is opened or created.
    """
    if _storage(in_uri) != _storage(out_uri):
        return
    source, target = _place(base_folder(in_uri)), _place(out_uri)
    if source == target:
        raise LedgerError(f"the output {out_uri} is the input itself. Give another output folder: photos are never overwritten.")
    if target.is_relative_to(source):
        raise LedgerError(f"the output {out_uri} lies inside the input {in_uri}: the next run would read it. Put it elsewhere.")
    if source.is_relative_to(target):
        raise LedgerError(f"the input {in_uri} lies inside the output {out_uri}. Give an output folder of its own.")


def base_folder(uri: str | Path) -> str:
    """The part of a place before its first wildcard; all of it when it has none or when a file or folder has that very name."""
    text, options = split_options(str(uri))
    wildcard = _WILDCARD.search(text)
    if wildcard is None or (scheme_of(uri) == "file" and os.path.lexists(_local(uri))):
        return text + options
    base, slash, _ = text[: wildcard.start()].rpartition("/")
    return (base or slash or ".") + options


def _storage(uri: str | Path) -> str:
    """What tells two storages apart: the scheme, aliases made one."""
    return {"gcs": "gs", "s3a": "s3"}.get(scheme_of(uri), scheme_of(uri))


def _local(uri: str | Path) -> str:
    return open_storage(uri)[1]


def _place(uri: str | Path) -> PurePosixPath:
    if scheme_of(uri) == "file":
        return PurePosixPath(os.path.realpath(_local(uri)))
    return PurePosixPath(str(uri).partition("://")[2].partition("?")[0].rstrip("/"))
