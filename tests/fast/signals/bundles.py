"""A small bundle with random signals and an untrained detector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from pipeline.signals.bundle import write_bundle
from pipeline.signals.detector import Detector

SIZE, WIDTH, BUDGET = 16, 8, 3.0


def tiny_bundle(folder: Path, *, count: int = 3, budget: float = BUDGET, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        detector = Detector(size=SIZE, width=WIDTH)
    return write_bundle(
        folder / "bundle.safetensors",
        signals_nCHW=rng.uniform(-budget, budget, (count, 3, SIZE, SIZE)).astype(np.float32),
        budget=budget,
        detector={name: tensor.numpy() for name, tensor in detector.state_dict().items()},
        width=WIDTH,
        scores={kind: np.linspace(0, 1, 101) for kind in ("untouched", "plain")},
        card={"steps": 0},
    )
