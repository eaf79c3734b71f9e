"""What a container of photos, a tar or a table with image bytes, is refused for as a whole."""

from __future__ import annotations


class ContainerError(ValueError):
    """A container cannot be read or written; the message is one line that names the container and says why."""


def one_line(error: BaseException) -> str:
    """What a library says of an error, on one line."""
    return " ".join(str(error).split()) or type(error).__name__
