"""Ctrl-C that cannot be lost: libraries with threads and callbacks may swallow the KeyboardInterrupt that it raises."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def watch_sigint() -> Iterator[Callable[[], None]]:
    """Inside the block, the function that comes back raises KeyboardInterrupt after Ctrl-C, even if a library swallowed it.

    Other handlers of Ctrl-C keep working. Outside the main thread, where no signal arrives, the function does nothing.
    """
    pressed, before = threading.Event(), signal.getsignal(signal.SIGINT)

    def handler(number: int, frame: FrameType | None) -> None:
        pressed.set()
        if callable(before):
            before(number, frame)

    def check() -> None:
        if pressed.is_set():
            raise KeyboardInterrupt

    with _handle_sigint(handler):
        yield check


@contextmanager
def defer_sigint() -> Iterator[Callable[[], bool]]:
    """Inside the block, the function that comes back says if Ctrl-C was pressed; a second one raises KeyboardInterrupt."""
    pressed = threading.Event()

    def handler(number: int, frame: FrameType | None) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    with _handle_sigint(handler):
        yield pressed.is_set


@contextmanager
def _handle_sigint(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Inside the block Ctrl-C calls the handler; outside the main thread nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
