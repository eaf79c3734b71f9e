"""Photos that stop early against all steps: what is protected, what survives, what it costs. ``python tests/bench/until.py FACES``.

FACES holds labels.csv (columns file, split). ``--split val`` chooses, ``--split test`` reports: no person is in both. Files are
measured as written and after each of ``--channels``: JPEG (4:2:0), and the window that a crop leaves. ``--side`` enlarges the faces
first, since photos are mostly larger than what a network sees of them, and then a JPEG takes less of a disruption. Passes are
counted in the nets: images with a gradient, and other images. Processor time is that of the protecting stage, one thread, without
its start; the ways take turns at each photo, so that whatever else the machine does slows all of them.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from pipeline.channels.operations import crop_centre, jpeg
from pipeline.containers.listing import PhotoRef
from pipeline.disruption.view import regions_of
from pipeline.generators.generator import Generator
from pipeline.images import THRESHOLD, is_broken
from pipeline.images.boxes import region_box
from pipeline.images.effect import l2, structure_lost
from pipeline.images.quality import psnr
from pipeline.images.resize import pixels_to_tensor
from pipeline.jobs.options import DEFAULT_GENERATOR
from pipeline.photos.decode import decode_photo
from pipeline.photos.photo import U8
from pipeline.protection.options import ProtectConfig
from pipeline.protection.quality import QUALITIES
from pipeline.protection.row import Work
from pipeline.protection.stages.disrupt import Protect
from pipeline.protection.stages.shown import batch_view
from pipeline.tables.nets import photos_of

CHANNELS: dict[str, Callable[[U8], U8]] = {
    **{f"jpeg-{quality}": partial(jpeg, quality=quality) for quality in (92, 85, 75)},
    **{f"crop-{share}": partial(crop_centre, share=1 - share / 100) for share in (5, 10)},
}
HEAD = ("% dis.", "L2", "lost", "PSNR", "steps", "most", "passes", "other forwards", "cpu s")


def count(net: nn.Module, passes: Counter[str]) -> None:
    """Count the images that a net translates from now on."""

    def forward(module: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor | tuple[Tensor, ...]) -> None:
        output = outputs if isinstance(outputs, Tensor) else outputs[-1]  # of GANimation the colours
        passes["forward" if output.requires_grad else "other"] += len(output)
        if output.requires_grad:
            output.register_hook(lambda g: passes.update(backward=len(g)))

    net.register_forward_hook(forward)


def enlarged(data: bytes, side: int | None) -> bytes:
    """The picture in a file as a square PNG of another side; the file itself where none is given."""
    if side is None:
        return data
    file = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC).save(file, "png")
    return file.getvalue()


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
    """One way to protect photos, and the sums of what it took and did; what survives ``channels`` is measured."""

    config: ProtectConfig
    channels: Sequence[str]
    seconds: float = 0.0
    passes: Counter[str] = field(default_factory=Counter)
    done: list[Work] = field(default_factory=list)
    survived: dict[str, list[bool]] = field(default_factory=dict)
    psnrs: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stage, self.counted = Protect(self.config, threads=1), Counter[str]()
        for generator in self.stage.generators:
            count(generator.net, self.counted)

    def protect(self, name: str, data: bytes) -> None:
        """Protect one photo and see what survives."""
        photo = decode_photo(data)
        self.counted.clear()
        began = time.process_time()
        (work,) = self.stage([Work(PhotoRef(name, "", len(data)), name, data=data, photo=photo)])
        self.seconds += time.process_time() - began
        self.passes.update(self.counted)
        if work.effect is None or work.pixels_HWC is None:
            return
        self.done.append(work)
        self.psnrs.append(psnr(photo.pixels_HWC, work.pixels_HWC))
        for channel in self.channels:
            before_HWC, after_HWC = (CHANNELS[channel](pixels_HWC) for pixels_HWC in (photo.pixels_HWC, work.pixels_HWC))
            for generator in self.stage.generators:
                classes = generator.select_classes(self.config.classes)
                self.survived.setdefault(channel, []).extend(broken(generator, classes, before_HWC, after_HWC))

    def line(self, n: int) -> str:
        """The line of the table, of n photos."""
        steps = [work.steps or 0 for work in self.done]
        effects = [work.effect for work in self.done if work.effect]
        protected = sum(all(map(is_broken, effect.l2, effect.lost)) for effect in effects)
        l2s, losts = ([value for effect in effects for value in getattr(effect, name)] for name in ("l2", "lost"))
        count = list(map(is_broken, l2s, losts))
        shares = [f"{100 * sum(values) / len(values):.1f} %" for values in [count, *self.survived.values()]]
        numbers = [f"{100 * sum(v >= THRESHOLD for v in l2s) / len(l2s):.1f}", f"{sum(l2s) / len(l2s):.3f}"]
        numbers += [f"{sum(losts) / len(losts):.3f}", f"{sum(self.psnrs) / n:.1f}", f"{sum(steps) / n:.2f}", str(max(steps))]
        backward, other = self.passes["backward"], self.passes["forward"] + self.passes["other"] - self.passes["backward"]
        numbers += [f"{backward / n:.2f}", f"{other / n:.2f}", f"{self.seconds / n:.3f}"]
        until = self.config.resolved_recipe().until
        ball = f"{'mask, ' if self.config.mask else ''}epsilon {self.config.epsilon}"
        return f"| {self.config.recipe}, until {until or 'none'}, {ball} | {protected} of {n} | {' | '.join([*shares, *numbers])} |"


def main() -> None:
    """Protect the faces in each way and print the table."""
    parser = argparse.ArgumentParser(description="Early stops against all steps.")
    parser.add_argument("faces", type=Path)
    parser.add_argument("--split", default="test", choices=("val", "test"))
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="photos that are left out")
    parser.add_argument("--generator", nargs="+", default=[DEFAULT_GENERATOR])
    parser.add_argument("--classes", nargs="+", default=[], help="without: all")
    parser.add_argument(
        "--ways", nargs="+", default=["pgd:none", "quick:none", "quick:5"], help="each RECIPE:UNTIL or RECIPE:UNTIL:QUALITY"
    )
    parser.add_argument("--channels", nargs="+", default=["jpeg-92", "crop-5"], choices=list(CHANNELS))
    parser.add_argument("--side", type=int, help="enlarge the faces to so many pixels; without: as they are")
    args = parser.parse_args()
    paths = photos_of(args.faces, args.split)[args.first :][: args.photos]
    head = ("way", "protected", "pairs", *(f"after {name}" for name in args.channels), *HEAD)
    of = f"{len(paths)} faces of split {args.split}" + (f", {args.side} px" if args.side else "")
    print(f"{', '.join(args.generator)}, {of}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    ways = []
    for recipe, until, *quality in (way.split(":") for way in args.ways):
        config = ProtectConfig("in", "out", generator=tuple(args.generator), classes=tuple(args.classes))
        words = {**QUALITIES[quality[0]], "recipe": recipe} if quality else {"recipe": recipe}
        config = dataclasses.replace(config, **words)
        ways.append(Way(dataclasses.replace(config, until="none" if until == "none" else float(until)), args.channels))
    for path in paths:
        data = enlarged(path.read_bytes(), args.side)
        for way in ways:
            way.protect(path.name, data)
    for way in ways:
        print(way.line(len(paths)), flush=True)


if __name__ == "__main__":
    main()
