"""The detector's judgement of 8-bit pictures of any size, and its scores of held-out files, from which thresholds come."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.channels.channels import find_channels
from pipeline.images.resize import pixels_to_tensor
from pipeline.images.types import F64, U8
from pipeline.photos.photo import Photo
from pipeline.signals.add import with_signal
from pipeline.signals.bundle import GREY, Bundle, Signals
from pipeline.signals.detector import Detector, detector_input
from pipeline.signals.judgement import Judgement
from pipeline.signals.search import Place, Search
from pipeline.signals.signal_set import LUMA, grey_signals, mixed_signals, phases_of

AT_A_TIME = 64
CALIBRATION = b"disrupt: calibration"
"""In place of a secret, where held-out photos are signed."""
Handle = Callable[[U8, int], U8]


def _mirrored(pixels_HWC: U8, seed: int) -> U8:
    return pixels_HWC[:, ::-1].copy()


def _turned(pixels_HWC: U8, seed: int) -> U8:
    turned_HWC: U8 = np.rot90(pixels_HWC).copy()
    return turned_HWC


FIT_WEIGHT = 15.0
"""What a fit of 0 instead of 1 adds to the logit of a manipulation."""
HONEST: Mapping[str, Handle] = {
    **{channel.name: channel.apply for channel in find_channels(("clean", "jpeg-85", "webp-80", "half-size", "crop-10"))},
    "mirror": _mirrored,
    "turn": _turned,
}
"""What held-out files go through before they are scored: (pixels (H, W, 3 or 1), seed) -> pixels. Each must keep the rate."""


class Judge:
    """A detector with its signals, ready to judge pictures on the detector's device; one is made per process.

    ``offsets`` are what the secret decides. Without them a picture's own best ones are taken, and only that they are the same all
    over the picture tells anything.
    """

    def __init__(self, detector: Detector, signals_nCHW: Tensor, offsets: Sequence[float] | None = None) -> None:
        self.size = detector.size
        self._detector = detector.eval()
        self._device = next(detector.parameters()).device
        self._offsets = offsets
        self._signals = {False: signals_nCHW.detach().float().cpu()}
        self._signals[True] = grey_signals(self._signals[False])
        self._search = {grey: Search(signals) for grey, signals in self._signals.items()} if len(signals_nCHW) else {}

    @classmethod
    def from_bundle(cls, bundle: Bundle, offsets: Sequence[float] | None = None, *, device: torch.device | str = "cpu") -> Judge:
        """The detector and the signals of a bundle; raises BundleError for a file that can no longer be read."""
        detector = Detector(size=bundle.size, width=bundle.width)
        detector.load_state_dict({name: torch.from_numpy(array) for name, array in bundle.detector_weights().items()})
        return cls(detector.to(device), torch.from_numpy(bundle.signals_nCHW), offsets)

    def __call__(self, pictures: Sequence[U8]) -> Judgement:
        """The judgement of upright pictures (H, W, 3 or 1) of any sizes; the others of a batch change nothing but rounding."""
        return self.judge_tensors(torch.cat([detector_input(pixels_to_tensor(pixels_HWC), self.size) for pixels_HWC in pictures]))

    @torch.no_grad()
    def offsets_in(self, upright_HWC: U8) -> tuple[float, ...]:
        """The offsets that fit a signed picture (H, W, 3) best: what somebody with the bundle can read without the secret."""
        x_13SS = detector_input(pixels_to_tensor(upright_HWC), self.size)
        recovered_3SS = self._detector.recover(x_13SS.to(self._device)).signals_B3SS[0].float().cpu()
        return self._search[False](recovered_3SS, phases_of(x_13SS, len(self._signals[False]))[0]).offsets

    @torch.no_grad()
    def judge_tensors(self, x_BCHW: Tensor) -> Judgement:
        """The judgement of images (B, 3, S, S) in [-1, 1]."""
        seen_BCHW = x_BCHW.to(self._device)
        recovery = self._detector.recover(seen_BCHW)
        recovered_BCHW = recovery.signals_B3SS.float().cpu()
        grey_B = (x_BCHW.amax(1) == x_BCHW.amin(1)).flatten(1).all(1).tolist()
        placed_BCHW, likenesses, fits = torch.zeros_like(recovered_BCHW), [-1.0] * len(x_BCHW), [math.nan] * len(x_BCHW)
        phase_BmHW = phases_of(x_BCHW.float().cpu(), len(self._signals[False]))
        for i, grey in enumerate(grey_B if self._search else ()):
            found = self._search[grey](recovered_BCHW[i], phase_BmHW[i], self._offsets)
            offsets_1m = torch.tensor([found.offsets if self._offsets is None else self._offsets])
            mixed = mixed_signals(self._signals[grey], phase_BmHW[i : i + 1], offsets_1m, found.placement_23[None])
            placed_BCHW[i], likenesses[i] = mixed[0], found.likeness
            if self._offsets is not None:
                fits[i] = _agreement(found, self._offsets)
        detection = self._detector(seen_BCHW, recovery, placed_BCHW.to(self._device))
        suspicion_B = FIT_WEIGHT * (1 - torch.tensor(fits, dtype=torch.float64)).nan_to_num(0.0)
        return Judgement(
            torch.sigmoid(suspicion_B - detection.logit_B.double().cpu()).numpy(),
            np.array(likenesses, np.float32),
            np.array(fits, np.float32),
            torch.sigmoid(detection.changed_B1HW[:, 0].float()).cpu().numpy(),
            tuple(grey_B),
        )


def _agreement(found: Place, offsets: Sequence[float]) -> float:
    """The mean cosine between offsets as found and as they should be, each weighed by how much of its pair was found."""
    parts = zip(found.offsets, offsets, found.strengths, strict=True)
    return sum(math.cos(one - other) * much for one, other, much in parts) / max(sum(found.strengths), 1e-12)


def calibration_scores(
    signals: Signals,
    offsets: Sequence[float],
    judge: Callable[[Sequence[U8]], Judgement],
    photos: Sequence[U8],
    people: Sequence[str],
    *,
    handlings: Mapping[str, Handle] = HONEST,
) -> dict[str, F64]:
    """Scores of held-out photos (H, W, 3) of ``people``: each person's worst over photos and `HONEST` handlings, in no order.

    The photos are signed with ``offsets``, which the judge knows.
    ``untouched`` is the probability of manipulation and ``carried`` the likeness of files with a signal, ``plain`` the likeness of
    those without, which a bundle of no signals does not have; the same for grey files under `GREY` and the name. See `Bundle`.
    Raises PhotoRefusedError for a photo that is too small.
    """
    scores: dict[str, F64] = {}
    photos_of_each = [[i for i, one in enumerate(people) if one == person] for person in dict.fromkeys(people)]
    for prefix, files in (("", list(photos)), (GREY, [_as_grey(x) for x in photos])):
        n = signals.count
        signed = [with_signal(Photo(x, None, "PNG"), signals, offsets) if n else x for x in files]
        of_signed, of_plain = (
            [_judgements(judge, [handle(x, i) for i, x in enumerate(some)]) for handle in handlings.values()]
            for some in ((signed, files) if n else (signed, []))
        )
        worst: dict[str, tuple[Callable[[F64], Any], F64]] = {
            "untouched": (np.max, np.max([p for p, _ in of_signed], 0)),
            "carried": (np.min, np.min([likeness for _, likeness in of_signed], 0)),
        }
        if n:
            worst["plain"] = np.max, np.max([likeness for _, likeness in of_plain], 0)
        for kind, (pick, values) in worst.items():
            scores[prefix + kind] = np.array([pick(values[of_person]) for of_person in photos_of_each], np.float64)
    return scores


def _judgements(judge: Callable[[Sequence[U8]], Judgement], files: Sequence[U8]) -> tuple[F64, F64]:
    """Probabilities and likenesses of files, each (N,)."""
    some = [judge(files[i : i + AT_A_TIME]) for i in range(0, len(files), AT_A_TIME)]
    probabilities, likenesses = [each.manipulated_B for each in some], [each.likeness_B.astype(np.float64) for each in some]
    return np.concatenate([np.empty(0), *probabilities]), np.concatenate([np.empty(0), *likenesses])


def _as_grey(pixels_HWC: U8) -> U8:
    luma_HW = np.rint(pixels_HWC.astype(np.float64) @ np.array(LUMA))
    grey_HW1: U8 = luma_HW.astype(np.uint8)[..., None]
    return grey_HW1
