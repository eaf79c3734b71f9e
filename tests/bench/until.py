"""Photos that stop early against all steps: what is protected, what survives, what it costs. ``python tests/bench/until.py FACES``.

FACES holds labels.csv (columns file, split). ``--split val`` chooses, ``--split test`` reports: no person is in both. Files are
measured as written, after JPEG 92 (4:2:0), and in the window of 95 % of the sides that a crop leaves. Passes are counted in the
nets: images with a gradient, and other images. Processor time is that of the protecting stage, one thread, without its start; the
ways take turns at each photo, so that whatever else the machine does slows all of them.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.channels.operations import crop_centre, jpeg
from pipeline.containers.listing import PhotoRef
from pipeline.disruption.view import regions_of
from pipeline.generators.generator import Generator
from pipeline.images import THRESHOLD, is_broken
from pipeline.images.boxes import region_box
from pipeline.images.effect import l2, structure_lost
from pipeline.images.resize import pixels_to_tensor
from pipeline.photos.decode import decode_photo
from pipeline.photos.photo import U8
from pipeline.protection.options import ProtectConfig
from pipeline.protection.row import Work
from pipeline.protection.stages.disrupt import Protect
from pipeline.protection.stages.shown import batch_view
from pipeline.tables.nets import photos_of

CHANNELS: dict[str, Callable[[U8], U8]] = {
    "pairs": lambda x_HWC: x_HWC,
    "after JPEG 92": lambda x_HWC: jpeg(x_HWC, quality=92),
    "crop of 5 %": lambda x_HWC: crop_centre(x_HWC, 0.95),
}
HEAD = ("way", "protected", *CHANNELS, "% dis.", "L2", "lost", "steps", "most", "passes", "other forwards", "cpu s")


def count(net: nn.Module, passes: Counter[str]) -> None:
    """Count the images that a net translates from now on."""

    def forward(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        passes["forward" if output.requires_grad else "other"] += len(output)
        if output.requires_grad:
            output.register_hook(lambda g: passes.update(backward=len(g)))

    net.register_forward_hook(forward)


@torch.no_grad()
def broken(generator: Generator, classes: Sequence[str], before_HWC: U8, after_HWC: U8) -> list[bool]:
    """Of each output, whether it breaks by L2 and visibly between two pictures of one size."""
    height, width = before_HWC.shape[:2]
    (region,) = regions_of([region_box("square", width, height, None)], (height, width), 1)
    view = batch_view([region], generator.size)
    before, after = (generator.each(view(pixels_to_tensor(region.cut(px))), classes) for px in (before_HWC, after_HWC))
    after, before = after.flatten(0, 1).double(), before.flatten(0, 1).double()
    return [is_broken(*pair) for pair in zip(l2(after - before).tolist(), structure_lost(after, before).tolist(), strict=True)]


@dataclass
class Way:
    """One way to protect photos, and the sums of what it took and did."""

    config: ProtectConfig
    seconds: float = 0.0
    passes: Counter[str] = field(default_factory=Counter)
    done: list[Work] = field(default_factory=list)
    survived: dict[str, list[bool]] = field(default_factory=lambda: {name: [] for name in CHANNELS})

    def __post_init__(self) -> None:
        self.stage, self.counted = Protect(self.config, threads=1), Counter[str]()
        for generator in self.stage._generators:
            count(generator.net, self.counted)

    def protect(self, path: Path) -> None:
        """Protect one photo and see what survives."""
        data = path.read_bytes()
        photo = decode_photo(data)
        self.counted.clear()
        began = time.process_time()
        (work,) = self.stage([Work(PhotoRef(path.name, "", len(data)), path.name, data=data, photo=photo)])
        self.seconds += time.process_time() - began
        self.passes.update(self.counted)
        if work.effect is None or work.pixels_HWC is None:
            return
        self.done.append(work)
        for name, channel in CHANNELS.items():
            for generator in self.stage._generators:
                classes = generator.select_classes(self.config.classes)
                self.survived[name] += broken(generator, classes, channel(photo.pixels_HWC), channel(work.pixels_HWC))

    def line(self, n: int) -> str:
        """The line of the table, of n photos."""
        steps = [work.steps or 0 for work in self.done]
        effects = [work.effect for work in self.done if work.effect]
        protected = sum(all(map(is_broken, effect.l2, effect.lost)) for effect in effects)
        l2s, losts = ([value for effect in effects for value in getattr(effect, name)] for name in ("l2", "lost"))
        shares = [f"{100 * sum(values) / len(values):.1f} %" for values in self.survived.values()]
        numbers = [f"{100 * sum(v >= THRESHOLD for v in l2s) / len(l2s):.1f}", f"{sum(l2s) / len(l2s):.3f}"]
        numbers += [f"{sum(losts) / len(losts):.3f}", f"{sum(steps) / n:.2f}", str(max(steps))]
        backward, other = self.passes["backward"], self.passes["forward"] + self.passes["other"] - self.passes["backward"]
        numbers += [f"{backward / n:.2f}", f"{other / n:.2f}", f"{self.seconds / n:.3f}"]
        until = self.config.resolved_recipe().until
        return f"| {self.config.recipe}, until {until or 'none'} | {protected} of {n} | {' | '.join([*shares, *numbers])} |"


def main() -> None:
    """Protect the faces in each way and print the table."""
    parser = argparse.ArgumentParser(description="Early stops against all steps.")
    parser.add_argument("faces", type=Path)
    parser.add_argument("--split", default="test", choices=("val", "test"))
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="photos that are left out")
    parser.add_argument("--generator", nargs="+", default=["stargan-faces"])
    parser.add_argument("--classes", nargs="+", default=[], help="without: all")
    parser.add_argument("--ways", nargs="+", default=["pgd:none", "quick:none", "quick:2.5"], help="each RECIPE:UNTIL")
    args = parser.parse_args()
    paths = photos_of(args.faces, args.split)[args.first :][: args.photos]
    print(f"{', '.join(args.generator)}, {len(paths)} faces of split {args.split}\n\n| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    ways = []
    for recipe, until in (way.split(":") for way in args.ways):
        config = ProtectConfig("in", "out", generator=tuple(args.generator), classes=tuple(args.classes), recipe=recipe)
        ways.append(Way(dataclasses.replace(config, until="none" if until == "none" else float(until))))
    for path in paths:
        for way in ways:
            way.protect(path)
    for way in ways:
        print(way.line(len(paths)), flush=True)


if __name__ == "__main__":
    main()
