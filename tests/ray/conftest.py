"""The order of the files: `make ray` runs two at a time, so the long ones begin first."""

from __future__ import annotations

import pytest

FIRST = ["test_flow.py", "test_kill.py", "test_s3.py", "test_cluster_launcher.py", "test_deaths.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts the tests by the place of their file in the list; those that are not in it come last."""
    items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))
