"""A photo that kills the plain loop: the same command goes on, and in the end the photo has a row and all others are done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from pipeline.jobs.parts import DEATHS, DIED
from pipeline.ledger.parts import read_part
from pipeline.storage import Folder
from tests.conftest import ROOT
from tests.fast.jobs.test_parts import KEYS, planned_in


def test_a_photo_that_kills_every_process_becomes_a_row_and_all_others_are_done(tmp_path: Path) -> None:
    plan = planned_in(tmp_path)
    program = (
        "import os, signal, sys; from pathlib import Path; import tests.fast.jobs.test_parts as t\n"
        "def deadly(some):\n"
        "    if any(one.key == '04' for one in some): os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return list(some)\n"
        "job = t.with_stage(t.job_in(Path(sys.argv[1])), 'compute', deadly)\n"
        "list(t.run_here(['000000'], job, t.nothing))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, str(tmp_path)]
    codes = [subprocess.run(command, env=environment, check=False).returncode for _ in range(DEATHS + 2)]
    # the first process does not know which photo it was; the next three do
    assert codes == [-signal.SIGKILL] * (DEATHS + 1) + [0]
    rows = {row["key"]: row["reason"] for row in read_part(Folder(tmp_path), plan.parts[0]).to_pylist()}
    assert rows == dict.fromkeys(KEYS, None) | {"04": DIED}
