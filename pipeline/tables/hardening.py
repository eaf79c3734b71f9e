"""Adversarial training: the same net plain and hardened, under stronger and stronger attacks, and its quality on clean photos."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.tables import published
from pipeline.tables.bench import Bench
from pipeline.tables.cells import Attack, Cell, Net, Run, cell, each_own
from pipeline.tables.nets import Shelf, some_classes
from pipeline.tables.numbers import Result, compare
from pipeline.tables.table import Layout, Table, by_label, ordering

CLASSES = 2
RESTARTS = 3
PLAIN, GENERATOR, BOTH, BLUR = "plain", "hardened (G)", "hardened (G + D)", "hardened (G + D, blur)"
ATTACKS = {f"{recipe.upper()} {steps}".replace("IF", "I-F"): (recipe, steps) for recipe in ("ifgsm", "pgd") for steps in (10, 40)}
STRONGEST, FROM_PLAIN = f"PGD 40, {RESTARTS} restarts", "PGD 40 against plain"
GIVEN_BACK, CLEAN_SHIFT = "no attack: given back", "no attack: translated"


def cells(bench: Bench, shelf: Shelf) -> list[Cell]:
    """Every net under every attack, under files that were made against the plain net, and on clean photos."""
    nets = {PLAIN: shelf.plain, GENERATOR: shelf.hardened_generator, BOTH: shelf.hardened, BLUR: shelf.hardened_blur}
    return [one for label, net in nets.items() for one in _of(label, net, shelf.plain)]


def _of(label: str, net: Net, plain: Net) -> list[Cell]:
    names = some_classes(net, CLASSES)
    attacks = {name: _attack(net, recipe, steps) for name, (recipe, steps) in ATTACKS.items()}
    found = [cell(each_own(attack, names), net=label, attack=name) for name, attack in attacks.items()]
    restarts = [each_own(_attack(net, "pgd", 40, seed), (name,)) for name in names for seed in range(RESTARTS)]
    transferred = each_own(_attack(plain, "pgd", 40), names, target=net)
    clean = _attack(net, "pgd", 10)
    return [
        *found,
        Cell({"net": label, "attack": STRONGEST}, tuple(run for runs in restarts for run in runs), "strongest"),
        cell(transferred, net=label, attack=FROM_PLAIN),
        cell(
            [Run(run.attack, net, run.classes, measure="given back") for run in each_own(clean, names[:1])],
            net=label,
            attack=GIVEN_BACK,
        ),
        cell(
            [Run(run.attack, net, run.classes, measure="no disruption") for run in each_own(clean, names)],
            net=label,
            attack=CLEAN_SHIFT,
        ),
    ]


def _attack(net: Net, recipe: str, steps: int, seed: int = 0) -> Attack:
    return Attack((net,), recipe, parts=(("steps", steps),), seed=seed)


def findings(results: Sequence[Result]) -> list[str]:
    """Whether hardening helps in the published order, and whether weak gradients only hide how weak a net is."""
    found = by_label(results, "net", attack=STRONGEST)
    said = [ordering(STRONGEST, [PLAIN, GENERATOR, BOTH], found, because="expected:")]
    for net in (GENERATOR, BOTH, BLUR):
        own, other = by_label(results, "net", attack="PGD 40")[net], by_label(results, "net", attack=FROM_PLAIN)[net]
        if not own.estimates or not other.estimates:
            continue
        masked = compare(other, own) == "larger"
        short, long = (by_label(results, "net", attack=f"PGD {steps}")[net].mean("l2") for steps in (10, 40))
        said.append(
            f"{net}: files made against the plain net disturb it {'MORE' if masked else 'not more'} than its own attack (L2 "
            f"{other.mean('l2'):.4f} and {own.mean('l2'):.4f}){': its gradients mislead, the gain is not real' if masked else ''}; "
            f"10 and 40 steps of PGD reach {short:.4f} and {long:.4f}."
        )
    return said


TABLE = Table(
    name="table-hardening",
    title="Adversarial training",
    about=(
        "The same StarGAN without adversarial training, with perturbed inputs of the generator (G), and with perturbed inputs "
        "of both "
        f"nets (G + D), all with epsilon 6 levels; method: {published.SOURCE}, section 4. Lower is better for the net, worse "
        "for who "
        "protects. The class that is measured is the one that is attacked. I-FGSM and PGD take 10 and 40 steps of 1.275 levels; "
        f"*{STRONGEST}* keeps for each photo and class the strongest of {RESTARTS} starts; *{FROM_PLAIN}* measures each net "
        "on files made "
        "against the plain one: if those disturb a hardened net more than its own attack does, its gradients are masked.\n\n"
        f"Quality without attack: *{GIVEN_BACK}* is the distance of the photo to the output when no change is asked for (a "
        "condition of "
        f"zeros), *{CLEAN_SHIFT}* the distance of the photo to its translation: a net that changes nothing is easily robust."
    ),
    photos=8,
    cells=cells,
    layout=Layout(("net", "attack")),
    findings=findings,
)
