"""Numbers as the report and the terminal write them."""

from __future__ import annotations

import pytest

from pipeline.report.outcome import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (float("nan"), "-"), (0.0003, "0.3 ms"), (0.0999, "99.9 ms"), (0.1, "0.10 s"), (2.704, "2.70 s")],
)
def test_short_times_are_written_in_milliseconds(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text
