"""Adversarial training: the same net plain and hardened, under stronger and stronger attacks, and its quality on clean photos."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.tables.cells import SOURCE, Net, Row, Run, Table
from pipeline.tables.nets import some_classes
from pipeline.tables.options import TablesConfig

RESTARTS = 3
NETS = {
    "plain": "plain",
    "hardened (G)": "hardened_generator",
    "hardened (G + D)": "hardened",
    "hardened (G + D, blur)": "hardened_blur",
}


def rows_of(config: TablesConfig, nets: Mapping[str, Net]) -> list[Row]:
    """Every net under every attack, under files that were made against the plain net, and on clean photos."""
    return [one for label, name in NETS.items() for one in _rows(label, nets[name], nets["plain"])]


def _rows(label: str, net: Net, plain: Net) -> list[Row]:
    names = some_classes(net, 2)

    def attack(recipe: str, steps: int, against: Net = net, measure: str = "output", seed: int = 0) -> list[Run]:
        run = Run((against,), net, recipe, parts=(("steps", steps),), measure=measure, seed=seed)
        return run.each_own(names)

    runs = {
        "I-FGSM 10": attack("ifgsm", 10),
        "I-FGSM 40": attack("ifgsm", 40),
        "PGD 10": attack("pgd", 10),
        "PGD 40": attack("pgd", 40),
        f"PGD 40, {RESTARTS} restarts": [run for seed in range(RESTARTS) for run in attack("pgd", 40, seed=seed)],
        "PGD 40 against plain": attack("pgd", 40, plain),
        "no attack: given back": attack("pgd", 10, measure="given back")[:1],
        "no attack: translated": attack("pgd", 10, measure="no disruption"),
    }
    return [Row({"net": label, "attack": name}, tuple(some), strongest="restarts" in name) for name, some in runs.items()]


TABLE = Table(
    name="table-hardening",
    title="Adversarial training",
    caption="The same StarGAN without adversarial training, with perturbed inputs of the generator (G), and of "
    f"both nets (G + D), all with epsilon 6 levels; method: {SOURCE}, section 4. Lower is better for the net.",
    photos=8,
    rows=rows_of,
    lines=("net", "attack"),
)
