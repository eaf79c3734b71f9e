"""A small bundle with random perturbations that were learned on nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.universal.bundle import Broken, Universal, universal_of, write_universal

SIZE, EPSILON = 32, 6
CLASSES = ("Smile", "Glasses")


def tiny_universal(*, count: int = 1, epsilon: int = EPSILON, size: int = SIZE, seed: int = 0, **changes: Any) -> Universal:
    rng = np.random.default_rng(seed)
    perturbations = np.where(rng.random((count, 4, size, size)) < 0.5, -epsilon, epsilon).astype(np.float32)
    known: dict[str, Any] = {"networks": (Broken("tiny", "f00d", CLASSES),), "faces": False, "card": {"steps": 0}}
    return universal_of(perturbations, epsilon=epsilon, **(known | changes))


def tiny_file(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return write_universal(folder / "universal.safetensors", tiny_universal(**changes))
