"""What an attacker does to a signal or to the detector, and what a signal and a disruption do in one file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from pipeline.disruption.disrupt import Target, disrupt
from pipeline.disruption.recipes import RECIPES
from pipeline.disruption.streams import streams_for
from pipeline.images import THRESHOLD
from pipeline.images.effect import l2
from pipeline.images.levels import level_to_unit, unit_to_pixels
from pipeline.images.quality import psnr
from pipeline.images.resize import resize
from pipeline.photos.ball import linf_levels
from pipeline.photos.photo import U8
from pipeline.signals.bundle import Bundle
from pipeline.signals.judge import Judge
from pipeline.signals.measures import average_precision
from pipeline.tables.signals.pictures import Translator, as_tensor, sign
from pipeline.tables.signals.scores import score

F64 = NDArray[np.float64]
AVERAGED = (10, 100, 1000)
EPSILON = 6


class Outcome(NamedTuple):
    """An attack, the share of pictures that the detector then calls manipulated at 1 % false positives, and what is wanted."""

    attack: str
    called_manipulated: float
    wanted: str


class Together(NamedTuple):
    """One kind of file: the share of (photo, class) pairs that are disrupted, L2, AP of detection, farthest pixel and PSNR."""

    files: str
    disrupted: float
    l2: float
    ap: float
    linf_levels: int
    psnr: float


def outcomes(bundle: Bundle, photos: Sequence[U8], more: Sequence[U8], forger: Translator) -> Iterator[Outcome]:
    """Each attack in turn. ``more`` are other photos that the attacker collects with signal 0 on them; at most as many are used.

    To pass off: manipulated pictures that shall look untouched. To remove: the signal of an untouched photo shall be gone, so that
    the owner's own photo looks manipulated.
    """
    if not bundle.count:
        return
    judge, limit = Judge.from_bundle(bundle), bundle.threshold("untouched", 0.01)

    def outcome(attack: str, pictures: Sequence[U8], wanted: str) -> Outcome:
        return Outcome(attack, float((score(judge, pictures) > limit).mean()), wanted)

    signed = sign(photos, bundle, count=1)
    fakes = forger(signed)
    yield outcome("none: untouched photos", signed, "few")
    yield outcome("none: photos without a signal", photos, "")
    yield outcome(f"none: {forger.label}", fakes, "many")
    for sigma in (2, 4, 8):
        rng = np.random.default_rng(sigma)
        noisy = [_add(x, rng.normal(0, sigma, x.shape)) for x in fakes]
        yield outcome(f"pass off: noise of {sigma} levels on manipulated pictures", noisy, "many")
    signal = sign([np.full_like(photos[0], 128)], bundle)[0].astype(float) - 128
    for count in (count for count in AVERAGED if count <= len(more)):
        guess = residue(sign(more[:count], bundle, count=1))
        cosine = float((guess * signal).sum() / np.sqrt((guess**2).sum() * (signal**2).sum()))
        name = f"mean of {count} photos with one signal (cosine {cosine:.2f} to it)"
        yield outcome(f"remove: {name}, subtracted", [_add(x, -guess) for x in signed], "few")
        yield outcome(f"pass off: {name}, added to manipulated pictures", [_add(x, guess) for x in fakes], "many")
    yield outcome("remove: the signal itself, known, subtracted", [_add(x, -signal) for x in signed], "")
    yield outcome("pass off: the signal itself, known, added to manipulated pictures", [_add(x, signal) for x in fakes], "many")
    if bundle.count > 1:
        others = sign(photos, bundle, first=1, count=bundle.count - 1)
        yield outcome("remove: a known signal subtracted from photos that carry others", [_add(x, -signal) for x in others], "few")


def residue(photos: Sequence[U8]) -> F64:
    """An attacker's guess of the signal that photos share: the mean of what a blur takes from them, (H, W, 3) in levels."""
    rest = [np.asarray(x, float) - np.asarray(Image.fromarray(x).filter(ImageFilter.GaussianBlur(2)), float) for x in photos]
    return np.asarray(np.mean(rest, axis=0))


def together(bundle: Bundle, photos: Sequence[U8], translator: Translator) -> list[Together]:
    """Files with both, and with either alone, all within 6 levels of the photo: the signal first, the disruption in the rest."""
    signed = sign(photos, bundle)
    files = {
        f"disruption alone, {EPSILON} levels": _disrupt(photos, translator, EPSILON),
        f"signal alone, {bundle.budget:g} levels": signed,
        f"both in {EPSILON} levels": _disrupt(signed, translator, EPSILON - int(np.ceil(bundle.budget))),
    }
    return [_measure(name, some, photos, Judge.from_bundle(bundle), translator) for name, some in files.items()]


def _disrupt(photos: Sequence[U8], translator: Translator, epsilon: int) -> list[U8]:
    generator, out = translator.generator, []
    side = (generator.size, generator.size)
    target = Target(lambda x: resize(x, side), {name: generator.output(name) for name in generator.classes})
    for i, pixels in enumerate(photos):
        streams, x_BCHW = streams_for([str(i)], 0), as_tensor([pixels])
        y_BCHW = disrupt(x_BCHW, [target], RECIPES["pgd"], epsilon=level_to_unit(float(epsilon)), streams=streams)
        levels = unit_to_pixels(y_BCHW)[0].permute(1, 2, 0).numpy()
        out.append(np.clip(levels, pixels.astype(int) - epsilon, pixels.astype(int) + epsilon).astype(np.uint8))
    return out


def _measure(name: str, files: Sequence[U8], photos: Sequence[U8], judge: Judge, translator: Translator) -> Together:
    generator = translator.generator
    x_PCHW, y_PCHW = (resize(as_tensor(some), (generator.size, generator.size)) for some in (photos, files))
    with torch.no_grad():
        l2_PK = torch.stack([l2(generator(y_PCHW, c) - generator(x_PCHW, c)) for c in generator.classes], 1)
    scores = np.concatenate([score(judge, files), score(judge, translator(files))])
    return Together(
        name,
        disrupted=float((l2_PK >= THRESHOLD).float().mean()),
        l2=float(l2_PK.mean()),
        ap=average_precision(scores, np.repeat([False, True], len(files))),
        linf_levels=max(linf_levels(a, b) for a, b in zip(photos, files, strict=True)),
        psnr=min(psnr(a, b) for a, b in zip(photos, files, strict=True)),
    )


def _add(pixels_HWC: U8, change: F64) -> U8:
    return (pixels_HWC + np.rint(change)).clip(0, 255).astype(np.uint8)
