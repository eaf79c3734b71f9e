"""No tag is lost in silence: what exiftool reads of photos in every format that is read, before and after a run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.bench.metadata import MADE, compare

pytestmark = pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool (Debian: libimage-exiftool-perl)")


@pytest.mark.parametrize("format", ["png", "webp", "jpeg"])
def test_every_tag_stays_or_has_to_change_or_is_named_in_the_note(format: str, tmp_path: Path) -> None:  # noqa: A002
    files = compare(tmp_path, None, (format,))[format]
    assert set(files) == set(MADE)
    assert {name: lost for name, tags in files.items() if (lost := [tag for tag, what in tags.items() if what == "LOST"])} == {}
    counts = [list(tags.values()).count("same") for tags in files.values()]
    assert sum(counts) > 300
