"""What is searched: for each number of the signals' loss a range, which the command line can move."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.jobs.options import ConfigError, one_of

Kind = Literal["log", "linear", "whole"]
SIGNALS, BUDGET = "signals", "budget"
"""The two names that are options of a training; all others are weights for its ``--loss``."""


@dataclass(frozen=True)
class Range:
    """From ``low`` to ``high``, both included: evenly by logarithm, evenly, or whole numbers. One value alone is not searched."""

    low: float
    high: float
    kind: Kind

    @property
    def is_open(self) -> bool:
        """Whether there is more than one value."""
        return self.low < self.high

    def nearest(self, value: float) -> float:
        """The value of the range next to ``value``."""
        return min(max(value, self.low), self.high)

    def share(self, value: float) -> float:
        """Where in the range a value lies: 0 at its low end, 1 at its high end, by logarithm where the range is such."""
        if not self.is_open:
            return 0.5
        low, high, at = (math.log(x) if self.kind == "log" else x for x in (self.low, self.high, value))
        return (at - low) / (high - low)


Space = Mapping[str, Range]


@dataclass(frozen=True)
class Searched:
    """A number that can be searched: its usual range, the bounds of any range, and what it is called in the formula."""

    usual: Range
    least: float
    most: float
    symbol: str
    """As the formula of the loss has it."""


MOST_WEIGHT = 1e6
SEARCHED: dict[str, Searched] = {
    "detection": Searched(Range(1, 1, "log"), 0, MOST_WEIGHT, "l1"),
    "magnitude": Searched(Range(5, 500, "log"), 0, MOST_WEIGHT, "l2"),
    "spectrum": Searched(Range(1, 100, "log"), 0, MOST_WEIGHT, "l3"),
    "separation": Searched(Range(0.01, 1, "log"), 0, MOST_WEIGHT, "l4"),
    "pairwise": Searched(Range(0.02, 2, "log"), 0, MOST_WEIGHT, "l5"),
    "recovery": Searched(Range(0.1, 10, "log"), 0, MOST_WEIGHT, "l6"),
    "k": Searched(Range(0.2, 0.9, "linear"), 0, 1, "k"),
    SIGNALS: Searched(Range(2, 8, "whole"), 1, 4096, "n"),
    BUDGET: Searched(Range(1.5, 4, "linear"), 0.5, 16, "levels"),
}
"""The names are those of ``disrupt train --loss``, ``--signals`` and ``--budget``. Only ratios of weights matter, so l1 stays 1.

The usual ranges lie around the values that a training starts with. A budget above 3 levels can cost more than the PSNR allows.
"""


def space_of(words: Sequence[str]) -> dict[str, Range]:
    """The usual space with the ranges in ``words``, each ``NAME=LOW:HIGH`` or ``NAME=VALUE``.

    Raises ConfigError for another form, an unknown name, ends in the wrong order or out of bounds, and when nothing is left open.
    """
    space = {name: row.usual for name, row in SEARCHED.items()}
    for word in words:
        name, low, high = _parsed(word)
        one_of("--range", name, SEARCHED)
        space[name] = _checked(name, Range(low, high, SEARCHED[name].usual.kind))
    if not any(each.is_open for each in space.values()):
        raise ConfigError("--range leaves nothing to search; expected at least one NAME=LOW:HIGH with LOW below HIGH")
    return space


def start_of(space: Space) -> dict[str, float]:
    """The values that a training starts with by itself, or the nearest in the space: the first trial."""
    from pipeline.training.signals import SignalSystem  # with torch, which the options do without

    system = SignalSystem()
    usual = {name: float(system.count if name == SIGNALS else getattr(system, name)) for name in space}
    return {name: each.nearest(usual[name]) for name, each in space.items()}


def _parsed(word: str) -> tuple[str, float, float]:
    name, _, ends = word.partition("=")
    low, colon, high = ends.partition(":")
    try:
        return name.strip(), float(low), float(high if colon else low)
    except ValueError:
        raise ConfigError(f"--range takes NAME=LOW:HIGH with two numbers, such as magnitude=1:1000, not {word!r}") from None


def _checked(name: str, each: Range) -> Range:
    row = SEARCHED[name]
    if each.low > each.high:
        raise ConfigError(f"--range {name}: {each.low:g} is above {each.high:g}; expected LOW:HIGH with the lower end first")
    if not (row.least <= each.low and each.high <= row.most):
        raise ConfigError(f"--range {name} must lie within {row.least:g} to {row.most:g}, not {each.low:g}:{each.high:g}")
    if each.kind == "log" and each.is_open and each.low <= 0:
        raise ConfigError(f"--range {name} is searched by logarithm: its lower end must be above 0, not {each.low:g}")
    if each.kind == "whole" and not (each.low.is_integer() and each.high.is_integer()):
        raise ConfigError(f"--range {name} takes whole numbers, not {each.low:g}:{each.high:g}")
    return each
