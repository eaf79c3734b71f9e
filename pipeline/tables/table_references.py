"""Which reference the output is driven from, or to."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.disruption.objectives import REFERENCES
from pipeline.tables.cells import SOURCE, Net, Row, Run, Table, row
from pipeline.tables.options import TablesConfig


def rows_of(config: TablesConfig, nets: Mapping[str, Net]) -> list[Row]:
    """PGD away from each reference, towards each but the output, and noise of the same size."""
    net = nets["stargan"]
    pairs = [(aim, name) for aim in ("away", "towards") for name in REFERENCES if (aim, name) != ("towards", "output")]
    rows: list[Row] = [row(Run((net,), parts=(("aim", aim), ("reference", name))), aim=aim, reference=name) for aim, name in pairs]
    return [*rows, row(Run((net,), measure="noise"), aim="none", reference="random noise, not an attack")]


TABLE = Table(
    name="table-references",
    title="Which reference to drive the output from, or to",
    caption="PGD (epsilon 6 levels, all classes in turn) against the shipped StarGAN, with each reference. What is counted is the "
    f"distance of the output on the protected file to the output on the photo. Method: {SOURCE}, section 3.1.",
    photos=16,
    rows=rows_of,
    lines=("aim", "reference"),
)
