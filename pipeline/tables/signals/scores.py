"""What detectors say of untouched and manipulated pictures after each channel, and how well that tells them apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.channels.channels import find_channels
from pipeline.evaluation.bootstrap import interval
from pipeline.photos.photo import U8
from pipeline.signals.bundle import Bundle
from pipeline.signals.judge import Judge
from pipeline.signals.measures import average_precision, roc_auc, tpr_at_fpr
from pipeline.tables.signals.pictures import Translator, as_grey, sign

F64 = NDArray[np.float64]
UNTOUCHED = "untouched"
GREY = "clean, grey photos"
"""Stands among the channels for photos that were grey before they got their signals."""
ACTIVE, PASSIVE, DIFFERENCE = "with signals", "passive", "difference"
AT_A_TIME = 32
Measure = Callable[[F64, NDArray[np.bool_]], float]
MEASURES: dict[str, Measure] = {
    "AP": average_precision,
    "ROC-AUC": roc_auc,
    "TPR at 1 % FPR": partial(tpr_at_fpr, false_positive_rate=0.01),
}
Scores = Mapping[tuple[str, str], F64]
"""Probabilities of manipulation, photo by photo, by (who made the picture, channel); ``untouched`` is who left it alone."""


class Number(NamedTuple):
    """One line of the CSV."""

    who: str
    group: str
    channel: str
    method: str
    measure: str
    mean: float
    low: float
    high: float


class Line(NamedTuple):
    """A generator, or a mean of several, and whether detectors were trained on it."""

    who: str
    group: str
    generators: tuple[str, ...]


def scores_of(bundle: Bundle, photos: Sequence[U8], translators: Sequence[Translator], channels: Sequence[str]) -> Scores:
    """The scores of photos with the bundle's signals, and of what each generator makes of these; and of grey ones (`GREY`)."""
    judge, scores = Judge.from_bundle(bundle), {}
    for some, grey in ((photos, False), (as_grey(photos), True)):
        signed = sign(some, bundle)
        for who, pictures in {UNTOUCHED: signed, **{each.label: each(signed) for each in translators}}.items():
            if grey:
                scores[who, GREY] = score(judge, pictures)
                continue
            for channel in find_channels(channels):
                scores[who, channel.name] = score(judge, [channel.apply(x, i) for i, x in enumerate(pictures)])
    return scores


def score(judge: Judge, pictures: Sequence[U8]) -> F64:
    """The probability of manipulation of each picture."""
    return np.concatenate([judge(pictures[i : i + AT_A_TIME]).manipulated_B for i in range(0, len(pictures), AT_A_TIME)])


def numbers_of(
    methods: Mapping[str, Sequence[Scores]], lines: Sequence[Line], channels: Sequence[str], *, times: int
) -> list[Number]:
    """Every measure of every line and method, with 95 % intervals; ``methods`` holds the scores of each seed.

    Each draw takes photos and seeds anew, the same photos for all methods.
    """
    methods = {method: seeds for method, seeds in methods.items() if seeds}
    numbers = []
    for channel, (name, measure) in product(channels, MEASURES.items()):
        tables = {
            (method, who): np.array([_draws_of_photos(one, measure, who, channel, times) for one in seeds]).T
            for method, seeds in methods.items()
            for who in {who: None for line in lines for who in line.generators}
        }
        for line in lines:
            draws = {method: _over_seeds(np.mean([tables[method, who] for who in line.generators], 0)) for method in methods}
            if PASSIVE in draws:
                draws[DIFFERENCE] = draws[ACTIVE] - draws[PASSIVE]
            for method, values in draws.items():
                numbers.append(Number(line.who, line.group, channel, method, name, float(values[0]), *interval(values[1:])))
    return numbers


def _draws_of_photos(scores: Scores, measure: Measure, who: str, channel: str, times: int) -> F64:
    """The measure of all photos first, then of each drawing of them, (1 + times,)."""
    untouched, manipulated = scores[UNTOUCHED, channel], scores[who, channel]
    rng, photos = np.random.default_rng(0), len(untouched)
    draws = [np.arange(photos), *(rng.integers(0, photos, photos) for _ in range(times))]
    truth = np.repeat([False, True], photos)
    return np.array([measure(np.concatenate([untouched[index], manipulated[index]]), truth) for index in draws])


def _over_seeds(table_TS: F64) -> F64:
    """The mean over all seeds first, then over those of each drawing: (1 + times,)."""
    rng, (draws, seeds) = np.random.default_rng(1), table_TS.shape
    which = [np.arange(seeds), *(rng.integers(0, seeds, seeds) for _ in range(draws - 1))]
    return np.array([row[index].mean() for row, index in zip(table_TS, which, strict=True)])
