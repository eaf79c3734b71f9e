"""The evaluation on a real local Ray: the rows and numbers of the plain loop, whatever the number of actors."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.fast import tiny
from tests.verbs import evaluate, protect

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


def test_one_actor_two_actors_and_the_plain_loop_give_the_same_numbers_to_the_last_digit(made: Path, tmp_path: Path) -> None:
    assert call(made, tmp_path / "loop", "--engine", "local") == 1
    for actors in ("1", "2"):
        assert call(made, tmp_path / actors, "--engine", "ray", "--actors", actors) == 1
        assert (tmp_path / actors / "summary.csv").read_bytes() == (tmp_path / "loop" / "summary.csv").read_bytes()
        tables = [pq.read_table(tmp_path / name / "evaluation.parquet") for name in (actors, "loop")]
        assert tables[0].equals(tables[1])
    assert set(tables[0]["status"].to_pylist()) == {"measured", "missing", "failed"}
