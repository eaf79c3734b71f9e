"""What detectors say of untouched and manipulated pictures after each channel, and how well that tells them apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.channels.channels import find_channels
from pipeline.evaluation.bootstrap import exact_interval, interval
from pipeline.generators.generator import Generator
from pipeline.images.levels import pixels_to_unit, unit_to_pixels
from pipeline.images.orientation import to_upright
from pipeline.photos.decode import decode_photo
from pipeline.photos.photo import U8, Photo
from pipeline.signals.add import with_signal
from pipeline.signals.bundle import Bundle
from pipeline.signals.judge import HONEST, Handle, Judge
from pipeline.signals.key import offsets_of
from pipeline.signals.manipulation import SourceName, load_source, manipulate
from pipeline.signals.measures import average_precision, roc_auc

F64 = NDArray[np.float64]
UNTOUCHED = "untouched"
ACTIVE, PASSIVE, DIFFERENCE = "with signals", "passive", "difference"
AT_A_TIME = 16
SECRET = b"disrupt: measurements"
"""By which photos are signed here."""
RATE = 0.01
"""False-positive rate of the decision; a bundle of fewer held-out people decides by the least rate that they vouch for."""
LOST = 2.0
"""Score of a picture without a signal: above any probability, since every picture here was signed."""
TPR, FPR = "TPR at the decision", "FPR at the decision"
MEASURES: dict[str, Callable[[F64, NDArray[np.bool_]], float]] = {
    "AP": average_precision,
    "ROC-AUC": roc_auc,
    TPR: lambda scores, truth: float((scores[truth] > 0).mean()),
    FPR: lambda scores, truth: float((scores[~truth] > 0).mean()),
}
SHARES = (TPR, FPR)
Scores = Mapping[tuple[str, str], F64]
"""How far above the decision each photo scores, by (who made the picture, channel); ``untouched`` is who left it alone."""
Lines = Mapping[tuple[str, str], Sequence[str]]
"""The generators whose mean a line shows, by (its label, seen or unseen)."""


class Translator(NamedTuple):
    """A generator as the table names it, and its group: seen by the detectors in training, or unseen."""

    label: str
    group: str
    generator: Generator

    def __call__(self, pictures: Sequence[U8]) -> list[U8]:
        """What it makes of pictures of one size; the class of the i-th depends on i alone."""
        class_B = torch.rand(len(pictures), generator=torch.Generator().manual_seed(0))
        out: list[U8] = []
        for i in range(0, len(pictures), AT_A_TIME):
            with torch.no_grad():
                y_BCHW = manipulate(self.generator, as_tensor(pictures[i : i + AT_A_TIME]), class_B[i : i + AT_A_TIME])
            out += list(unit_to_pixels(y_BCHW).permute(0, 2, 3, 1).numpy().astype(np.uint8))
        return out


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


def translator(words: str, group: str) -> Translator:
    """From ``name`` or ``name=weights``; the label is the name and, with weights, their folder."""
    name, _, weights = words.partition("=")
    label = f"{name} ({Path(weights).resolve().parent.name})" if weights else name
    return Translator(label, group, load_source(SourceName(name, Path(weights) if weights else None), "cpu", torch.float32))


def read_photos(paths: Sequence[Path], count: int) -> list[U8]:
    """The first ``count`` of these photos in colour, as upright pixels (H, W, 3).

    They have one size, that of the first; others are passed over.
    """
    photos: list[U8] = []
    for path in paths:
        photo = decode_photo(path.read_bytes())
        pixels_HWC = to_upright(photo.pixels_HWC, photo.orientation)
        if pixels_HWC.shape[2] == 3 and (not photos or pixels_HWC.shape == photos[0].shape):
            photos.append(pixels_HWC)
        if len(photos) == count:
            break
    return photos


def sign(photos: Sequence[U8], bundle: Bundle, *, offsets: Sequence[float] | None = None) -> list[U8]:
    """The photos with their signals, by `SECRET` or other ``offsets``; as they are for a bundle of none."""
    if not bundle.count:
        return list(photos)
    offsets = offsets_of(SECRET, bundle.count) if offsets is None else offsets
    return [with_signal(Photo(pixels, None, "PNG"), bundle, offsets) for pixels in photos]


def judge_of(bundle: Bundle) -> Judge:
    """The judge of a bundle who knows `SECRET`."""
    return Judge.from_bundle(bundle, offsets_of(SECRET, bundle.count))


def as_tensor(pictures: Sequence[U8]) -> Tensor:
    """Pictures (H, W, 3) of one size as (B, 3, H, W) in [-1, 1]."""
    return pixels_to_unit(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float())


def score(bundle: Bundle, judge: Judge, pictures: Sequence[U8]) -> F64:
    """How far above the bundle's decision each signed picture scores; it is caught above 0: manipulated, or without a signal."""
    limits = bundle.thresholds(max(RATE, bundle.least_rate))
    judgements = [judge(pictures[i : i + AT_A_TIME]) for i in range(0, len(pictures), AT_A_TIME)]
    manipulated_N, likeness_N = (
        np.concatenate([getattr(one, name) for one in judgements]) for name in ("manipulated_B", "likeness_B")
    )
    is_lost_N = np.zeros(len(pictures), bool) if limits.carries is None else likeness_N <= limits.carries
    return np.where(is_lost_N, LOST, manipulated_N) - limits.manipulated


