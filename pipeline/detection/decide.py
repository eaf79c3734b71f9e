"""From what the detector says to a decision, and from a name and the secret to the signal that is expected."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.detection.row import DetectionRow
from pipeline.signals.bundle import Bundle
from pipeline.signals.key import signal_of


@dataclass(frozen=True)
class Thresholds:
    """Above these a picture counts as manipulated (a probability) and as carrying a signal (a likeness; None without signals)."""

    manipulated: float
    carries: float | None


def thresholds(bundle: Bundle, false_positive_rate: float) -> Thresholds:
    """What a share of ``false_positive_rate`` (0..1) of the bundle's held-out files exceeded: signed ones, and unsigned ones."""
    carries = bundle.threshold("plain", false_positive_rate) if bundle.count else None
    return Thresholds(bundle.threshold("untouched", false_positive_rate), carries)


def decide(row: DetectionRow, *, manipulated: float, signal: int, likeness: float, limits: Thresholds) -> DetectionRow:
    """The row with what the detector says and what follows from it; without signals there is none to be like."""
    row = dataclasses.replace(
        row, manipulated=manipulated, decision="manipulated" if manipulated > limits.manipulated else "untouched"
    )
    if limits.carries is None:
        return row
    return dataclasses.replace(row, signal=signal, likeness=likeness, carries=likeness > limits.carries)


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
