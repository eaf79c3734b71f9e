"""Brace patterns of shards (`shard-{000000..000012}.tar`), as in bash and WebDataset."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pipeline.containers.errors import ContainerError

MOST_NAMES = 1_000_000

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def expand(pattern: str) -> list[str]:
    """The names that a brace pattern stands for, as in bash: `{000..012}` counts, `{a,b}` lists; raises ContainerError."""
    match = _BRACES.search(pattern)
    head, tail = (pattern[: match.start()], pattern[match.end() :]) if match else (pattern, "")
    if "{" in head or "}" in head:
        raise ContainerError(f"{pattern}: braces must come in pairs and not inside each other")
    if match is None:
        return [pattern]
    words: Iterable[str] = match[1].split(",")
    count = len(match[1].split(","))
    if span := _RANGE.fullmatch(match[1]):
        first, last = int(span[1]), int(span[2])
        width = max(map(len, span.groups())) if any(len(end) > 1 and end[0] == "0" for end in span.groups()) else 0
        step = 1 if first <= last else -1
        words, count = (f"{number:0{width}}" for number in range(first, last + step, step)), abs(last - first) + 1
    elif count < 2:
        raise ContainerError(f"{pattern}: braces hold a range {{000..012}} or a list {{a,b}}, not {{{match[1]}}}")
    tails = expand(tail)
    if count * len(tails) > MOST_NAMES:
        raise ContainerError(f"{pattern}: stands for more than {MOST_NAMES} names")
    return [head + word + rest for word in words for rest in tails]