def find_handlings(names: Sequence[str]) -> dict[str, Handle]:
    """What happens to pictures, by name: `HONEST`, else a channel. Raises ChannelError for an unknown name."""
    return {name: HONEST[name] if name in HONEST else find_channels([name])[0].apply for name in names}


def scores_of(bundle: Bundle, photos: Sequence[U8], translators: Sequence[Translator], channels: Sequence[str]) -> Scores:
    """The scores of photos with the bundle's signals, and of what each generator makes of these."""
    judge, signed = judge_of(bundle), sign(photos, bundle)
    made = {UNTOUCHED: signed, **{each.label: each(signed) for each in translators}}
    return {
        (who, name): score(bundle, judge, [handle(x, i) for i, x in enumerate(pictures)])
        for (who, pictures), (name, handle) in product(made.items(), find_handlings(channels).items())
    }


def numbers_of(methods: Mapping[str, Sequence[Scores]], lines: Lines, channels: Sequence[str], *, times: int) -> list[Number]:
    """Every measure of every line and method, with 95 % intervals; ``methods`` holds the scores of each seed.

    Each of ``times`` draws takes photos and seeds anew, the same photos for all methods.
    """
    methods = {method: seeds for method, seeds in methods.items() if seeds}
    photos = len(next(iter(methods[ACTIVE][0].values())))
    truth, rng = np.repeat([False, True], photos), np.random.default_rng(0)
    drawn_TP = np.vstack([np.arange(photos), rng.integers(0, photos, (times, photos))])  # all photos first, then each drawing
    numbers = []
    for channel, (name, measure) in product(channels, MEASURES.items()):
        tables = {
            (method, who): np.array(
                [
                    [measure(np.concatenate([one[UNTOUCHED, channel][i], one[who, channel][i]]), truth) for one in seeds]
                    for i in drawn_TP
                ]
            )
            for method, seeds in methods.items()
            for who in {who: None for generators in lines.values() for who in generators}
        }
        for (label, group), generators in lines.items():
            draws = {method: _over_seeds(np.mean([tables[method, who] for who in generators], 0)) for method in methods}
            if PASSIVE in draws:
                draws[DIFFERENCE] = draws[ACTIVE] - draws[PASSIVE]
            for method, values in draws.items():
                spread = interval(values[1:])
                if name in SHARES and method != DIFFERENCE:  # drawing anew says nothing of a share of 0 or 1
                    spread = exact_interval(float(values[0]), photos)
                numbers.append(Number(label, group, channel, method, name, float(values[0]), *spread))
    return numbers


def _over_seeds(table_TS: F64) -> F64:
    """The mean over all seeds first, then over those of each drawing: (1 + times,)."""
    rng, (draws, seeds) = np.random.default_rng(1), table_TS.shape
    which_TS = np.vstack([np.arange(seeds), rng.integers(0, seeds, (draws - 1, seeds))])
    return np.asarray(np.take_along_axis(table_TS, which_TS, 1).mean(1))
