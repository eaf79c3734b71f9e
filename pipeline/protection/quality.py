"""The words of --quality: how much may be seen of a protection, for people who do not think in levels."""

from __future__ import annotations

from typing import Any, Literal

Quality = Literal["high", "medium", "strong"]
QUALITIES: dict[str, dict[str, Any]] = {
    "high": {"epsilon": 6, "recipe": "quick", "mask": True},
    "medium": {"epsilon": 9, "recipe": "quick", "mask": True},
    "strong": {"epsilon": 12, "recipe": "robust", "mask": True},
}
"""By word the values of other options that it stands for; measured by `tests/bench/visibility.py`."""
