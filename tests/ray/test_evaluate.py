"""Evaluation, detection and containers on a real local Ray: the rows, numbers and bytes of the plain loop."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.fast import tiny
from tests.fast.boxes import table, tar
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


def test_any_number_of_actors_writes_the_containers_of_the_plain_loop_and_so_does_a_rerun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISRUPT_SIGNAL_KEY", "a secret of more than sixteen bytes")
    monkeypatch.setattr("pipeline.protection.run.write_report", lambda *arguments, **options: "")
    monkeypatch.setattr("pipeline.detection.run.write_page", lambda *arguments, **options: "")
    photos = {str(i): tiny.photo_bytes(20 + i, 21, seed=i) for i in range(3)}
    for i in range(4):
        tar(tmp_path / f"tar/s{i}.tar", photos | {"bad": b"no photo"})
        table(tmp_path / f"parquet/s{i}.parquet", [*photos.values(), b"no photo"])
    signed = ["--signals", str(tiny_bundle(tmp_path)), "--no-tracking"]

    def protected(kind: str, out: str, engine: list[str]) -> dict[str, bytes]:
        places = [str(tmp_path / kind), str(tmp_path / out)]
        assert protect([*places, *signed, "--recipe", "none", "--examples", "0", *engine]) == 1
        return {path.name: path.read_bytes() for path in sorted((tmp_path / out).glob("s*"))}

    for kind, counts in (("tar", (1, 3, 2)), ("parquet", (2,))):
        looped = protected(kind, f"{kind}-loop", ["--engine", "local"])
        assert len(looped) == 4
        for count in counts:
            assert protected(kind, f"{kind}-{count}", ["--engine", "ray", "--actors", str(count)]) == looped
    before = (tmp_path / "tar-2/s1.tar").read_bytes()
    (tmp_path / "tar-2/s1.tar").unlink()
    assert protected("tar", "tar-2", ["--engine", "ray", "--actors", "2"])["s1.tar"] == before

    rows = []
    for engine in (["--engine", "local"], ["--engine", "ray", "--actors", "2"]):
        assert detect([str(tmp_path / "tar-loop"), *signed, "--out", str(tmp_path / "detected"), *engine]) == 1
        rows.append(pq.read_table(tmp_path / "detected/detection.parquet"))
    assert rows[0].equals(rows[1])
    assert rows[0].num_rows == 16
