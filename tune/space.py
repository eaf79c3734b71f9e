"""The values that are searched and their ranges, as Optuna's distributions; the command line can move the ranges."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optuna.distributions import FloatDistribution, IntDistribution

from pipeline.jobs.options import ConfigError, one_of

Range = FloatDistribution | IntDistribution
Space = Mapping[str, Range]
SIGNALS, BUDGET = "signals", "budget"
"""The two names that are options of a training; all others are weights for its ``--loss``."""
MOST_WEIGHT = 1e6


@dataclass(frozen=True)
class Parameter:
    """A number that can be searched: its usual range, the bounds of any range, and its symbol in the formula of the loss."""

    usual: Range
    least: float
    most: float
    symbol: str


PARAMETERS: dict[str, Parameter] = {
    "detection": Parameter(FloatDistribution(1, 1, log=True), 0, MOST_WEIGHT, "l1"),
    "magnitude": Parameter(FloatDistribution(5, 500, log=True), 0, MOST_WEIGHT, "l2"),
    "spectrum": Parameter(FloatDistribution(1, 100, log=True), 0, MOST_WEIGHT, "l3"),
    "separation": Parameter(FloatDistribution(0.01, 1, log=True), 0, MOST_WEIGHT, "l4"),
    "pairwise": Parameter(FloatDistribution(0.02, 2, log=True), 0, MOST_WEIGHT, "l5"),
    "recovery": Parameter(FloatDistribution(0.1, 10, log=True), 0, MOST_WEIGHT, "l6"),
    "k": Parameter(FloatDistribution(0.2, 0.9), 0, 1, "k"),
    SIGNALS: Parameter(IntDistribution(2, 8, step=2), 2, 4096, "n"),
    BUDGET: Parameter(FloatDistribution(1.5, 4), 0.5, 16, "levels"),
}
"""The names are those of ``disrupt train --loss``, ``--signals`` and ``--budget``. Only ratios of weights matter, so l1 stays 1.

The usual ranges lie around the values that a training starts with. A budget above 3 levels can cost more than the PSNR allows.
"""


def read_space(words: Sequence[str]) -> dict[str, Range]:
    """The usual space with the ranges in ``words``, each ``NAME=LOW:HIGH`` or ``NAME=VALUE``; one value alone is not searched.

    Raises ConfigError for another form, an unknown name, ends in the wrong order or out of bounds, and when nothing is searched.
    """
    space = {name: parameter.usual for name, parameter in PARAMETERS.items()} | dict(_read_range(word) for word in words)
    if all(values.single() for values in space.values()):
        raise ConfigError("--range leaves nothing to search; expected at least one NAME=LOW:HIGH with LOW below HIGH")
    return space


def first_values(space: Space) -> dict[str, float]:
    """The values of the first trial: those that a training starts with, or the nearest in the space."""
    from pipeline.training.systems.signals import SignalSystem  # with torch, which the options do without

    system = SignalSystem()
    usual = {name: system.count if name == SIGNALS else getattr(system, name) for name in space}
    return {name: min(max(usual[name], values.low), values.high) for name, values in space.items()}


def position(values: Range, value: float) -> float:
    """Where in a range a value lies: 0 at the low end, 1 at the high end, by logarithm where the range is searched so."""
    if values.single():
        return 0.5
    low, high, at = (math.log(x) if values.log else x for x in (values.low, values.high, value))
    return (at - low) / (high - low)


def _read_range(word: str) -> tuple[str, Range]:
    name, _, ends = word.partition("=")
    first, colon, last = ends.partition(":")
    name = name.strip()
    try:
        low, high = float(first), float(last if colon else first)
    except ValueError:
        raise ConfigError(f"--range takes NAME=LOW:HIGH with two numbers, such as magnitude=1:1000, not {word!r}") from None
    one_of("--range", name, PARAMETERS)
    parameter = PARAMETERS[name]
    if low > high:
        raise ConfigError(f"--range {name}: {low:g} is above {high:g}; expected LOW:HIGH with the lower end first")
    if not (parameter.least <= low and high <= parameter.most):
        raise ConfigError(f"--range {name} must lie within {parameter.least:g} to {parameter.most:g}, not {low:g}:{high:g}")
    if isinstance(parameter.usual, IntDistribution):
        if not (low.is_integer() and high.is_integer()):
            raise ConfigError(f"--range {name} takes whole numbers, not {low:g}:{high:g}")
        if low % 2 or high % 2:
            raise ConfigError(f"--range {name} takes even numbers, since signals come in pairs, not {low:g}:{high:g}")
        return name, IntDistribution(int(low), int(high), step=2)
    if parameter.usual.log and low <= 0 < high:
        raise ConfigError(f"--range {name} is searched by logarithm: its lower end must be above 0, not {low:g}")
    return name, FloatDistribution(low, high, log=parameter.usual.log and low > 0)
