"""What the output is driven from or to, and which layer: the references and the layers of the method, one by one."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.disruption.objectives import REFERENCES
from pipeline.tables import published
from pipeline.tables.bench import Bench
from pipeline.tables.cells import Cell, Run, cell, in_turn
from pipeline.tables.nets import Shelf, load
from pipeline.tables.numbers import Result, compare
from pipeline.tables.table import Layout, Table, by_label

OUTPUT, NOISE = "output", "random noise, not an attack"
LAYERS = ("main.2", "main.5", "main.8", "main.11", "main.14", "main.17", "main.20")
PLACES = {
    "main.2": "first convolution",
    "main.5": "first halving",
    "main.8": "second halving",
    "main.11": "third residual block",
    "main.14": "last residual block",
    "main.17": "first doubling",
    "main.20": "second doubling",
}


def reference_cells(bench: Bench, shelf: Shelf) -> list[Cell]:
    """PGD away from each reference and towards each but the output, and noise of the same size."""
    net = shelf.stargan
    found = [
        cell([Run(in_turn(net, aim=aim, reference=name), net)], aim=aim, reference=name)
        for aim in ("away", "towards")
        for name in REFERENCES
        if (aim, name) != ("towards", OUTPUT)
    ]
    return [*found, cell([Run(in_turn(net), net, measure="noise")], aim="none", reference=NOISE)]


def feature_cells(bench: Bench, shelf: Shelf) -> list[Cell]:
    """PGD on the output and on each layer of the net that has a name in the published one."""
    net = shelf.stargan
    modules = set() if net.missing else set(dict(load(net).net.named_modules()))
    found = [cell([Run(in_turn(net), net)], layer=OUTPUT, place="the picture itself")]
    for layer in LAYERS:
        if layer in modules:
            found.append(cell([Run(in_turn(net, layer=layer), net)], layer=layer, place=PLACES[layer]))
    return found


def reference_findings(results: Sequence[Result]) -> list[str]:
    """Whether driving away from the net's own output is the best, as published."""
    return _against_the_best(by_label(results, "reference", aim="away"), "the paper: the output is the ideal reference")


def feature_findings(results: Sequence[Result]) -> list[str]:
    """Whether the output is the best place to attack, as published."""
    return _against_the_best(by_label(results, "layer"), "the paper: on StarGAN the output is the best target")


def _against_the_best(found: dict[str, Result], claim: str) -> list[str]:
    if OUTPUT not in found or not found[OUTPUT].estimates:
        return [f"{claim}. No net, so nothing to compare."]
    others = [name for name, result in found.items() if name != OUTPUT and result.estimates]
    verdicts = {name: compare(found[OUTPUT], found[name]) for name in others}
    words = {"larger": "holds against", "smaller": "does not hold against", "undecided": "cannot be told from these photos against"}
    parts = [
        f"{words[verdict]} {', '.join(name for name in others if verdicts[name] == verdict)}"
        for verdict in words
        if verdict in verdicts.values()
    ]
    return [f"{claim}. By L2 that {'; '.join(parts)}."]


REFERENCES_TABLE = Table(
    name="table-references",
    title="Which reference to drive the output from, or to",
    about=(
        "PGD (20 steps of 1.275 levels, epsilon 6 levels, all classes in turn) against the shipped StarGAN, with each reference. "
        "Whatever the reference, what is counted is the distance of the output on the protected file to the output on the photo. "
        f"Method: {published.SOURCE}, section 3.1."
    ),
    photos=16,
    cells=reference_cells,
    layout=Layout(("aim", "reference")),
    findings=reference_findings,
)

FEATURES_TABLE = Table(
    name="table-features",
    title="Which layer to attack",
    about=(
        "PGD (20 steps of 1.275 levels, epsilon 6 levels, all classes in turn) against the shipped StarGAN: on its output, and on "
        "activations inside it, which are driven away from those of the photo. What is counted is the output. "
        f"Method: {published.SOURCE}, section 3.4."
    ),
    photos=16,
    cells=feature_cells,
    layout=Layout(("layer", "place")),
    findings=feature_findings,
)
