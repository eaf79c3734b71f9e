"""Protect photos against image-translation networks: disruption, hardening and signals, from one folder to a Ray cluster."""

import difflib
from collections.abc import Iterable

__version__ = "0.1.0"


def unknown_name(what: str, name: str, known: Iterable[str]) -> str:
    """What to say of a name that is not known: the nearest known one, if any is near, and all of them."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    listed = f"known: {', '.join(names)}"
    return f"{what} {name!r} is unknown; " + (f"did you mean {near[0]}? ({listed})" if near else listed)
