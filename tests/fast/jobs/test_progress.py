"""The line of progress."""

from __future__ import annotations

import io

from rich.console import Console

from pipeline.jobs.progress import Outcome, Progress
from pipeline.jobs.tracking import no_record


def test_photos_that_died_with_their_process_and_are_done_again_make_no_more_than_there_are() -> None:
    text = io.StringIO()
    progress = Progress(Console(file=text, width=120), total=4, tracking=no_record())
    progress.add([Outcome("protected", 0.1)] * 3)
    progress.add([Outcome("protected", 0.1)] * 3)
    progress.close()
    assert text.getvalue().startswith("4/4 photos")
    assert "0:00:00 left" in text.getvalue()
