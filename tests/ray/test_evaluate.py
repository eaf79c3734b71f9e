"""Evaluation and detection on a real local Ray: the rows and numbers of the plain loop."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.fast import tiny
from tests.fast.signals.bundles import tiny_bundle
from tests.verbs import detect, evaluate, protect

pytestmark = [
    pytest.mark.usefixtures("local_ray"),
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\..*"),  # Ray copies its own deprecated settings
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Protected photos, one of them gone and one spoilt since."""
    folder = tmp_path_factory.mktemp("made")
    tiny.nine_photos(folder / "photos")
    words = ["--generator", tiny.BUILD, "--engine", "local", "--no-tracking", "--examples", "0", "--steps", "4"]
    protect([str(folder / "photos"), str(folder / "protected"), *words])
    (folder / "protected" / "in" / "p1.png").unlink()
    (folder / "protected" / "in" / "p2.png").write_text("not a picture")
    return folder


def call(folder: Path, out: Path, *words: str) -> int:
    options = ["--out", str(out), "--no-tracking", "--channels", "noise-2", "crop-10", "--bootstrap", "20"]
    return evaluate([str(folder / "photos"), str(folder / "protected"), *options, "--generator", tiny.BUILD, *words])


def test_two_actors_and_the_plain_loop_give_the_same_numbers_to_the_last_digit(made: Path, tmp_path: Path) -> None:
    assert call(made, tmp_path / "loop", "--engine", "local") == 1
    assert call(made, tmp_path / "ray", "--engine", "ray", "--actors", "2") == 1
    assert (tmp_path / "ray" / "summary.csv").read_bytes() == (tmp_path / "loop" / "summary.csv").read_bytes()
    tables = [pq.read_table(tmp_path / name / "evaluation.parquet") for name in ("ray", "loop")]
    assert tables[0].equals(tables[1])
    assert set(tables[0]["status"].to_pylist()) == {"measured", "missing", "failed"}


def test_two_actors_and_the_plain_loop_give_the_same_rows_to_the_last_digit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.nine_photos(tmp_path / "photos")
    (tmp_path / "photos" / "broken.png").write_text("not a picture")
    bundle = tiny_bundle(tmp_path)
    monkeypatch.setenv("DISRUPT_SIGNAL_KEY", "a secret of more than sixteen bytes")
    tables = []
    for words in (["--engine", "local"], ["--engine", "ray", "--actors", "2"]):
        out = ["--out", str(tmp_path / "out"), "--no-tracking", "--false-positive-rate", "0.5"]
        assert detect([str(tmp_path / "photos"), "--signals", str(bundle), *out, *words]) == 1
        tables.append(pq.read_table(tmp_path / "out" / "detection.parquet"))
    assert tables[0].equals(tables[1])
    assert tables[0]["status"].to_pylist().count("judged") == 9
