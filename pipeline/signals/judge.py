"""The detector's judgement of 8-bit pictures of any size, and its scores of held-out files, from which thresholds come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.channels.channels import find_channels
from pipeline.images.resize import pixels_to_tensor
from pipeline.images.types import F32, F64, U8
from pipeline.photos.photo import Photo
from pipeline.signals.add import with_signal
from pipeline.signals.bundle import Bundle, Signals
from pipeline.signals.detector import Detector, detector_input
from pipeline.signals.signal_set import grey_signals

CHANNELS = ("clean", "jpeg-85", "half-size")
"""What held-out files go through before they are scored, in equal shares."""
AT_A_TIME = 64


@dataclass(frozen=True)
class Judgement:
    """Of each picture: the probability that it is manipulated (B,), and its likeness to each signal (B, n).

    Likeness is the cosine between the recovered signal and the signal of the set, -1 to 1. A picture that never carried a signal
    cannot be told from one that lost it: both count as manipulated.
    """

    manipulated_B: F64
    likeness_Bn: F32

    def which(self) -> list[int]:
        """The signal that each picture is most like; 0 for a set without signals."""
        return [int(row.argmax()) if row.size else 0 for row in self.likeness_Bn]

    def best(self) -> F32:
        """The likeness to that signal, (B,); -1 for a set without signals."""
        best_B: F32 = self.likeness_Bn.max(1, initial=-1.0)
        return best_B


class Judge:
    """A detector with its signals, ready to judge pictures on the detector's device; one is made per process."""

    def __init__(self, detector: Detector, signals_nCHW: Tensor) -> None:
        self.size = detector.size
        self._detector = detector.eval()
        self._device = next(detector.parameters()).device
        signals_nCHW = signals_nCHW.detach().float().to(self._device)
        self._colour_nD = F.normalize(signals_nCHW.flatten(1), dim=1)
        self._grey_nD = F.normalize(grey_signals(signals_nCHW).flatten(1), dim=1)

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
        detection = self._detector(x_BCHW)
        recovered_BD = F.normalize(detection.recovered_B3SS.flatten(1), dim=1)
        grey_B1 = (x_BCHW.amax(1) == x_BCHW.amin(1)).flatten(1).all(1, keepdim=True)
        likeness_Bn = torch.where(grey_B1, recovered_BD @ self._grey_nD.T, recovered_BD @ self._colour_nD.T)
        return Judgement(torch.sigmoid(-detection.logit_B.double()).cpu().numpy(), likeness_Bn.cpu().numpy())


def calibration_scores(
    signals: Signals, judge: Judge, photos: Sequence[U8], *, channels: Sequence[str] = CHANNELS
) -> dict[str, F64]:
    """Scores of held-out photos (H, W, 3) with a signal each (``untouched``) and without one (``plain``), rising; see `Bundle`.

    From these a false-positive rate becomes a threshold. Raises PhotoRefusedError for a photo that is too small.
    """

    def judgements(pictures: Sequence[U8]) -> list[Judgement]:
        files = [channel.apply(pixels, i) for channel in find_channels(channels) for i, pixels in enumerate(pictures)]
        return [judge(files[i : i + AT_A_TIME]) for i in range(0, len(files), AT_A_TIME)]

    signed = [with_signal(Photo(x, None, "PNG"), signals, i % signals.count) if signals.count else x for i, x in enumerate(photos)]
    return {
        "untouched": np.sort(np.concatenate([each.manipulated_B for each in judgements(signed)])),
        "plain": np.sort(np.concatenate([each.best() for each in judgements(photos)]).astype(np.float64)),
    }
