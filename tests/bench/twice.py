"""Two protections of one photo: each alone, their pixelwise mean, one over the other. ``python tests/bench/twice.py FACES``.

FACES holds labels.csv (columns file, split); the photos of the split are shown as whole squares. Everything is measured in 8 bits,
against the photo itself. The mean is what anyone can make of two published files of one photo; one over the other is what comes of
protecting a protected file again.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from pipeline.containers.listing import PhotoRef
from pipeline.disruption.view import regions_of
from pipeline.generators.generator import Generator
from pipeline.images import THRESHOLD
from pipeline.images.boxes import region_box
from pipeline.images.effect import l2
from pipeline.images.quality import psnr
from pipeline.images.resize import pixels_to_tensor
from pipeline.jobs.options import DEFAULT_GENERATOR
from pipeline.photos.ball import linf_levels
from pipeline.photos.decode import decode_photo
from pipeline.photos.photo import U8, Photo
from pipeline.protection.options import ProtectConfig
from pipeline.protection.row import Work
from pipeline.protection.stages.disrupt import Protect, load_generators
from pipeline.protection.stages.shown import batch_view
from pipeline.tables.nets import photos_of


def protected(config: ProtectConfig, photos: Sequence[Photo], keys: Sequence[str]) -> list[Photo]:
    """The photos with the pixels that a run with these options writes."""
    stage, files = Protect(config, threads=1), []
    for photo, key in zip(photos, keys, strict=True):
        (work,) = stage([Work(PhotoRef(key, "", 0), key, photo=photo)])
        if work.pixels_HWC is None:
            raise ValueError(f"{key}: {work.ended}")
        files.append(dataclasses.replace(photo, pixels_HWC=work.pixels_HWC))
    return files


@torch.no_grad()
def effect(generator: Generator, before_HWC: U8, after_HWC: U8) -> list[float]:
    """L2 of each class between the outputs on two pictures of one size."""
    height, width = before_HWC.shape[:2]
    (region,) = regions_of([region_box("square", width, height, None)], (height, width), 1)
    view, classes = batch_view([region], generator.size), list(generator.classes)
    before, after = (generator.each(view(pixels_to_tensor(region.cut(px))), classes) for px in (before_HWC, after_HWC))
    values: list[float] = l2((after - before).flatten(0, 1)).tolist()
    return values


def line(name: str, generator: Generator, photos: Sequence[Photo], files: Sequence[Photo]) -> str:
    """The numbers of one kind of file as a line of the table."""
    pairs = [(photo.pixels_HWC, file.pixels_HWC) for photo, file in zip(photos, files, strict=True)]
    values = np.array([effect(generator, *pair) for pair in pairs])
    moved = [np.abs(a.astype(int) - b).mean() for a, b in pairs]
    most = max(linf_levels(*pair) for pair in pairs)
    quality = np.mean([psnr(*pair) for pair in pairs])
    whole = int((values >= THRESHOLD).all(1).sum())
    shares = f"{100 * (values >= THRESHOLD).mean():.1f} % | {whole} of {len(values)} | {values.mean():.3f} | {values.min():.3f}"
    return f"| {name} | {shares} | {np.mean(moved):.2f} | {most} | {quality:.1f} |"


def main() -> None:
    """Protect the faces with each seed and print the table of both and of their mean."""
    parser = argparse.ArgumentParser(description="Two protections of one photo, and their mean.")
    parser.add_argument("faces", type=Path)
    parser.add_argument("--split", default="test", choices=("val", "test"))
    parser.add_argument("--photos", type=int, default=12)
    parser.add_argument("--generator", default=DEFAULT_GENERATOR)
    parser.add_argument("--recipes", nargs="+", default=["quick", "pgd"])
    parser.add_argument("--seeds", nargs=2, type=int, default=[0, 1])
    args = parser.parse_args()
    paths = photos_of(args.faces, args.split)[: args.photos]
    photos, keys = [decode_photo(path.read_bytes()) for path in paths], [path.name for path in paths]
    print(f"{args.generator}, {len(paths)} faces of split {args.split}\n")
    print(f"| files | % dis. | all classes | mean L2 | least L2 | mean change | largest | PSNR |\n|{'---|' * 8}")
    for recipe in args.recipes:
        config = ProtectConfig("in", "out", generator=(args.generator,), recipe=recipe, region="square")
        (generator,) = load_generators(config)
        configs = [dataclasses.replace(config, seed=seed) for seed in args.seeds]
        first, second = (protected(config, photos, keys) for config in configs)
        mean = [_mean(a, b) for a, b in zip(first, second, strict=True)]
        named = {f"seed {args.seeds[0]}": first, f"seed {args.seeds[1]}": second, "mean of both": mean}
        named["second over the first"] = protected(configs[1], first, keys)
        for name, files in named.items():
            print(line(f"{recipe}, {name}", generator, photos, files), flush=True)


def _mean(a: Photo, b: Photo) -> Photo:
    return dataclasses.replace(a, pixels_HWC=np.round((a.pixels_HWC.astype(float) + b.pixels_HWC) / 2).astype(np.uint8))


if __name__ == "__main__":
    main()
