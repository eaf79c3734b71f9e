"""Tables in several processes: the same numbers, down to the last digit."""

from __future__ import annotations

from pathlib import Path

from pipeline.tables.bench import fill
from pipeline.tables.cells import Net, Run, row
from pipeline.tables.nets import measured_photos
from pipeline.tables.options import TablesConfig
from pipeline.tables.page import as_csv
from pipeline.tables.table_references import TABLE
from tests.fast import tiny


def test_two_processes_find_what_one_finds(tmp_path: Path) -> None:
    faces = tiny.photo_folder(tmp_path / "faces")
    made = []
    for jobs in (1, 2):
        config = TablesConfig("table1", faces, work=tmp_path / f"work-{jobs}", bootstrap=40, jobs=jobs, tracking=False)
        net = Net("tiny", tiny.BUILD, photos=measured_photos(faces, config.work, 3))
        rows = [row(Run((net,), parts=(("reference", name), ("steps", 2))), reference=name) for name in ("output", "black")]
        made.append(as_csv(TABLE, fill(config, rows)))
    assert made[0] == made[1]
    assert "measured,3,6,0" in made[0]
