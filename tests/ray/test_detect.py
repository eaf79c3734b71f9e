"""The detection on a real local Ray: the rows of the plain loop, whatever the number of actors."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.fast import tiny
from tests.fast.signals.bundles import tiny_bundle
from tests.verbs import detect

pytestmark = [
    pytest.mark.usefixtures("local_ray"),
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\..*"),  # Ray copies its own deprecated settings
]


def test_one_actor_two_actors_and_the_plain_loop_give_the_same_rows_to_the_last_digit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.nine_photos(tmp_path / "photos")
    (tmp_path / "photos" / "broken.png").write_text("not a picture")
    bundle = tiny_bundle(tmp_path)
    monkeypatch.setenv("DISRUPT_SIGNAL_KEY", "a secret of more than sixteen bytes")
    tables = []
    for words in (["--engine", "local"], ["--engine", "ray", "--actors", "1"], ["--engine", "ray", "--actors", "2"]):
        out = ["--out", str(tmp_path / "out"), "--no-tracking", "--false-positive-rate", "0.5"]
        assert detect([str(tmp_path / "photos"), "--signals", str(bundle), *out, *words]) == 1
        tables.append(pq.read_table(tmp_path / "out" / "detection.parquet"))
    assert tables[0].equals(tables[1]) and tables[0].equals(tables[2])
    assert tables[0]["status"].to_pylist().count("judged") == 9
