"""A small bundle with random signals and an untrained detector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from pipeline.signals.bundle import GREY, write_bundle
from pipeline.signals.detector import Detector

SIZE, WIDTH, BUDGET = 16, 8, 3.0
SCORES = {grey + kind: np.linspace(0, 1, 101) for grey in ("", GREY) for kind in ("untouched", "carried", "plain")}


def tiny_bundle(folder: Path, *, count: int = 4, budget: float = BUDGET, seed: int = 0) -> Path:
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
        scores=SCORES,
        card={"steps": 0},
    )
