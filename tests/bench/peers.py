"""What the field does, and this project: the same photos, network, process and thread. ``python tests/bench/peers.py FACES``.

FACES holds labels.csv (columns file, split); split test is protected. Every way gets epsilon 6 and all classes of the default
network, whose view of the photo is part of it, and all take turns at each photo, so that whatever else the machine does slows all
of them. What counts is the file: rounded, written as PNG and read back. Processor time goes from the decoded photo to its 8-bit
pixels. For this project's ways it includes what a run does: the clean outputs, the check of the file, and all numbers of the
manifest; with --measure-share 0 none of that. The paper's loop and torchattacks measure nothing either.

* The paper's loop: Ruiz et al. 2020, sections 3.2 and 3.3, and its published PGD: a random start, 20 steps of 0.01, one class a
  step in turn, plain PyTorch with ``backward``, which also computes the gradients of the weights.
* torchattacks: its PGD, which knows classifiers only. The logits (L, 0) with the true class 1 have a cross entropy that grows
  with L.
* Without ``--universal BUNDLE`` one is learned first, as ``disrupt universal FACES OUT --licence MIT`` does.
"""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torchattacks
from torch import Tensor, nn

from pipeline.generators.generator import Generator
from pipeline.images import THRESHOLD, is_broken
from pipeline.images.effect import l2, structure_lost
from pipeline.images.levels import level_to_unit, unit_to_pixels
from pipeline.images.resize import pixels_to_tensor, resize
from pipeline.jobs.options import DEFAULT_GENERATOR
from pipeline.photos.decode import decode_photo
from pipeline.photos.encode import encode_photo, read_back
from pipeline.photos.photo import U8
from pipeline.protection.options import ProtectConfig
from pipeline.protection.row import Work
from pipeline.protection.stages.add import Add
from pipeline.protection.stages.disrupt import Protect, load_generators
from pipeline.protection.stages.perturb import Perturber
from pipeline.tables.nets import photos_of
from pipeline.universal.bundle import read_universal
from tests.bench.universal import work_of
from tests.bench.until import count

EPSILON, STEP, STEPS = level_to_unit(6.0), level_to_unit(1.275), 20
HEAD = (
    "way",
    "photos/s",
    "cpu s a photo",
    "passes forward and backward",
    "other forwards",
    "% dis.",
    "by both measures",
    "L2",
    "times the paper's pace",
)
Loop = Callable[[Generator, Tensor], Tensor]
"""(generator, photo (1, 3, H, W) in [-1, 1]) -> protected photo."""


def outputs(generator: Generator, x_1CHW: Tensor) -> list[Tensor]:
    """What the network makes of its view of a photo, for each class."""
    with torch.no_grad():
        return [seen(generator, x_1CHW, name) for name in generator.classes]


def seen(generator: Generator, x_1CHW: Tensor, name: str) -> Tensor:
    """The translation of the photo as the network sees it."""
    return generator(resize(x_1CHW, (generator.size, generator.size)), name)


def papers_loop(generator: Generator, x_1CHW: Tensor) -> Tensor:
    """PGD as published, from its description."""
    generator.net.requires_grad_(True)
    names, clean = list(generator.classes), outputs(generator, x_1CHW)
    loss = nn.MSELoss()
    y_1CHW = x_1CHW + torch.empty_like(x_1CHW).uniform_(-EPSILON, EPSILON)
    for t in range(STEPS):
        y_1CHW.requires_grad_(True)
        generator.net.zero_grad()
        loss(seen(generator, y_1CHW, names[t % len(names)]), clean[t % len(names)]).backward()
        assert y_1CHW.grad is not None
        eta = torch.clamp(y_1CHW.detach() + STEP * y_1CHW.grad.sign() - x_1CHW, -EPSILON, EPSILON)
        y_1CHW = torch.clamp(x_1CHW + eta, -1, 1)
    return y_1CHW


class AsClassifier(nn.Module):
    """The logits (L, 0) of images in [0, 1], L the distance from the clean output of one class in turn."""

    def __init__(self, generator: Generator, clean: Sequence[Tensor]) -> None:
        super().__init__()
        self.net, self.generator, self.clean, self.calls = generator.net, generator, clean, 0

    def forward(self, x_1CHW: Tensor) -> Tensor:
        """One value in two (1, 2)."""
        names = list(self.generator.classes)
        k = self.calls % len(names)
        self.calls += 1
        value_B = l2(seen(self.generator, x_1CHW * 2 - 1, names[k]) - self.clean[k])
        return torch.stack([value_B, torch.zeros_like(value_B)], dim=1)


def torchattacks_pgd(generator: Generator, x_1CHW: Tensor) -> Tensor:
    """PGD of torchattacks, whose images are in [0, 1]."""
    attack = torchattacks.PGD(
        AsClassifier(generator, outputs(generator, x_1CHW)).eval(), eps=EPSILON / 2, alpha=STEP / 2, steps=STEPS
    )
    y_1CHW: Tensor = attack((x_1CHW + 1) / 2, torch.ones(1, dtype=torch.long))
    return y_1CHW * 2 - 1


def in_levels(loop: Loop, generator: Generator) -> Callable[[Work], U8]:
    """A loop as a way from a decoded photo to 8-bit pixels."""

    def protect(work: Work) -> U8:
        assert work.photo is not None
        y_1CHW = loop(generator, pixels_to_tensor(work.photo.pixels_HWC)).detach()
        pixels: U8 = unit_to_pixels(y_1CHW[0]).round().clamp(0, 255).permute(1, 2, 0).byte().numpy()
        return pixels

    return protect


