"""What changes the effect of a disruption: reference, layer, channel, another net, and adversarial training of the net."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from pipeline.channels.channels import CHANNELS
from pipeline.disruption.objectives import REFERENCES
from pipeline.disruption.recipes import RECIPES
from pipeline.tables.cells import BOTH_SHARES, Net, Row, Run, Table, row
from pipeline.tables.nets import NETS, load, some_classes
from pipeline.tables.options import HARDENED, TablesConfig

NOISE = "random noise, not an attack"
LAYERS = ("main.2", "main.5", "main.8", "main.11", "main.14", "main.17", "main.20")
RESTARTS = 3


def references(config: TablesConfig, nets: Mapping[str, Net]) -> list[Row]:
    """PGD away from each reference, towards each but the output, and noise of the same size."""
    net = (nets["stargan"],)
    pairs = [(aim, name) for aim in ("away", "towards") for name in REFERENCES if (aim, name) != ("towards", "output")]
    rows = [row(Run(net, parts=(("aim", aim), ("reference", name))), aim=aim, reference=name) for aim, name in pairs]
    return [*rows, row(Run(net, measure="noise"), aim="none", reference=NOISE)]


def layers(config: TablesConfig, nets: Mapping[str, Net]) -> list[Row]:
    """PGD on the output, and on each layer of the net that has a name in the published one."""
    net = nets["stargan"]
    modules = {} if net.missing else dict(load(net).net.named_modules())
    layers = [layer for layer in LAYERS if layer in modules]
    return [row(Run((net,)), layer="output"), *(row(Run((net,), parts=(("layer", layer),)), layer=layer) for layer in layers)]


def channels(config: TablesConfig, nets: Mapping[str, Net]) -> list[Row]:
    """Every channel for every recipe; the longer PGD takes as many steps as robust, so that work is not what differs."""
    steps, net = RECIPES["robust"].steps, (nets["stargan"],)
    runs = {"pgd": Run(net), f"pgd, {steps} steps": Run(net, parts=(("steps", steps),)), "robust": Run(net, recipe="robust")}
    pairs = [(channel, recipe) for channel in CHANNELS for recipe in runs]
    return [row(dataclasses.replace(runs[recipe], channel=channel), channel=channel, recipe=recipe) for channel, recipe in pairs]


def transfer(config: TablesConfig, nets: Mapping[str, Net]) -> list[Row]:
    """Every pair of nets, nets attacked together, and noise of the same size."""
    faces = [nets[name] for name in ("stargan", "hardened", "ganimation", "multistyle")]
    at_hand = tuple(net for net in faces if not net.missing)
    together = [(faces[0], faces[2]), (faces[0], faces[1]), *([at_hand] if len(at_hand) > 2 else [])]
    lines = {" + ".join(net.label for net in some): some for some in (*((net,) for net in faces), *together)}
    rows = [row(Run(some, net), against=name, target=net.label) for name, some in lines.items() for net in faces]
    return rows + [row(Run((net,), measure="noise"), against=NOISE, target=net.label) for net in faces]


def hardening(config: TablesConfig, nets: Mapping[str, Net]) -> list[Row]:
    """Every net under every attack, under files that were made against the plain net, and on clean photos."""
    rows = []
    for name in HARDENED:
        net, names = nets[name], some_classes(nets[name], 2)
        steps = {count: Run((net,), parts=(("steps", count),)) for count in (10, 40)}
        runs = {f"I-FGSM {count}": [dataclasses.replace(run, recipe="ifgsm")] for count, run in steps.items()}
        runs |= {f"PGD {count}": [run] for count, run in steps.items()}
        runs |= {
            f"PGD 40, {RESTARTS} restarts": [dataclasses.replace(steps[40], seed=seed) for seed in range(RESTARTS)],
            "PGD 40 against plain": [dataclasses.replace(steps[40], nets=(nets["plain"],), target=net)],
            "no attack: given back": [dataclasses.replace(steps[10], measure="given back")],
            "no attack: translated": [dataclasses.replace(steps[10], measure="no disruption")],
        }
        for attack, some in runs.items():
            own = [one for run in some for one in run.each_own(names[:1] if attack.endswith("given back") else names)]
            rows.append(Row({"net": NETS[name].label, "attack": attack}, tuple(own), strongest="restarts" in attack))
    return rows


TABLES = (
    Table(
        name="table-references",
        title="Which reference to drive the output from, or to",
        photos=16,
        rows=references,
        lines=("aim", "reference"),
        shown=BOTH_SHARES,
    ),
    Table(
        name="table-features",
        title="Which layer to attack",
        photos=16,
        rows=layers,
        lines=("layer",),
        shown=BOTH_SHARES,
    ),
    Table(
        name="table-robust",
        title="What is left after the web: plain against robust",
        photos=12,
        rows=channels,
        lines=("channel",),
        columns="recipe",
        shown=("l2", "disrupted", "relative"),
    ),
    Table(
        name="table-transfer",
        title="Protected against one net, measured on another",
        photos=12,
        rows=transfer,
        lines=("against",),
        columns="target",
    ),
    Table(
        name="table-hardening",
        title="Adversarial training",
        photos=8,
        rows=hardening,
        lines=("net", "attack"),
        shown=BOTH_SHARES,
    ),
)
