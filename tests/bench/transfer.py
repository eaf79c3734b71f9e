"""Ways to climb, made on some networks and measured on others. ``python tests/bench/transfer.py FACES --measured NAME ...``.

FACES holds labels.csv (columns file, split, identity); one photo of each person. ``--split val`` chooses, ``--split test`` reports.
A way is the recipe ``pgd`` with other parts: ``momentum=1,diversity=0.5``, or ``plain``. Each network sees the whole photo at its
own size, the disrupted photo is rounded to 8 bits, and all classes of a network are measured (of multistyle four styles). All
ways start from the same seed. A cell is mean L2, % dis. by L2, and the share of pairs that are visibly broken too; behind it
what the way adds to the L2 of the first, with a 95 % interval over people.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.disruption.disrupt import Target, disrupt
from pipeline.disruption.recipes import RECIPES, Recipe
from pipeline.disruption.streams import streams_for
from pipeline.generators.generator import Generator
from pipeline.generators.zoo import load_generator
from pipeline.images import THRESHOLD, is_broken
from pipeline.images.effect import l2, structure_lost
from pipeline.images.levels import level_to_unit, pixels_to_unit, unit_to_pixels
from pipeline.images.resize import pixels_to_tensor, resize
from pipeline.jobs.options import DEFAULT_GENERATOR
from pipeline.photos.decode import decode_photo
from pipeline.tables.nets import multistyle, one_of_each, photos_of, spread

EPSILON = level_to_unit(6.0)
DRAWS = 2000


def recipe_of(way: str, recipe: Recipe) -> Recipe:
    """The recipe with the parts that a way names."""
    parts = {} if way == "plain" else dict(part.split("=") for part in way.split(","))
    changed: dict[str, Any] = {name: float(word) if word.replace(".", "").isdigit() else word for name, word in parts.items()}
    if "steps" in changed:
        changed["steps"] = int(changed["steps"])
    if changed.get("step_rule") == "apgd":
        changed["step_size"] = None
    return dataclasses.replace(recipe, **changed)


def seen(generator: Generator, x_1CHW: Tensor) -> Tensor:
    """The photo at the network's own size."""
    return resize(x_1CHW, (generator.size, generator.size))


@torch.no_grad()
def outputs(generator: Generator, x_1CHW: Tensor) -> Tensor:
    """The translations of a photo to all classes (K, 3, H, W)."""
    return generator.each(seen(generator, x_1CHW), list(generator.classes)).flatten(0, 1)


def target_of(generator: Generator, x_1CHW: Tensor) -> Target:
    """A network to break, with the outputs on the untouched photo."""
    clean = outputs(generator, x_1CHW)
    names = list(generator.classes)
    return Target(
        lambda y: seen(generator, y),
        {name: generator.output(name) for name in names},
        {name: clean[k : k + 1] for k, name in enumerate(names)},
    )


def load(name: str, most: int) -> Generator:
    """A shipped network with at most so many of its classes, evenly spread; multistyle with four of its styles."""
    whole = multistyle() if name == "multistyle" else load_generator(name)
    return dataclasses.replace(whole, classes={one: whole.classes[one] for one in spread(tuple(whole.classes), most)})


def cell(values_NK2: np.ndarray[Any, Any], first_NK2: np.ndarray[Any, Any]) -> str:
    """The numbers of one way on one network: (people, classes, L2 and lost)."""
    d, lost = values_NK2[..., 0], values_NK2[..., 1]
    both = np.vectorize(is_broken)(d, lost).mean()
    more_N = (d - first_NK2[..., 0]).mean(1)
    drawn = np.random.default_rng(0).choice(more_N, (DRAWS, len(more_N))).mean(1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    added = f" ({more_N.mean():+.4f}, {low:+.4f} to {high:+.4f})" if more_N.any() else ""
    return f"{d.mean():.4f} / {100 * (d >= THRESHOLD).mean():.1f} % / {100 * both:.1f} %{added}"


def main() -> None:
    """Disrupt each photo in each way, measure it on each network, print the table."""
    parser = argparse.ArgumentParser(description="Ways to climb, measured on networks that they did not climb.")
    parser.add_argument("faces", type=Path)
    parser.add_argument("--split", default="test", choices=("val", "test"))
    parser.add_argument("--photos", type=int, default=24)
    parser.add_argument("--generator", nargs="+", default=[DEFAULT_GENERATOR], help="networks to disrupt")
    parser.add_argument("--measured", nargs="+", default=[DEFAULT_GENERATOR], help="networks to measure on")
    parser.add_argument("--ways", nargs="+", default=["plain"], help="each PART=VALUE,... of a recipe, or plain")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--objective", default="l2")
    parser.add_argument("--class-schedule", default="iterative", choices=("iterative", "joint", "weakest"))
    parser.add_argument("--classes", type=int, default=100, help="most classes of a network, evenly spread")
    args = parser.parse_args()
    torch.set_num_threads(1)
    base = dataclasses.replace(RECIPES["pgd"], steps=args.steps, objective=args.objective, classes=args.class_schedule)
    recipes = {way: recipe_of(way, base) for way in args.ways}
    networks = {name: load(name, args.classes) for name in [*args.generator, *args.measured]}
    paths = one_of_each(args.faces, photos_of(args.faces, args.split))[: args.photos]
    found: dict[tuple[str, str], list[list[tuple[float, float]]]] = {(w, n): [] for w in recipes for n in args.measured}
    seconds = dict.fromkeys(recipes, 0.0)
    for path in paths:
        x = pixels_to_tensor(decode_photo(path.read_bytes()).pixels_HWC)
        targets = [target_of(networks[name], x) for name in args.generator]
        clean = {name: outputs(networks[name], x) for name in args.measured}
        for way, recipe in recipes.items():
            began = time.process_time()
            y = disrupt(x, targets, recipe, epsilon=EPSILON, streams=streams_for([path.name], 0))
            seconds[way] += time.process_time() - began
            written = pixels_to_unit(unit_to_pixels(y))
            for name in args.measured:
                broken = outputs(networks[name], written).double()
                d, lost = l2(broken - clean[name].double()), structure_lost(broken, clean[name].double())
                found[way, name].append(list(zip(d.tolist(), lost.tolist(), strict=True)))
    print(f"{' + '.join(args.generator)}, {len(paths)} faces of split {args.split}, {args.objective}, {args.class_schedule}\n")
    print(f"| way | {' | '.join(args.measured)} | cpu s |\n|{'---|' * (len(args.measured) + 2)}")
    for way in recipes:
        cells = [cell(np.array(found[way, name]), np.array(found[args.ways[0], name])) for name in args.measured]
        print(f"| {way} | {' | '.join(cells)} | {seconds[way] / len(paths):.2f} |")


if __name__ == "__main__":
    main()
