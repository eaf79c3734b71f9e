"""What an attacker does to a signal or to the detector."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageFilter

from pipeline.photos.photo import U8
from pipeline.signals.bundle import Bundle
from pipeline.signals.judge import Judge
from pipeline.tables.signals.scores import F64, Translator, judge_of, score, sign

AVERAGED = (10, 100, 1000)


def outcomes(bundle: Bundle, photos: Sequence[U8], more: Sequence[U8], forger: Translator) -> Iterator[tuple[str, float, str]]:
    """Each attack, the share of pictures that are then caught at 1 % false positives, and what is wanted.

    ``more`` are other photos that the attacker collects with their signals; at most as many are used. To pass off: manipulated
    pictures that shall look untouched. To remove: the signal of an untouched photo shall be gone, so that it looks manipulated.
    """
    if not bundle.count:
        return
    judge = judge_of(bundle)

    def outcome(attack: str, pictures: Sequence[U8], wanted: str) -> tuple[str, float, str]:
        return attack, float((score(bundle, judge, pictures) > 0).mean()), wanted

    signed = sign(photos, bundle)
    fakes, fakes_of_plain = forger(signed), forger(photos)
    yield outcome("none: untouched photos", signed, "few")
    yield outcome("none: photos without a signal", photos, "")
    yield outcome(f"none: {forger.label}", fakes, "many")
    for sigma in (2, 4, 8):
        rng = np.random.default_rng(sigma)
        noisy = [_add(x, rng.normal(0, sigma, x.shape)) for x in fakes]
        yield outcome(f"pass off: noise of {sigma} levels on manipulated pictures", noisy, "many")
    signals: list[F64] = [np.subtract(x, photo, dtype=np.float64) for x, photo in zip(signed, photos, strict=True)]
    for count in (count for count in AVERAGED if count <= len(more)):
        guess = residue(sign(more[:count], bundle))
        cosine = float(np.mean([(guess * one).sum() / np.sqrt((guess**2).sum() * (one**2).sum()) for one in signals]))
        name = f"mean of {count} signed photos (cosine {cosine:.2f} to a signal)"
        yield outcome(f"remove: {name}, subtracted", [_add(x, -guess) for x in signed], "few")
        yield outcome(f"pass off: {name}, added to manipulated pictures", [_add(x, guess) for x in fakes], "many")
    for name, copied in (("its own signal", signals), ("that of another photo", [*signals[1:], signals[0]])):
        copies = [_add(x, one) for x, one in zip(fakes_of_plain, copied, strict=True)]
        yield outcome(f"pass off: {name}, known from its original, added to manipulated pictures", copies, "many")
    if len(signed) > 1:
        swapped = [_add(x, one) for x, one in zip(photos, [*signals[1:], signals[0]], strict=True)]
        yield outcome("pass off: the signal of another photo, added to photos that were never signed", swapped, "many")
    forged = sign(fakes_of_plain, bundle, offsets=Judge.from_bundle(bundle).offsets_in(signed[0]))
    yield outcome("pass off: signed anew with the bundle, offsets read from one photo", forged, "")


def residue(photos: Sequence[U8]) -> F64:
    """An attacker's guess of the signal that photos share: the mean of what a blur takes from them, (H, W, 3) in levels."""
    rest = [np.asarray(x, float) - np.asarray(Image.fromarray(x).filter(ImageFilter.GaussianBlur(2)), float) for x in photos]
    return np.asarray(np.mean(rest, axis=0))


def _add(pixels_HWC: U8, change: F64) -> U8:
    return (pixels_HWC + np.rint(change)).clip(0, 255).astype(np.uint8)
