"""Where the things of a run lie inside its output folder."""

from __future__ import annotations

from typing import Final

OWN: Final = ".disrupt"
CONFIG: Final = ".disrupt/config.json"
LOCK: Final = ".disrupt/lock.json"
PLAN: Final = ".disrupt/plan"
PLAN_FILE: Final = ".disrupt/plan.json"
PROGRESS: Final = ".disrupt/progress"
KEPT: Final = ".disrupt/kept"
"""Protected photos on their way into a container."""
PARTS_BEFORE: Final = ".disrupt/parts"
"""Where versions that were never released kept their parts."""
PARTS: Final = "manifest"
MANIFEST_FILE: Final = "manifest.parquet"
REPORT_FILE: Final = "report.html"


def is_reserved(name: str) -> bool:
    """Whether a relative output name belongs to the run itself, so that no photo may be written there (in any letter case)."""
    lowered = name.lower()
    return lowered in {MANIFEST_FILE, REPORT_FILE, OWN, PARTS} or lowered.startswith(f"{OWN}/")
