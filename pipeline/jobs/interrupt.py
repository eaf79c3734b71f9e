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
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    pressed = threading.Event()
    before = signal.getsignal(signal.SIGINT)

    def handler(number: int, frame: FrameType | None) -> None:
        pressed.set()
        if callable(before):
            before(number, frame)

    def check() -> None:
        if pressed.is_set():
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, handler)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)
