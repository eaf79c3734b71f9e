"""A photo that kills every process that opens it, in the workers of a Ray that is started with ``RUNTIME_ENV``."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import PIL.Image

from pipeline.jobs import parts

SIDE = 37
"""A photo of this width and height, in pixels, is deadly."""
RUNTIME_ENV = {
    "worker_process_setup_hook": "tests.ray.deadly_photo.make_deadly",
    "env_vars": {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},  # the hook runs before a worker knows the driver's paths
}


def make_deadly() -> None:
    """From now on this process dies, as of a crash or for want of memory, when it opens the photo.

    One photo that is to blame, and no other, is enough to end a run: a death costs seconds.
    """
    parts.ALL_DIED = 1
    open_image = PIL.Image.open

    def open_or_die(*arguments: Any, **options: Any) -> PIL.Image.Image:
        image = open_image(*arguments, **options)
        if image.size == (SIDE, SIDE):
            os.kill(os.getpid(), signal.SIGKILL)
        return image

    PIL.Image.open = open_or_die  # type: ignore[assignment]
