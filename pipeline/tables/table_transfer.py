"""Protected against A, measured on B, for all nets at hand; and several nets that are attacked together."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.tables.cells import Net, Row, Run, Table, row
from pipeline.tables.options import TablesConfig


def rows_of(config: TablesConfig, nets: Mapping[str, Net]) -> list[Row]:
    """Every pair of nets, nets attacked together, and noise of the same size."""
    faces = [nets[name] for name in ("stargan", "hardened", "ganimation", "multistyle")]
    at_hand = tuple(net for net in faces if not net.missing)
    together = [(faces[0], faces[2]), (faces[0], faces[1]), *([at_hand] if len(at_hand) > 2 else [])]
    lines = {" + ".join(net.label for net in some): some for some in (*((net,) for net in faces), *together)}
    rows: list[Row] = [row(Run(some, net), against=name, target=net.label) for name, some in lines.items() for net in faces]
    noise = "random noise, not an attack"
    return rows + [row(Run((net,), measure="noise"), against=noise, target=net.label) for net in faces]


TABLE = Table(
    name="table-transfer",
    title="Protected against one net, measured on another",
    caption="PGD (epsilon 6 levels, all classes in turn) against the net or nets of each line (the mean of their objectives); each "
    "column measures the same files on one net.",
    photos=12,
    rows=rows_of,
    lines=("against",),
    columns="target",
)
