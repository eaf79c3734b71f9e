"""A signal and a disruption in one file: what each does there, beside what it does alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.disruption.disrupt import Target, disrupt
from pipeline.disruption.recipes import RECIPES
from pipeline.disruption.streams import streams_for
from pipeline.images import THRESHOLD
from pipeline.images.effect import l2
from pipeline.images.levels import level_to_unit, unit_to_pixels
from pipeline.images.resize import resize
from pipeline.photos.ball import linf_levels
from pipeline.photos.photo import U8
from pipeline.signals.bundle import Bundle
from pipeline.signals.judge import Judge
from pipeline.signals.manipulation import load_source
from pipeline.signals.measures import average_precision
from pipeline.tables.signals.pictures import Translator, as_tensor, psnr_each, signed
from pipeline.tables.signals.scores import judged

EPSILON = 6


@dataclass(frozen=True)
class Together:
    """One kind of file: the share of (photo, class) pairs that are disrupted, L2, AP of detection, farthest pixel and PSNR."""

    files: str
    disrupted: float
    l2: float
    ap: float
    linf_levels: int
    psnr: float


def together(bundle: Bundle, photos: Sequence[U8], translator: Translator) -> list[Together]:
    """Files with both, with either alone; all within 6 levels of the photo, the signal first, the disruption in what is left."""
    judge, carrying = Judge.from_bundle(bundle), signed(photos, bundle)
    left = EPSILON - int(np.ceil(bundle.budget))
    files = {
        f"disruption alone, {EPSILON} levels": _disrupted(photos, translator, EPSILON),
        f"signal alone, {bundle.budget:g} levels": carrying,
        f"both in {EPSILON} levels": _disrupted(carrying, translator, left),
    }
    return [_measured(name, some, photos, judge, translator) for name, some in files.items()]


def _disrupted(photos: Sequence[U8], translator: Translator, epsilon: int) -> list[U8]:
    generator = load_source(translator.source, "cpu", torch.float32)
    target = Target(lambda x: _seen(x, generator.size), {name: generator.output(name) for name in generator.classes})
    out: list[U8] = []
    for i, pixels in enumerate(photos):
        x_BCHW = as_tensor([pixels])
        y_BCHW = disrupt(x_BCHW, [target], RECIPES["pgd"], epsilon=level_to_unit(float(epsilon)), streams=streams_for([str(i)], 0))
        levels = unit_to_pixels(y_BCHW)[0].permute(1, 2, 0).numpy()
        out.append(np.clip(levels, pixels.astype(int) - epsilon, pixels.astype(int) + epsilon).astype(np.uint8))
    return out


def _measured(name: str, files: Sequence[U8], photos: Sequence[U8], judge: Judge, translator: Translator) -> Together:
    generator = load_source(translator.source, "cpu", torch.float32)
    with torch.no_grad():
        seen, clean = (_seen(as_tensor(some), generator.size) for some in (files, photos))
        l2_PK = torch.stack([l2(generator(seen, c) - generator(clean, c)) for c in generator.classes], 1)
    scores = np.concatenate([judged(judge, files), judged(judge, translator(files))])
    return Together(
        files=name,
        disrupted=float((l2_PK >= THRESHOLD).float().mean()),
        l2=float(l2_PK.mean()),
        ap=average_precision(scores, np.repeat([False, True], len(files))),
        linf_levels=max(linf_levels(a, b) for a, b in zip(photos, files, strict=True)),
        psnr=min(psnr_each(photos, files)),
    )


def _seen(x_BCHW: Tensor, size: int) -> Tensor:
    return resize(x_BCHW, (size, size))