def by_stage(stage: Callable[[Sequence[Work]], list[Work]]) -> Callable[[Work], U8]:
    """A stage of this project as such a way."""

    def protect(work: Work) -> U8:
        (done,) = stage([work])
        assert done.pixels_HWC is not None, done.ended
        return done.pixels_HWC

    return protect


@dataclass
class Way:
    """One way to protect, the networks that it uses, and what it took and did."""

    label: str
    protect: Callable[[Work], U8]
    generators: Sequence[Generator]
    seconds: float = 0.0
    passes: Counter[str] = field(default_factory=Counter)
    l2s: list[float] = field(default_factory=list)
    losts: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        for generator in self.generators:
            count(generator.net, self.passes)

    def __call__(self, path: Path, judge: Generator, clean: Sequence[Tensor]) -> None:
        """Protect a photo, write it, read it back and measure it against the ``clean`` outputs."""
        work = work_of(path)
        photo = work.photo
        assert photo is not None
        began = time.process_time()
        pixels_HWC = self.protect(work)
        self.seconds += time.process_time() - began
        file = encode_photo(photo, pixels_HWC, format="png")
        after_HWC = read_back(file, photo, pixels_HWC, format="png").pixels_HWC
        broken = outputs(judge, pixels_to_tensor(after_HWC))
        self.l2s += [float(l2(y - x)) for x, y in zip(clean, broken, strict=True)]
        self.losts += [float(structure_lost(y, x)) for x, y in zip(clean, broken, strict=True)]

    def line(self, n: int, of: Way) -> str:
        """The line of the table, of n photos; ``of`` is what it is compared with."""
        other = self.passes["forward"] + self.passes["other"] - self.passes["backward"]
        broken = 100 * sum(value >= THRESHOLD for value in self.l2s) / len(self.l2s)
        visibly = 100 * sum(map(is_broken, self.l2s, self.losts)) / len(self.l2s)
        each = self.seconds / n
        cells = f"{1 / each:.2f}", f"{each:.3f}", f"{self.passes['backward'] / n:.2f}", f"{other / n:.2f}"
        effect = f"{broken:.1f}", f"{visibly:.1f}", f"{sum(self.l2s) / len(self.l2s):.3f}", f"{of.seconds / self.seconds:.2f}"
        return f"| {' | '.join([self.label, *cells, *effect])} |"


def ways_of(universal: Path) -> list[Way]:
    """All ways, the paper's first; each has a network of its own, so that passes are counted apart."""
    perturber = Perturber(read_universal(universal), None)
    pgd, default = ProtectConfig("in", "out", recipe="pgd", until="none"), ProtectConfig("in", "out")
    unmeasured = ProtectConfig("in", "out", measure_share=0.0)
    started = dataclasses.replace(unmeasured, universal=universal)
    ways = []
    for label, loop in (("the paper's loop", papers_loop), ("torchattacks, PGD", torchattacks_pgd)):
        (generator,) = load_generators(default)
        ways.append(Way(label, in_levels(loop, generator), [generator]))
    for label, config, start in (
        ("pgd, until none", pgd, None),
        ("the default", default, None),
        ("the default from universal", default, perturber),
        ("the default, --measure-share 0", unmeasured, None),
        ("the same from universal", started, perturber),
    ):
        stage = Protect(config, threads=1, perturber=start)
        ways.append(Way(label, by_stage(stage), stage.generators))
    return [*ways, Way("universal alone", by_stage(Add(None, perturber)), [])]


def main() -> None:
    """Protect the faces in every way and print the table."""
    parser = argparse.ArgumentParser(description="The field's ways and this project's, side by side.")
    parser.add_argument("faces", type=Path)
    parser.add_argument("--photos", type=int, default=24)
    parser.add_argument("--universal", type=Path, help="a bundle of disrupt universal; without, one is learned")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    paths = photos_of(args.faces, "test")[: args.photos]
    with tempfile.TemporaryDirectory() as folder:
        bundle = args.universal
        if bundle is None:
            bundle = Path(folder, "learned", "universal.safetensors")
            words = ["universal", str(args.faces), str(bundle.parent), "--licence", "MIT", "--no-tracking"]
            subprocess.run([sys.executable, "-m", "pipeline.cli", *words], check=True, stdout=sys.stderr)
        ways = ways_of(bundle)
    (judge,) = load_generators(ProtectConfig("in", "out"))
    for number, path in enumerate([paths[0], *paths]):
        clean = outputs(judge, pixels_to_tensor(decode_photo(path.read_bytes()).pixels_HWC))
        for way in ways:
            way(path, judge, clean)
            if number == 0:  # it pays for the warm-up, and is done again
                way.seconds = 0.0
                way.passes.clear()
                way.l2s.clear()
                way.losts.clear()
        print(f"{number} of {len(paths)}", *(f"{way.seconds:.1f}" for way in ways), file=sys.stderr, flush=True)
    print(f"{DEFAULT_GENERATOR}, {len(paths)} faces of split test, one thread\n\n| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    for way in ways:
        print(way.line(len(paths), ways[0]))


if __name__ == "__main__":
    main()
