"""What detectors say of untouched and of manipulated pictures after each channel, and the measures made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipeline.channels.channels import find_channels
from pipeline.photos.photo import U8
from pipeline.signals.bundle import Bundle
from pipeline.signals.judge import Judge
from pipeline.signals.measures import average_precision, roc_auc, tpr_at_fpr
from pipeline.tables.signals.pictures import Translator, grey_of, in_colour, signed

F64 = NDArray[np.float64]
UNTOUCHED = "untouched"
GREY = "clean, grey photos"
"""Stands among the channels for photos that were grey before they got their signals."""
AT_A_TIME = 32
Measure = Callable[[F64, NDArray[np.bool_]], float]
MEASURES: dict[str, Measure] = {
    "AP": average_precision,
    "ROC-AUC": roc_auc,
    "TPR at 1 % FPR": partial(tpr_at_fpr, false_positive_rate=0.01),
}


@dataclass(frozen=True)
class Scores:
    """Probabilities of manipulation, photo by photo, by (who made the picture, channel); ``untouched`` is who left it alone."""

    by: Mapping[tuple[str, str], F64]

    def measure(self, measure: Measure, who: str, channel: str, photos: NDArray[np.int64]) -> float:
        """How well pictures of ``who`` are told from untouched ones, on these photos (indices, repeats allowed)."""
        untouched, manipulated = self.by[UNTOUCHED, channel][photos], self.by[who, channel][photos]
        return measure(np.concatenate([untouched, manipulated]), np.repeat([False, True], len(photos)))


def scores_of(bundle: Bundle, photos: Sequence[U8], translators: Sequence[Translator], channels: Sequence[str]) -> Scores:
    """The scores of photos with the bundle's signals, and of what each generator makes of these; and of grey ones (`GREY`)."""
    judge, ways = Judge.from_bundle(bundle), find_channels(channels)
    coloured, grey = (_made_of(published, translators) for published in (signed(photos, bundle), signed(grey_of(photos), bundle)))
    scores = {
        (who, way.name): judged(judge, [way.apply(x, i) for i, x in enumerate(some)])
        for who, some in coloured.items()
        for way in ways
    }
    return Scores(scores | {(who, GREY): judged(judge, some) for who, some in grey.items()})


def _made_of(published: Sequence[U8], translators: Sequence[Translator]) -> dict[str, Sequence[U8]]:
    return {UNTOUCHED: published} | {each.label: each(in_colour(published)) for each in translators}


def judged(judge: Judge, pictures: Sequence[U8]) -> F64:
    """The probability of manipulation of each picture."""
    return np.concatenate([judge(pictures[i : i + AT_A_TIME]).manipulated_B for i in range(0, len(pictures), AT_A_TIME)])
