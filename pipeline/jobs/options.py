"""What the option classes of several verbs share: how the help shows a default, and where results go by themselves."""

from __future__ import annotations

import tyro

from pipeline.ledger.places import base_folder
from pipeline.storage import open_storage, scheme_of


def own_default(metavar: str, default: str) -> object:
    """How the help shows an option whose default is not a value of its own."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=f"(default: {default})")


def beside(place: str, ending: str) -> str:
    """A folder beside a place that is named after it; for a glob it is named after the folder before its first wildcard."""
    base = base_folder(place)
    plain = (open_storage(base)[1] if scheme_of(base) == "file" else base.partition("?")[0]).rstrip("/")
    return f"{plain}{ending}"
