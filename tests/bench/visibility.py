"""What is seen of a protection, with and without the mask: ``python tests/bench/visibility.py FACES``.

FACES holds labels.csv (columns file, split). ``--split val`` chooses, ``--split test`` reports: no person is in both. A way is
plain:EPSILON or mask:EPSILON, with :RECIPE behind it if that is not quick. The photos are shown as whole squares and measured in
8 bits.

Visibility of a block of 16 x 16 pixels: the root mean square of its change, in levels, over its mean JND as [Chou 1995] has it
(`jnd_levels`; the mask is made by another rule). The table has the largest and the mean over the blocks of a photo, and the root
mean square of the change in the smoothest quarter of its blocks, those with the least standard deviation of brightness.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.containers.listing import PhotoRef
from pipeline.images import THRESHOLD
from pipeline.images.quality import psnr, ssim
from pipeline.images.types import F64, U8
from pipeline.jobs.options import DEFAULT_GENERATOR
from pipeline.photos.decode import decode_photo
from pipeline.photos.visibility import jnd_levels
from pipeline.protection.options import ProtectConfig
from pipeline.protection.row import Work
from pipeline.protection.stages.disrupt import Protect
from pipeline.tables.nets import photos_of

BLOCK = 16


def in_blocks(values_HW: F64) -> F64:
    """Means over whole blocks (rows, columns)."""
    rows, columns = values_HW.shape[0] // BLOCK, values_HW.shape[1] // BLOCK
    means: F64 = values_HW[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK).mean(axis=(1, 3))
    return means


def visibility(photo_HWC: U8, file_HWC: U8) -> tuple[float, float, float]:
    """The largest and the mean visibility of a block, and the root mean square of the change in smooth blocks, in levels."""
    change = np.sqrt(in_blocks(np.square(file_HWC.astype(float) - photo_HWC).mean(axis=2)))
    seen = change / in_blocks(jnd_levels(photo_HWC).astype(float))
    y_HW = photo_HWC.astype(float).mean(axis=2)
    spread = in_blocks(np.square(y_HW)) - np.square(in_blocks(y_HW))
    smooth = change[spread <= np.quantile(spread, 0.25)]
    return float(seen.max()), float(seen.mean()), float(np.sqrt(np.square(smooth).mean()))


def config_of(way: str) -> ProtectConfig:
    """The options of a way."""
    kind, epsilon, *recipe = way.split(":")
    return ProtectConfig("in", "out", region="square", mask=kind == "mask", epsilon=int(epsilon), recipe=(recipe or ["quick"])[0])


def line(way: str, paths: Sequence[Path], generator: str) -> str:
    """The numbers of a way as a line of the table: means over the photos."""
    stage, rows = Protect(dataclasses.replace(config_of(way), generator=(generator,)), threads=1), []
    for path in paths:
        photo = decode_photo(path.read_bytes())
        (work,) = stage([Work(PhotoRef(path.name, "", 0), path.name, photo=photo)])
        if work.pixels_HWC is None or work.effect is None:
            raise ValueError(f"{path.name}: {work.ended}")
        broken, pair = np.array(work.effect.l2) >= THRESHOLD, (photo.pixels_HWC, work.pixels_HWC)
        effect = 100 * float(broken.mean()), sum(work.effect.l2) / len(work.effect.l2)
        rows.append([*effect, psnr(*pair), ssim(*pair), *visibility(*pair), float(work.steps or 0)])
    dis, l2, dB, similar, most, mean, smooth, steps = np.array(rows).mean(axis=0)
    seen = f"{most:.2f} | {mean:.2f} | {smooth:.2f}"
    return f"| {way} | {dis:.1f} % | {l2:.3f} | {dB:.1f} | {similar:.4f} | {seen} | {steps:.1f} |"


def main() -> None:
    """Protect the faces each way and print the table."""
    parser = argparse.ArgumentParser(description="What is seen of a protection, with and without the mask.")
    parser.add_argument("faces", type=Path)
    parser.add_argument("--split", default="test", choices=("val", "test"))
    parser.add_argument("--photos", type=int, default=16)
    parser.add_argument("--generator", default=DEFAULT_GENERATOR)
    parser.add_argument("--ways", nargs="+", default=["plain:3", "plain:4", "plain:6", "mask:6", "mask:7", "mask:9"])
    args = parser.parse_args()
    paths = photos_of(args.faces, args.split)[: args.photos]
    print(f"{args.generator}, {len(paths)} faces of split {args.split}\n")
    print("| way | % dis. | L2 | PSNR dB | SSIM | largest visibility | mean | smooth blocks, levels | steps |")
    print(f"|{'---|' * 9}")
    for way in args.ways:
        print(line(way, paths, args.generator), flush=True)


if __name__ == "__main__":
    main()
