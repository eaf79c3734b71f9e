"""Ctrl-C ends a run even where a library swallowed it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading

import pytest

from pipeline.jobs.interrupt import watch_sigint


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_raises_at_once_as_ever() -> None:
    with pytest.raises(KeyboardInterrupt), watch_sigint():
        press_ctrl_c()
        pytest.fail("Ctrl-C did nothing")


def test_a_swallowed_ctrl_c_is_raised_at_the_next_check() -> None:
    with watch_sigint() as check:
        check()
        with contextlib.suppress(KeyboardInterrupt):
            press_ctrl_c()
        with pytest.raises(KeyboardInterrupt):
            check()


def test_afterwards_ctrl_c_is_handled_as_before() -> None:
    before = signal.getsignal(signal.SIGINT)
    with watch_sigint():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_in_another_thread_it_does_nothing() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def run() -> None:
        with watch_sigint() as check:
            check()
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]
