"""The detector's judgement of 8-bit pictures of any size, and its scores of held-out files, from which thresholds come."""

from __future__ import annotations

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
from pipeline.signals.detector import Detector, detector_input, place
from pipeline.signals.judgement import Judgement
from pipeline.signals.search import Search
from pipeline.signals.signal_set import LUMA, grey_signals

AT_A_TIME = 64
Handle = Callable[[U8, int], U8]


def _mirrored(pixels_HWC: U8, seed: int) -> U8:
    return pixels_HWC[:, ::-1].copy()


def _turned(pixels_HWC: U8, seed: int) -> U8:
    turned_HWC: U8 = np.rot90(pixels_HWC).copy()
    return turned_HWC


HONEST: Mapping[str, Handle] = {
    **{channel.name: channel.apply for channel in find_channels(("clean", "jpeg-85", "webp-80", "half-size", "crop-10"))},
    "mirror": _mirrored,
    "turn": _turned,
}
"""What held-out files go through before they are scored: (pixels (H, W, 3 or 1), seed) -> pixels. Each must keep the rate."""


class Judge:
    """A detector with its signals, ready to judge pictures on the detector's device; one is made per process."""

    def __init__(self, detector: Detector, signals_nCHW: Tensor) -> None:
        self.size = detector.size
        self._detector = detector.eval()
        self._device = next(detector.parameters()).device
        self._signals = {False: signals_nCHW.detach().float().cpu()}
        self._signals[True] = grey_signals(self._signals[False])
        self._search = {grey: Search(signals) for grey, signals in self._signals.items()} if len(signals_nCHW) else {}

    @classmethod
    def from_bundle(cls, bundle: Bundle, *, device: torch.device | str = "cpu") -> Judge:
        """The detector and the signals of a bundle; raises BundleError for a file that can no longer be read."""
        detector = Detector(size=bundle.size, width=bundle.width)
        detector.load_state_dict({name: torch.from_numpy(array) for name, array in bundle.detector_weights().items()})
        return cls(detector.to(device), torch.from_numpy(bundle.signals_nCHW))

    def __call__(self, pictures: Sequence[U8]) -> Judgement:
        """The judgement of upright pictures (H, W, 3 or 1) of any sizes; the others of a batch change nothing but rounding."""
        return self.judge_tensors(torch.cat([detector_input(pixels_to_tensor(pixels_HWC), self.size) for pixels_HWC in pictures]))

    @torch.no_grad()
    def judge_tensors(self, x_BCHW: Tensor) -> Judgement:
        """The judgement of images (B, 3, H, W) in [-1, 1]."""
        x_BCHW = x_BCHW.to(self._device)
        recovery = self._detector.recover(x_BCHW)
        recovered_BCHW = recovery.signals_B3SS.float().cpu()
        grey_B = (x_BCHW.amax(1) == x_BCHW.amin(1)).flatten(1).all(1).tolist()
        placed_BCHW, signals, likenesses = torch.zeros_like(recovered_BCHW), [0] * len(x_BCHW), [-1.0] * len(x_BCHW)
        for i, grey in enumerate(grey_B if self._search else ()):
            signals[i], placement_23, likenesses[i] = self._search[grey](recovered_BCHW[i])
            placed_BCHW[i] = place(self._signals[grey][signals[i]][None], placement_23[None])[0]
        detection = self._detector(x_BCHW, recovery, placed_BCHW.to(self._device))
        return Judgement(
            torch.sigmoid(-detection.logit_B.double()).cpu().numpy(),
            tuple(signals),
            np.array(likenesses, np.float32),
            torch.sigmoid(detection.changed_B1HW[:, 0].float()).cpu().numpy(),
            tuple(grey_B),
        )


def calibration_scores(
    signals: Signals,
    judge: Callable[[Sequence[U8]], Judgement],
    photos: Sequence[U8],
    people: Sequence[str],
    *,
    handlings: Mapping[str, Handle] = HONEST,
) -> dict[str, F64]:
    """Scores of held-out photos (H, W, 3) of ``people``: each person's worst over photos and `HONEST` handlings, in no order.

    ``untouched`` is the probability of manipulation and ``carried`` the likeness of files with a signal, ``plain`` the likeness of
    those without, which a bundle of no signals does not have; the same for grey files under `GREY` and the name. See `Bundle`.
    Raises PhotoRefusedError for a photo that is too small.
    """
    scores: dict[str, F64] = {}
    photos_of_each = [[i for i, one in enumerate(people) if one == person] for person in dict.fromkeys(people)]
    for prefix, files in (("", list(photos)), (GREY, [_as_grey(x) for x in photos])):
        n = signals.count
        signed = [with_signal(Photo(x, None, "PNG"), signals, i % n) if n else x for i, x in enumerate(files)]
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
