"""From what the detector says to a decision, and from a name and the secret to the signal that is expected."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from pipeline.detection.row import Decision, DetectionRow
from pipeline.images.types import F32
from pipeline.signals.bundle import Thresholds
from pipeline.signals.judgement import Judgement
from pipeline.signals.key import signal_of

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
    likeness, signal = float(judgement.likeness_B[at]), judgement.signal_B[at]
    row = dataclasses.replace(row, signal=signal, likeness=likeness, carries=likeness > limits.carries)
    if not row.carries:
        return dataclasses.replace(row, decision="no signal")
    row = dataclasses.replace(row, manipulated=manipulated, decision=decision)
    if decision == "untouched":
        return row
    changed_HW = judgement.changed_BHW[at]
    return dataclasses.replace(row, changed=float((changed_HW > MARKED).mean()), map=_png(changed_HW))


def _png(changed_HW: F32) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.rint(255 * changed_HW).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


@dataclass(frozen=True)
class Expectation:
    """Which signal each name stands for. The secret is in it: it stays in the process that read it and is shown to nobody.

    ``ids`` maps names of pictures to the names under which they were signed, where the two differ.
    """

    secret: bytes = dataclasses.field(repr=False)
    count: int
    ids: Mapping[str, str]

    def __call__(self, rows: pa.Table) -> pa.Table:
        """A DETECTION table with the signal that is expected, and whether a picture that carries one carries that."""
        judged = pc.equal(rows["status"], "judged").to_pylist()
        keys = zip(rows["key"].to_pylist(), judged, strict=True)
        expected = [signal_of(self.secret, self.ids.get(key, key), self.count) if known else None for key, known in keys]
        found = zip(expected, rows["signal"].to_pylist(), rows["carries"].to_pylist(), strict=True)
        matches = [signal == wanted if carries and wanted is not None else None for wanted, signal, carries in found]
        for name, values in (("expected", expected), ("matches", matches)):
            field = rows.schema.field(name)
            rows = rows.set_column(rows.schema.get_field_index(name), field, pa.array(values, field.type))
        return rows
