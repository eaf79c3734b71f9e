"""The error of a training that cannot go on, for which the user can do something."""

from __future__ import annotations


class TrainError(ValueError):
    """A training that cannot start or go on; the message says what was expected."""
