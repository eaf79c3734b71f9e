"""Objectives against each other: what each breaks by every measure, and the pictures side by side.

``python tests/bench/objectives.py FACES --generator vintagify --picture grid.png`` where FACES holds labels.csv (columns file,
split, identity); photos of split ``test`` are used, one of each person, evenly spread. The generator sees each whole photo
at its own size, and the perturbed photo is rounded to 8 bits. Prints Markdown; a row of the picture is a photo, G(photo), then
G(protected) for each objective.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.disruption.disrupt import Target, disrupt
from pipeline.disruption.objectives import DISTANCES
from pipeline.disruption.recipes import RECIPES
from pipeline.disruption.streams import streams_for
from pipeline.generators.generator import Generator
from pipeline.generators.zoo import load_generator
from pipeline.images import LOST, THRESHOLD
from pipeline.images.effect import breakage, l2
from pipeline.images.levels import level_to_unit, pixels_to_unit, unit_to_pixels
from pipeline.images.resize import pixels_to_tensor, resize
from pipeline.jobs.options import DEFAULT_GENERATOR

COLUMNS = ("L2", "% dis.", "lost", "% visible", "% both", "levelled", "local", "SSIM of outputs", "L2 over edit")


def photos_of(faces: Path, count: int, size: int) -> dict[str, Tensor]:
    """Photos (1, 3, size, size) in [-1, 1] by name, each of another person."""
    with (faces / "labels.csv").open(newline="", encoding="utf-8") as handle:
        people = {row["identity"]: row["file"] for row in csv.DictReader(handle) if row["split"] == "test"}
    names = list(people.values())
    chosen = names[:: max(1, len(names) // count)][:count]
    images = {name: np.asarray(Image.open(faces / name).convert("RGB")) for name in chosen}
    return {name: resize(pixels_to_tensor(image), (size, size)) for name, image in images.items()}


def outputs(generator: Generator, x_1CHW: Tensor, classes: list[str]) -> Tensor:
    """(classes, 3, H, W)."""
    with torch.no_grad():
        return torch.cat([generator(x_1CHW, name) for name in classes])


def main() -> None:
    """Run every objective on every photo, print the means, write the picture."""
    parser = argparse.ArgumentParser(description="What each objective breaks.")
    parser.add_argument("faces", type=Path)
    parser.add_argument("--generator", default=DEFAULT_GENERATOR)
    parser.add_argument("--classes", nargs="+", default=None, help="without: the first")
    parser.add_argument("--objectives", nargs="+", default=list(DISTANCES), choices=list(DISTANCES))
    parser.add_argument("--photos", type=int, default=2)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--epsilon", type=float, default=6, help="levels")
    parser.add_argument("--picture", type=Path, default=None)
    args = parser.parse_args()
    generator = load_generator(args.generator)
    classes = args.classes or list(generator.classes)[:1]
    target = Target(lambda x: x, {name: generator.output(name) for name in classes})
    found: dict[str, list[tuple[float, ...]]] = {objective: [] for objective in args.objectives}
    rows = []
    for key, x in photos_of(args.faces, args.photos, generator.size).items():
        clean = outputs(generator, x, classes)
        row = [x, clean[:1]]
        for objective in args.objectives:
            recipe = dataclasses.replace(RECIPES["pgd"], steps=args.steps, objective=objective)
            y = disrupt(x, [target], recipe, epsilon=level_to_unit(args.epsilon), streams=streams_for([key], 0))
            broken = outputs(generator, pixels_to_unit(unit_to_pixels(y)), classes)
            one, d = breakage(broken, clean, x.expand_as(clean)), l2((broken - clean).double())
            counts = (d >= THRESHOLD, one.lost >= LOST, (d >= THRESHOLD) & (one.lost >= LOST))
            of_pairs = (d, counts[0], one.lost, *counts[1:], one.levelled, one.local, one.ssim, d / one.edit)
            found[objective] += zip(*(v.tolist() for v in of_pairs), strict=True)
            row.append(broken[:1])
        rows.append(torch.cat(row, 3))
    print(f"| {generator.name}, {len(rows)} photos, {args.steps} steps | {' | '.join(COLUMNS)} |\n|{'---|' * (len(COLUMNS) + 1)}")
    for objective, values in found.items():
        cells = (
            f"{100 * v:.0f} %" if "%" in name else f"{v:.4f}" for name, v in zip(COLUMNS, np.mean(values, axis=0), strict=True)
        )
        print(f"| {objective} | {' | '.join(cells)} |")
    if args.picture:
        pixels = unit_to_pixels(torch.cat(rows, 2)[0]).permute(1, 2, 0).byte().numpy()
        Image.fromarray(pixels).save(args.picture, quality=90)


if __name__ == "__main__":
    main()
