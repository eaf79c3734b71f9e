"""From what the detector says to a decision."""

from __future__ import annotations

import dataclasses
import io
import math

import numpy as np
from PIL import Image

from pipeline.detection.row import Decision, DetectionRow
from pipeline.images.types import F32
from pipeline.signals.bundle import Thresholds
from pipeline.signals.judgement import Judgement

MARKED = 0.5
"""From this probability on a place of the map counts as changed."""


def decide(row: DetectionRow, judgement: Judgement, at: int, limits: Thresholds) -> DetectionRow:
    """The row with what the detector says of picture ``at`` of a batch and what follows: no signal, untouched or manipulated.

    Only a picture that carries a signal is untouched or manipulated. A bundle without signals judges by the picture alone.
    """
    manipulated = float(judgement.manipulated_B[at])
    decision: Decision = "manipulated" if manipulated > limits.manipulated else "untouched"
    if limits.carries is None:
        return dataclasses.replace(row, manipulated=manipulated, decision=decision)
    likeness, fit = float(judgement.likeness_B[at]), float(judgement.fit_B[at])
    row = dataclasses.replace(row, likeness=likeness, carries=likeness > limits.carries)
    if not row.carries:
        return dataclasses.replace(row, decision="no signal")
    row = dataclasses.replace(row, manipulated=manipulated, decision=decision, fit=None if math.isnan(fit) else fit)
    if decision == "untouched":
        return row
    changed_HW = judgement.changed_BHW[at]
    return dataclasses.replace(row, changed=float((changed_HW > MARKED).mean()), map=_png(changed_HW))


def _png(changed_HW: F32) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.rint(255 * changed_HW).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()
