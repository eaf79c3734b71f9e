"""Which layer of the generator is attacked."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.tables.cells import SOURCE, Net, Row, Run, Table, row
from pipeline.tables.nets import load
from pipeline.tables.options import TablesConfig

LAYERS = {
    "main.2": "first convolution",
    "main.5": "first halving",
    "main.8": "second halving",
    "main.11": "third residual block",
    "main.14": "last residual block",
    "main.17": "first doubling",
    "main.20": "second doubling",
}


def rows_of(config: TablesConfig, nets: Mapping[str, Net]) -> list[Row]:
    """PGD on the output, and on each layer of the net that has a name in the published one."""
    net = nets["stargan"]
    modules = {} if net.missing else dict(load(net).net.named_modules())
    layers = {layer: place for layer, place in LAYERS.items() if layer in modules}
    rows: list[Row] = [row(Run((net,)), layer="output", place="the picture itself")]
    return rows + [row(Run((net,), parts=(("layer", layer),)), layer=layer, place=place) for layer, place in layers.items()]


TABLE = Table(
    name="table-features",
    title="Which layer to attack",
    caption="PGD (epsilon 6 levels, all classes in turn) against the shipped StarGAN: on its output, and on activations inside it. "
    f"What is counted is the output. Method: {SOURCE}, section 3.4.",
    photos=16,
    rows=rows_of,
    lines=("layer", "place"),
)
