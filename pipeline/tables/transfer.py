"""Protected against A, measured on B, for all nets at hand; and ensembles of nets that are attacked together."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.tables.bench import Bench
from pipeline.tables.cells import Attack, Cell, Net, Run, cell, in_turn
from pipeline.tables.nets import Shelf
from pipeline.tables.numbers import Result
from pipeline.tables.table import Layout, Table, by_label

NOISE = "random noise, not an attack"


def cells(bench: Bench, shelf: Shelf) -> list[Cell]:
    """Every pair of nets, ensembles of them, and noise of the same size."""
    nets = shelf.of_faces()
    at_hand = [net for net in nets if not net.missing]
    ensembles: list[tuple[Net, ...]] = [(shelf.stargan, shelf.ganimation), (shelf.stargan, shelf.hardened)]
    if len(at_hand) > 2:
        ensembles.append(tuple(at_hand))
    attacks = {net.label: in_turn(net) for net in nets}
    attacks |= {" + ".join(net.label for net in some): Attack(some) for some in ensembles}
    found = [cell([Run(attack, target)], against=name, target=target.label) for name, attack in attacks.items() for target in nets]
    return found + [cell([Run(in_turn(net), net, measure="noise")], against=NOISE, target=net.label) for net in nets]


def findings(results: Sequence[Result]) -> list[str]:
    """For each net the best protection among those that did not know it, beside its own and noise."""
    said = []
    for target in dict.fromkeys(result.labels["target"] for result in results):
        found = {name: result for name, result in by_label(results, "against", target=target).items() if result.estimates}
        strangers = [name for name in found if name != NOISE and target not in name.split(" + ")]
        if target not in found or not strangers:
            said.append(f"{target}: no net, so nothing to compare.")
            continue
        best = max(strangers, key=lambda name: found[name].mean("l2"))
        parts = {"its own protection": target, f"the best that does not know it ({best})": best, "noise": NOISE}
        shown = ", ".join(f"{words} {found[name].mean('l2'):.4f}" for words, name in parts.items())
        said.append(f"{target}, mean L2: {shown}.")
    return said


TABLE = Table(
    name="table-transfer",
    title="Protected against one net, measured on another",
    about=(
        "PGD (20 steps of 1.275 levels, epsilon 6 levels, all classes in turn) against the net or nets of each line; each column "
        "measures the same files on one net, in its own classes and at its own native size. Several nets in a line are attacked "
        "together (the mean of their objectives). Transfer is weak: a number near that of random noise means that a "
        "protection does "
        "nothing against a net that it was not made for. multistyle counts four of its 26 styles."
    ),
    photos=12,
    cells=cells,
    layout=Layout(("against",), "target"),
    findings=findings,
)
