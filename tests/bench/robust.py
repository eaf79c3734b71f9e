"""What a disruption keeps on a file's way: recipes against channels on held-out faces, 8-bit pixels through real codecs.

``python tests/bench/robust.py FACES --flags "--recipe pgd" "--recipe robust"`` where FACES holds labels.csv (columns file, split,
source); photos of split ``test`` are used, spread evenly over the sources. Each entry of ``--flags`` is a row of the table, written
as flags of ``disrupt protect``. A cell holds % dis., its share of the row's clean % dis., and the mean L2: the output on the
protected photo after the channel against the output on the original after the same channel.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import torch
from torch import Tensor

from pipeline.channels.channels import Channel, find_channels
from pipeline.cli import parse_protect
from pipeline.config import ProtectConfig
from pipeline.generators.generator import Generator
from pipeline.metrics.effect import disrupted, l2
from pipeline.photos.decode import decode_photo
from pipeline.photos.listing import PhotoRef
from pipeline.photos.photo import U8, Photo
from pipeline.rows import Work
from pipeline.stages.protect import Protect, as_tensor, load_generators, view_of

CHANNELS = ("clean", "jpeg-92", "jpeg-85", "jpeg-75", "half-size")


def held_out(faces: Path, limit: int) -> list[Work]:
    """At most ``limit`` test photos, decoded, one source after the other in turn."""
    with (faces / "labels.csv").open(newline="", encoding="utf-8") as handle:
        rows = [row for row in csv.DictReader(handle) if row["split"] == "test"]
    by_source = [[row["file"] for row in rows if row["source"] == source] for source in dict.fromkeys(r["source"] for r in rows)]
    each = -(-limit // len(by_source))
    spread = [[names[i * len(names) // each] for i in range(min(each, len(names)))] for names in by_source]
    chosen = [name for turn in zip_longest(*spread) for name in turn if name][:limit]
    files = [(name, (faces / name).read_bytes()) for name in chosen]
    return [Work(PhotoRef(name, name, len(data), None), name + ".png", data=data, photo=decode_photo(data)) for name, data in files]


@dataclass(frozen=True)
class Eyes:
    """What is looked at with: the generator of a row and its classes, the region, the channels."""

    generator: Generator
    classes: tuple[str, ...]
    region: str
    channels: Sequence[Channel]

    @torch.no_grad()
    def outputs(self, photos: Sequence[Photo], versions: Sequence[U8]) -> list[Tensor]:
        """For each channel the outputs (classes x photos, ...) on a version of each photo that went through it."""
        return [self._through(channel, photos, versions) for channel in self.channels]

    def _through(self, channel: Channel, photos: Sequence[Photo], versions: Sequence[U8]) -> Tensor:
        arrived = [channel.apply(pixels, i) for i, pixels in enumerate(versions)]
        as_photos = [dataclasses.replace(photo, pixels_HWC=pixels) for photo, pixels in zip(photos, arrived, strict=True)]
        views = [view_of(photo, self.region, None, self.generator.size)(as_tensor(photo.pixels_HWC)) for photo in as_photos]
        return torch.cat([self.generator(torch.cat(views), name) for name in self.classes])


def row(config: ProtectConfig, works: Sequence[Work], channels: Sequence[Channel]) -> tuple[list[str], float]:
    """The cells of one recipe, and the seconds a photo takes."""
    began = time.perf_counter()
    done = Protect(config, threads=config.threads)(works)
    seconds = (time.perf_counter() - began) / len(works)
    photos = [work.photo for work in works if work.photo is not None]
    protected = [work.pixels_HWC for work in done if work.pixels_HWC is not None]
    (generator,) = load_generators(config)
    eyes = Eyes(generator, generator.chosen_classes(config.classes), config.region, channels)
    before, after = eyes.outputs(photos, [photo.pixels_HWC for photo in photos]), eyes.outputs(photos, protected)
    l2_KN = [l2(y - x) for x, y in zip(before, after, strict=True)]
    rates = [100 * float(disrupted(l2_N).float().mean()) for l2_N in l2_KN]
    shares = [f" ({100 * rate / rates[0]:.0f})" if rates[0] else "" for rate in rates]
    cells = [f"{rate:.1f}{share}, {float(l2_N.mean()):.3f}" for rate, share, l2_N in zip(rates, shares, l2_KN, strict=True)]
    return cells, seconds


def main() -> None:
    """Run the rows and print the table."""
    parser = argparse.ArgumentParser(description="Recipes against channels on held-out faces: % dis. (share of clean), L2.")
    parser.add_argument("faces", type=Path)
    parser.add_argument("--flags", nargs="+", default=["--recipe pgd", "--recipe robust"], help="rows, as flags of disrupt protect")
    parser.add_argument("--channels", nargs="+", default=list(CHANNELS), help="the first is what shares are of")
    parser.add_argument("--limit", type=int, default=12, help="photos")
    a = parser.parse_args()
    works, channels = held_out(a.faces, a.limit), find_channels(a.channels)
    print(f"{len(works)} photos\n| flags | s a photo | {' | '.join(channel.name for channel in channels)} |")
    print("| --- " * (2 + len(channels)) + "|", flush=True)
    for flags in a.flags:
        config = parse_protect(["in", "out", *shlex.split(flags)], prog="robust", defaults={})
        config.check()
        cells, seconds = row(config, works, channels)
        print(f"| {flags} | {seconds:.1f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
