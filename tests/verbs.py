"""The verbs as functions that take the words of a command and return the exit code."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, TypeVar

from pipeline.cli import run_verb

Options = TypeVar("Options", bound=Any)

VERBS = ("protect", "evaluate", "detect", "train", "tune", "universal")
protect, evaluate, detect, train, tune, universal = (partial(run_verb, name) for name in VERBS)


def with_options(options: Options, **values: Any) -> Options:
    """The options with other values, by the names that they have on the command line."""
    own = {name: value for name, value in values.items() if hasattr(options, name)}
    groups = [field.name for field in dataclasses.fields(options) if dataclasses.is_dataclass(getattr(options, field.name))]
    for group in groups:
        value = getattr(options, group)
        own[group] = dataclasses.replace(value, **{name: values[name] for name in values if hasattr(value, name)})
    return dataclasses.replace(options, **own)
