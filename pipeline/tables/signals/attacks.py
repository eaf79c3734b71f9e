"""What an attacker does to a signal or to the detector."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageFilter

from pipeline.photos.photo import U8
from pipeline.signals.bundle import Bundle
from pipeline.signals.judge import Judge
from pipeline.tables.signals.scores import F64, Translator, score, sign

AVERAGED = (10, 100, 1000)


def outcomes(bundle: Bundle, photos: Sequence[U8], more: Sequence[U8], forger: Translator) -> Iterator[tuple[str, float, str]]:
    """Each attack, the share of pictures that the detector then calls manipulated at 1 % false positives, and what is wanted.

    ``more`` are other photos that the attacker collects with signal 0 on them; at most as many are used. To pass off: manipulated
    pictures that shall look untouched. To remove: the signal of an untouched photo shall be gone, so that it looks manipulated.
    """
    if not bundle.count:
        return
    judge = Judge.from_bundle(bundle)

    def outcome(attack: str, pictures: Sequence[U8], wanted: str) -> tuple[str, float, str]:
        return attack, float((score(bundle, judge, pictures) > 0).mean()), wanted

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


def _add(pixels_HWC: U8, change: F64) -> U8:
    return (pixels_HWC + np.rint(change)).clip(0, 255).astype(np.uint8)
