"""Patterns of file names (`photos/**/*.jpg`) as regular expressions, the same for local folders and for object stores."""

from __future__ import annotations

import re

_MAGIC = re.compile(r"[*?\[]")
_TOKEN = re.compile(r"\*\*/|\*\*|\*|\?|\[[!^]?\]?[^\]/]*\]|.", re.DOTALL)


def is_pattern(place: str) -> bool:
    """Whether a place holds one of the signs `*`, `?` or `[`."""
    return _MAGIC.search(place) is not None


def split_pattern(place: str) -> tuple[str, str]:
    """The longest leading folder without a pattern, and the pattern below it: `a/b/*.jpg` gives (`a/b`, `*.jpg`)."""
    parts = place.split("/")
    first = next(at for at, part in enumerate(parts) if is_pattern(part))
    folder = "/".join(parts[:first])
    return folder or ("/" if place.startswith("/") else "."), "/".join(parts[first:])


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The expression that matches whole relative names: `*` and `?` stay within a name, `**` crosses folders, `[ab]` is a or b."""
    return re.compile("".join(_translate(token[0]) for token in _TOKEN.finditer(pattern)), re.DOTALL)


def _translate(token: str) -> str:
    plain = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    if token in plain:
        return plain[token]
    if token.startswith("[") and len(token) > 2:
        negated = token[1] in "!^"
        letters = token[2 if negated else 1 : -1].replace("\\", r"\\").replace("[", r"\[").replace("]", r"\]")
        return f"[{'^/' if negated else ''}{letters}]"
    return re.escape(token)
