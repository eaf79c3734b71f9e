"""Tables in several processes: the same numbers, down to the last digit."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from pipeline.tables.bench import Bench
from pipeline.tables.cells import Net, Run, cell, in_turn
from pipeline.tables.config import TablesConfig
from pipeline.tables.page import as_csv
from pipeline.tables.sources import measured_photos
from tests.fast import tiny


def test_two_processes_find_what_one_finds(tmp_path: Path) -> None:
    faces = tiny.photo_folder(tmp_path / "faces")
    found = []
    for jobs in (1, 2):
        config = TablesConfig("table1", faces, work=tmp_path / f"work-{jobs}", bootstrap=40, jobs=jobs, tracking=False)
        bench = Bench(config, Console(quiet=True))
        net = Net("tiny", tiny.BUILD, photos=measured_photos(faces, bench.work, 3))
        cells = [cell([Run(in_turn(net, steps=2, reference=name), net)], reference=name) for name in ("output", "black")]
        found.append(as_csv(bench.results(cells)))
    assert found[0] == found[1]
    assert "measured,3,6,0" in found[0]
