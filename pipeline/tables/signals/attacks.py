"""What an attacker does to a signal or to the detector, and what is left then."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from pipeline.photos.photo import U8, Photo
from pipeline.signals.add import with_signal
from pipeline.signals.bundle import Bundle
from pipeline.signals.judge import Judge
from pipeline.tables.signals.pictures import Translator
from pipeline.tables.signals.scores import judged

F64 = NDArray[np.float64]
AVERAGED = (10, 100, 1000)
NOISES = (2, 4, 8)


@dataclass(frozen=True)
class Outcome:
    """An attack, and the share of pictures that the detector then calls manipulated at 1 % false positives; what that means."""

    attack: str
    called_manipulated: float
    wants: str


def outcomes(bundle: Bundle, photos: Sequence[U8], more: Sequence[U8], forger: Translator) -> Iterator[Outcome]:
    """Each attack in turn. ``more`` are other photos that the attacker collects with signal 0 on them; at most as many are used.

    To pass off: manipulated pictures that shall look untouched. To remove: the signal of an untouched photo shall be gone, so that
    the owner's own photo looks manipulated.
    """
    judge, limit = Judge.from_bundle(bundle), bundle.threshold("untouched", 0.01)

    def caught(pictures: Sequence[U8]) -> float:
        return float((judged(judge, pictures) > limit).mean())

    first = [with_signal(Photo(x, None, "PNG"), bundle, 0) for x in photos]
    fakes = forger(first)
    yield Outcome("none: untouched photos", caught(first), "few")
    yield Outcome("none: photos without a signal", caught(photos), "")
    yield Outcome(f"none: {forger.label}", caught(fakes), "many")
    for sigma in NOISES:
        rng = np.random.default_rng(sigma)
        yield Outcome(
            f"pass off: noise of {sigma} levels on manipulated pictures",
            caught([_moved(x, rng.normal(0, sigma, x.shape)) for x in fakes]),
            "many",
        )
    true = _signal(bundle, 0, photos[0])
    for count in AVERAGED:
        taken = [with_signal(Photo(x, None, "PNG"), bundle, 0) for x in more[:count]]
        if len(taken) < count:
            continue
        guess = averaged(taken)
        likeness = float((guess * true).sum() / np.sqrt((guess**2).sum() * (true**2).sum()))
        name = f"mean of {count} photos with one signal (cosine {likeness:.2f} to it)"
        yield Outcome(f"remove: {name}, subtracted", caught([_moved(x, -guess) for x in first]), "few")
        yield Outcome(f"pass off: {name}, added to manipulated pictures", caught([_moved(x, guess) for x in fakes]), "many")
    yield Outcome("remove: the signal itself, known, subtracted", caught([_moved(x, -true) for x in first]), "")
    yield Outcome(
        "pass off: the signal itself, known, added to manipulated pictures", caught([_moved(x, true) for x in fakes]), "many"
    )
    if bundle.count > 1:
        others = [with_signal(Photo(x, None, "PNG"), bundle, 1 + i % (bundle.count - 1)) for i, x in enumerate(photos)]
        yield Outcome(
            "remove: a known signal subtracted from photos that carry others", caught([_moved(x, -true) for x in others]), "few"
        )


def averaged(photos: Sequence[U8]) -> F64:
    """An attacker's guess of the signal that photos share: the mean of what a blur takes from them, (H, W, 3) in levels."""
    rest = [np.asarray(x, float) - np.asarray(Image.fromarray(x).filter(ImageFilter.GaussianBlur(2)), float) for x in photos]
    return np.asarray(np.mean(rest, axis=0))


def _signal(bundle: Bundle, which: int, like: U8) -> F64:
    grey = np.full_like(like, 128)
    return with_signal(Photo(grey, None, "PNG"), bundle, which).astype(float) - 128


def _moved(pixels_HWC: U8, change: F64) -> U8:
    return (pixels_HWC + np.rint(change)).clip(0, 255).astype(np.uint8)
