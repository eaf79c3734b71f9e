"""Plain against robust recipes: what is left of a disruption after what happens to files on the web."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pipeline.channels.channels import CHANNELS
from pipeline.disruption.recipes import RECIPES
from pipeline.tables.bench import Bench
from pipeline.tables.cells import CLEAN, Cell, Run, cell, in_turn
from pipeline.tables.nets import Shelf
from pipeline.tables.numbers import RELATIVE, Result, relative_to
from pipeline.tables.table import Layout, Table, by_label

PLAIN, ROBUST = "pgd", "robust"
STEPS = RECIPES[ROBUST].steps
LONGER = f"{PLAIN}, {STEPS} steps"
AIMS = {"jpeg-92": 0.90, "jpeg-85": 0.80, "jpeg-75": 0.70, "half-size": 0.70}
"""Share of the clean % dis. that the robust recipe is to keep."""


def cells(bench: Bench, shelf: Shelf) -> list[Cell]:
    """Every channel for every recipe; the longer PGD takes as many steps as robust, so that work is not what differs."""
    net = shelf.stargan
    attacks = {PLAIN: in_turn(net), LONGER: in_turn(net, steps=STEPS), ROBUST: in_turn(net, ROBUST)}
    return [
        cell([Run(attack, net, channel=channel)], channel=channel, recipe=recipe)
        for channel in CHANNELS
        for recipe, attack in attacks.items()
    ]


def derived(results: list[Result]) -> list[Result]:
    """The results with the share of the % dis. of the same recipe's clean files."""
    clean = by_label(results, "recipe", channel=CLEAN)
    return [
        dataclasses.replace(result, estimates={**result.estimates, RELATIVE: relative_to(result, clean[result.labels["recipe"]])})
        if result.estimates
        else result
        for result in results
    ]


def findings(results: Sequence[Result]) -> list[str]:
    """Whether the aims are met, and what robustness costs on the clean file."""
    clean = by_label(results, "recipe", channel=CLEAN)
    if not clean[ROBUST].estimates:
        return ["No net, so nothing to compare."]
    shares = ", ".join(f"{name} {100 * clean[name].mean('disrupted'):.1f}" for name in clean)
    sizes = ", ".join(f"{name} {clean[name].mean('l2'):.3f}" for name in clean)
    said = [f"On the clean file, % dis.: {shares}; mean L2: {sizes}."]
    for channel, aim in AIMS.items():
        found = by_label(results, "recipe", channel=channel)
        kept, plain = found[ROBUST].mean(RELATIVE), found[PLAIN].mean(RELATIVE)
        verdict = "met" if kept >= aim else "not met"
        said.append(f"{channel}: robust keeps {100 * kept:.1f} % (aim {100 * aim:.0f} %, {verdict}), pgd {100 * plain:.1f} %.")
    return said


TABLE = Table(
    name="table-robust",
    title="What is left after the web: plain against robust",
    about=(
        "The same photos protected with plain PGD and with the recipe `robust` (epsilon 6 levels, all classes in turn, the shipped "
        "StarGAN), then through each channel with the real codec. % dis. after a channel compares the output on the protected file "
        "with the output on the photo, both through the channel; *share of the clean % dis.* is relative to the same recipe's "
        "files "
        "as they are. JPEG is 4:2:0 where the name says nothing. `disrupt evaluate --help` names the channels."
    ),
    photos=12,
    cells=cells,
    layout=Layout(("channel",), "recipe", shown=("l2", "disrupted", RELATIVE), drawn="disrupted"),
    findings=findings,
    derived=derived,
)
