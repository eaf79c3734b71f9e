"""Detect: what the detector is to see in, rows out. Holds the bundle's detector."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch

from pipeline.detection.decide import decided, thresholds
from pipeline.detection.look import Looked
from pipeline.detection.options import DetectConfig
from pipeline.detection.row import DetectionRow
from pipeline.jobs.doctor import check_gpu
from pipeline.signals.bundle import read_bundle
from pipeline.signals.judge import Judge


class Detect:
    """A callable stage: pictures as seen -> rows. One is made per process. Raises the bundle's errors when it is made."""

    def __init__(self, config: DetectConfig) -> None:
        torch.set_num_threads(config.compute.threads)
        check_gpu(config.compute)
        bundle = read_bundle(config.signals)
        self._judge = Judge.from_bundle(bundle, device=config.compute.device)
        self._limits = thresholds(bundle, config.false_positive_rate)
        self._together = config.compute.on_gpu

    def __call__(self, looked: Sequence[Looked]) -> list[DetectionRow]:
        """A row for each picture; on the CPU they are judged one by one, so that no batch changes a digit."""
        rows = [one.row for one in looked if one.seen_13SS is None]
        ready = [(one.row, torch.from_numpy(one.seen_13SS)) for one in looked if one.seen_13SS is not None]
        groups = [ready] if self._together and ready else [[one] for one in ready]
        for group in groups:
            found = self._judge.judge_tensors(torch.cat([seen_13SS for _, seen_13SS in group]))
            said = zip(found.manipulated_B.tolist(), found.which(), found.best().tolist(), strict=True)
            rows += [self._row(row, *each) for (row, _), each in zip(group, said, strict=True)]
        return rows

    def _row(self, row: DetectionRow, manipulated: float, signal: int, likeness: float) -> DetectionRow:
        if not (math.isfinite(manipulated) and math.isfinite(likeness)):
            return dataclasses.replace(row, status="failed", stage="detect", reason="the detector's answer is not a number")
        return decided(row, manipulated=manipulated, signal=signal, likeness=likeness, limits=self._limits)
