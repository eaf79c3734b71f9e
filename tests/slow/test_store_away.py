"""A store that answers 503 is recognised by the words of its client, which first tries again by itself."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from pipeline import storage
from pipeline.storage import Folder, StoreAwayError
from tests.fast.s3 import s3_store


def test_reads_and_writes_wait_for_a_store_that_says_slow_down(monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_store() as store:
        folder, pauses = Folder(store.uri), list[float]()

        def sleep(seconds: float) -> None:
            pauses.append(seconds)
            store.refuse = None

        own = SimpleNamespace(sleep=sleep, monotonic=time.monotonic)  # not that of the client, which pauses too
        monkeypatch.setattr(storage, "time", own)
        store.refuse = (503, "SlowDown")
        folder.write("a.png", b"photo")
        assert pauses == [1]
        monkeypatch.setattr(storage, "AWAY_SECONDS", 0.0)
        store.refuse = (503, "SlowDown")
        with pytest.raises(StoreAwayError):
            folder.read("a.png")
        store.refuse = None
        with pytest.raises(FileNotFoundError):
            folder.read("b.png")
