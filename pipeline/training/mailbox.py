"""Where workers on Ray leave what they tell until the process that started them takes it.

A module of its own, and its content in bytes, so that the process that keeps it imports nothing large.
"""

from __future__ import annotations


class Mailbox:
    """Letters in the order in which they came."""

    def __init__(self) -> None:
        self._letters: list[bytes] = []

    def put(self, letter: bytes) -> None:
        """Leave a letter."""
        self._letters.append(letter)

    def take(self) -> list[bytes]:
        """All letters since the last call."""
        taken, self._letters = self._letters, []
        return taken
