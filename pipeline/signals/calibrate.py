"""What the detector says of held-out files that nobody manipulated: from these scores a false-positive rate becomes a threshold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.channels.channels import find_channels
from pipeline.photos.photo import U8, Photo
from pipeline.signals.add import with_signal
from pipeline.signals.bundle import Bundle
from pipeline.signals.judge import Judge

CHANNELS = ("clean", "jpeg-85", "half-size")
"""What the files went through, in equal shares."""
AT_A_TIME = 64
F64 = NDArray[np.float64]


def scores_of(bundle: Bundle, judge: Judge, photos: Sequence[U8], *, channels: Sequence[str] = CHANNELS) -> dict[str, F64]:
    """Scores of photos (H, W, 3) with a signal each (``untouched``) and without one (``plain``), rising; see `Bundle`."""
    given = [Photo(pixels, None, "PNG") for pixels in photos]
    signed = [with_signal(photo, bundle, i % bundle.count) for i, photo in enumerate(given)] if bundle.count else list(photos)
    ways = find_channels(channels)

    def judged(pictures: Sequence[U8]) -> tuple[F64, F64]:
        arrived = [way.apply(pixels, i) for way in ways for i, pixels in enumerate(pictures)]
        found = [judge(arrived[i : i + AT_A_TIME]) for i in range(0, len(arrived), AT_A_TIME)]
        likenesses = np.concatenate([each.best() for each in found])
        return np.concatenate([each.manipulated_B for each in found]), likenesses.astype(np.float64)

    return {"untouched": np.sort(judged(signed)[0]), "plain": np.sort(judged(photos)[1])}
