"""How every job uses Ray Data: errors as they were raised, no output of its own, and no endless wait for a process."""

from __future__ import annotations

import logging

from ray.data import DataContext

ACTORS_SECONDS = 600
"""How long a job waits for its first actors before it fails."""


def set_up_ray_data(*, ordered: bool) -> None:
    """Settings of this process; ``ordered`` keeps the order of rows, at the price of waiting for the slowest."""
    context = DataContext.get_current()
    context.wait_for_min_actors_s = ACTORS_SECONDS
    context.execution_options.preserve_order = ordered
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.raise_original_map_exception = True
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.CRITICAL)
