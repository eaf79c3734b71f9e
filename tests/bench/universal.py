"""Universal perturbations: what they break, what they cost, and whether averages show them.

``python tests/bench/universal.py FACES BUNDLE``. FACES holds labels.csv (columns file, split); split test is measured, from whose
people nothing was learned. ``--set BUNDLE`` names a bundle of several perturbations for the averages, ``--large FOLDER`` photos for
the pace. All files are in 8 bits.

* Ways: the bundle alone (``--steps 0``), the recipe ``quick``, and ``quick`` that starts from the bundle.
* Pace: the same photos decoded, encoded and read back, without the perturbation and with it.
* Averages: an attacker averages what a low-pass filter takes out of many photos of split train that carry a perturbation, or each
  one of the set, scales that average in four ways and subtracts it from other photos; what is left is that of the way that undoes
  most. Another one first sorts the photos into as many clusters as there are perturbations, and subtracts the average of the
  cluster that a photo is most like.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from sklearn.cluster import KMeans

from pipeline.containers.find import find_photos
from pipeline.containers.listing import PhotoRef
from pipeline.generators.generator import Generator
from pipeline.images import THRESHOLD
from pipeline.images.quality import psnr
from pipeline.images.types import U8
from pipeline.jobs.options import DEFAULT_GENERATOR
from pipeline.photos.decode import decode_photo
from pipeline.photos.encode import encode_photo, read_back
from pipeline.photos.photo import PhotoBrokenError, PhotoRefusedError
from pipeline.protection.options import ProtectConfig
from pipeline.protection.row import Work
from pipeline.protection.stages.add import Add
from pipeline.protection.stages.disrupt import Protect, load_generators
from pipeline.protection.stages.perturb import Perturber
from pipeline.signals.key import choice_of
from pipeline.tables.nets import photos_of
from pipeline.universal.add import with_perturbation
from pipeline.universal.bundle import Universal, cosines, read_universal
from tests.bench.until import CHANNELS as LOSSY
from tests.bench.until import broken

SECRET = b"sixteen bytes at least"
CHANNELS = {"pairs": lambda x_HWC: x_HWC, **{name: LOSSY[name] for name in ("jpeg-92", "crop-5")}}
HEAD = ("way", "photos", *CHANNELS, "L2", "least L2", "levelled", "% levelled", "PSNR", "steps", "most", "cpu s")
COUNTS = (10, 100, 1000)
SIGMA = 2.0
"""Pixels: the low-pass filter of the attacker."""


def work_of(path: Path) -> Work:
    """A photo as it comes from reading."""
    data = path.read_bytes()
    return Work(PhotoRef(path.name, "", len(data)), path.name, data=data, photo=decode_photo(data))


def way(label: str, config: ProtectConfig, perturber: Perturber | None, paths: Sequence[Path]) -> str:
    """The numbers of one way to protect the photos, as a line of the table."""
    stage, seconds, done = Protect(config, threads=1, perturber=perturber), 0.0, []
    survived: dict[str, list[bool]] = {name: [] for name in CHANNELS}
    decibels = []
    for path in paths:
        work = work_of(path)
        before_HWC, began = work.photo.pixels_HWC, time.process_time()  # type: ignore[union-attr]
        (work,) = stage([work])
        seconds += time.process_time() - began
        if work.effect is None or work.pixels_HWC is None:
            continue
        done.append(work)
        decibels.append(psnr(before_HWC, work.pixels_HWC))
        for name, channel in CHANNELS.items():
            for generator in stage.generators:
                classes = generator.select_classes(config.classes)
                survived[name] += broken(generator, classes, channel(before_HWC), channel(work.pixels_HWC))
    effects = [work.effect for work in done if work.effect]
    l2s, levelled = ([v for effect in effects for v in getattr(effect, name)] for name in ("l2", "levelled"))
    steps = [work.steps or 0 for work in done]
    shares = [f"{share(values):.1f} %" for values in survived.values()]
    numbers = [
        f"{np.mean(l2s):.3f}",
        f"{min(l2s):.3f}",
        f"{np.mean(levelled):.3f}",
        f"{share(v >= THRESHOLD for v in levelled):.1f} %",
    ]
    numbers += [f"{np.mean(decibels):.1f}", f"{np.mean(steps):.2f}", str(max(steps)), f"{seconds / len(paths):.3f}"]
    return f"| {label} | {len(done)} | {' | '.join([*shares, *numbers])} |"


def share(values: Iterable[bool]) -> float:
    """Per cent that are true."""
    found = list(values)
    return 100 * sum(found) / len(found)


def pace(paths: Sequence[Path], perturber: Perturber) -> tuple[float, float]:
    """Photos a second, without the perturbation and with it: the best of three rounds, in turn."""
    stage, best = Add(None, perturber), [float("inf"), float("inf")]
    for _ in range(3):
        for with_it in (False, True):
            began = time.perf_counter()
            for path in paths:
                work = work_of(path)
                photo = work.photo
                assert photo is not None
                pixels_HWC = photo.pixels_HWC
                if with_it:
                    (work,) = stage([work])
                    pixels_HWC = work.pixels_HWC if work.pixels_HWC is not None else pixels_HWC
                read_back(encode_photo(photo, pixels_HWC, format="png"), photo, pixels_HWC, format="png")
            best[with_it] = min(best[with_it], time.perf_counter() - began)
    return len(paths) / best[0], len(paths) / best[1]


def high_pass(pixels_HWC: np.ndarray) -> np.ndarray:
    """What a low-pass filter takes out of a picture (H, W, 3)."""
    values = pixels_HWC.astype(np.float64)
    return np.asarray(values - gaussian_filter(values, (SIGMA, SIGMA, 0)))


def squares(paths: Sequence[Path], side: int) -> list[U8]:
    """The colour photos that are squares of this side."""
    photos = (decode_photo(path.read_bytes()).pixels_HWC for path in paths)
    return [pixels_HWC for pixels_HWC in photos if pixels_HWC.shape == (side, side, 3)]


def perturbed(universal: Universal, pixels_HWC: U8, key: str) -> U8:
    """A photo with the perturbation of its key."""
    side = pixels_HWC.shape[0]
    which = choice_of(SECRET, key, universal.count)
    return with_perturbation(pixels_HWC, universal, which, boxes=[(0, 0, side, side)])


def left(generator: Generator, universal: Universal, photos: Sequence[U8], means_KP: np.ndarray) -> tuple[float, str]:
    """Per cent of outputs that stay broken after that of the ``means`` that a photo is most like was subtracted, scaled best."""
    after: dict[str, list[bool]] = {}
    for i, pixels_HWC in enumerate(photos):
        carrier = perturbed(universal, pixels_HWC, f"test {i}")
        flat = high_pass(carrier).ravel()
        own = means_KP[int(np.argmax(means_KP @ flat / np.linalg.norm(means_KP, axis=1)))].reshape(carrier.shape)
        scale = universal.epsilon / np.sqrt((own**2).mean())
        ways = {"as it is": own, "half of epsilon": scale / 2 * own, "epsilon": scale * own}
        ways["signs"] = universal.epsilon * np.sign(own)
        for name, estimate in ways.items():
            attacked = np.clip(np.rint(carrier - estimate), 0, 255).astype(np.uint8)
            after.setdefault(name, []).extend(broken(generator, tuple(generator.classes), pixels_HWC, attacked))
    shares = {name: share(values) for name, values in after.items()}
    best = min(shares, key=lambda name: shares[name])
    return shares[best], best


def averages(generator: Generator, universal: Universal, learned: Sequence[U8], photos: Sequence[U8]) -> None:
    """The lines of one bundle: how much of its perturbations averages show, and what is left after they were subtracted."""
    patterns_nP = np.stack([high_pass(p.transpose(1, 2, 0)).ravel() for p in universal.signals_nCHW[:, :3]])
    patterns_nP /= np.linalg.norm(patterns_nP, axis=1, keepdims=True)
    passed = [high_pass(perturbed(universal, pixels_HWC, f"train {i}")).ravel() for i, pixels_HWC in enumerate(learned)]
    passed_NP = np.stack(passed).astype(np.float32)
    for count in COUNTS:
        some_NP = passed_NP[:count]
        means = {"all": some_NP.mean(0, keepdims=True)}
        if 1 < universal.count < len(some_NP):
            unit_NP = some_NP / np.linalg.norm(some_NP, axis=1, keepdims=True)
            labels_N = KMeans(universal.count, n_init=4, random_state=0).fit(unit_NP).labels_
            means["sorted"] = np.stack([some_NP[labels_N == k].mean(0) for k in range(universal.count)])
        for name, means_KP in means.items():
            likeness_Kn = means_KP @ patterns_nP.T / np.linalg.norm(means_KP, axis=1, keepdims=True)
            after, best = left(generator, universal, photos, means_KP)
            print(
                f"| {universal.count} | {len(some_NP)}, {name} | {likeness_Kn.max(1).mean():.2f} | {after:.1f} % ({best}) |",
                flush=True,
            )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Universal perturbations: effect, pace, averages.")
    parser.add_argument("faces", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--set", type=Path, help="a bundle of several perturbations")
    parser.add_argument("--large", type=Path, help="a folder of larger photos")
    parser.add_argument("--photos", type=int, default=24)
    parser.add_argument("--generator", nargs="+", default=[DEFAULT_GENERATOR])
    parser.add_argument("--parts", nargs="+", default=["ways", "pace", "averages"])
    args = parser.parse_args()
    torch.set_num_threads(1)
    universal, paths = read_universal(args.bundle), photos_of(args.faces, "test")[: args.photos]
    config = ProtectConfig("in", "out", generator=tuple(args.generator), universal=args.bundle, region="square")
    perturber = Perturber(universal, None if universal.count == 1 else SECRET)
    if "ways" in args.parts:
        print(f"{', '.join(args.generator)}, {len(paths)} faces of split test\n\n| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
        plain = dataclasses.replace(config, universal=None)
        print(way("universal alone", dataclasses.replace(config, steps=0), perturber, paths), flush=True)
        print(way("quick", plain, None, paths), flush=True)
        print(way("quick from universal", config, perturber, paths), flush=True)
        print(way("quick, all 20 steps", dataclasses.replace(plain, until="none"), None, paths), flush=True)
        print(way("the same from universal", dataclasses.replace(config, until="none"), perturber, paths), flush=True)
    if "pace" in args.parts:
        print("\n| photos | decode, encode, read back | with the perturbation |\n|---|---|---|")
        for folder in filter(None, (args.faces, args.large)):
            found = photos_of(folder, "test")[:200] if folder == args.faces else large_photos(folder)
            without, with_it = pace(found, perturber)
            pixels = np.mean([decode_photo(path.read_bytes()).pixels_HWC[..., 0].size for path in found])
            print(f"| {len(found)} of {pixels / 1e6:.2f} MP | {without:.1f} photos/s | {with_it:.1f} photos/s |", flush=True)
    if "averages" in args.parts:
        (generator,) = load_generators(dataclasses.replace(config, generator=tuple(args.generator[:1])))
        learned = squares(photos_of(args.faces, "train")[: max(COUNTS)], universal.size)
        photos = squares(paths, universal.size)
        print("\n| in the set | averaged | cosine to the nearest | % dis. left |\n|---|---|---|---|")
        for one in (universal, *([read_universal(args.set)] if args.set else [])):
            averages(generator, one, learned, photos)
            alike = cosines(one.signals_nCHW)
            if one.count > 1:
                others = alike[~np.eye(one.count, dtype=bool)]
                print(f"\ncosines in the set: mean {others.mean():.2f}, largest {others.max():.2f}")


def large_photos(folder: Path) -> list[Path]:
    """The photos of a folder that can be read."""
    found = []
    for ref in find_photos(folder).refs:
        with suppress(PhotoBrokenError, PhotoRefusedError):
            decode_photo(Path(ref.uri).read_bytes())
            found.append(Path(ref.uri))
    return found


if __name__ == "__main__":
    main()
