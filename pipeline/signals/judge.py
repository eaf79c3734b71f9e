"""What the detector of a bundle says of pictures in 8 bits, whatever their size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pipeline.images.levels import pixels_to_unit
from pipeline.photos.photo import U8
from pipeline.signals.bundle import Bundle
from pipeline.signals.detector import Detector, seen
from pipeline.signals.signal_set import as_grey

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Judgement:
    """Of each picture: the probability that it is manipulated (B,), and the likeness of what it carries to each signal (B, n).

    Likeness is the cosine between the recovered signal and the signal of the set, -1 to 1. A picture that never carried a signal
    is not told from one that lost it: both count as manipulated.
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
    """The detector of a bundle, ready to look at pictures; one is made per process."""

    def __init__(self, bundle: Bundle, *, device: torch.device | str = "cpu") -> None:
        self.size = bundle.size
        self._detector = Detector(size=bundle.size, width=bundle.width)
        self._detector.load_state_dict({name: torch.from_numpy(array) for name, array in bundle.detector_weights().items()})
        self._start(torch.from_numpy(bundle.signals_nCHW), device)

    @classmethod
    def of(cls, detector: Detector, signals_nCHW: Tensor) -> Judge:
        """The same for a detector that is in no bundle yet, with its signals in any unit."""
        judge = cls.__new__(cls)
        judge.size, judge._detector = detector.size, detector
        judge._start(signals_nCHW, next(detector.parameters()).device)
        return judge

    def _start(self, signals_nCHW: Tensor, device: torch.device | str) -> None:
        self._device = torch.device(device)
        self._detector.to(self._device).eval().requires_grad_(False)
        signals_nCHW = signals_nCHW.detach().float().to(self._device)
        self._colour_nD, self._grey_nD = (F.normalize(x_nCHW.flatten(1), dim=1) for x_nCHW in (signals_nCHW, as_grey(signals_nCHW)))

    def __call__(self, pictures: Sequence[U8]) -> Judgement:
        """The judgement of upright pictures (H, W, 3 or 1) of any sizes; the others of a batch change nothing but rounding."""
        return self.of_tensors(torch.cat([self.prepared(pixels_HWC) for pixels_HWC in pictures]))

    def prepared(self, pixels_HWC: U8) -> Tensor:
        """A picture as the detector sees it, (1, 3, S, S)."""
        levels_CHW = torch.from_numpy(np.ascontiguousarray(pixels_HWC.transpose(2, 0, 1))).float()
        return seen(pixels_to_unit(levels_CHW)[None], self.size)

    @torch.no_grad()
    def of_tensors(self, x_BCHW: Tensor) -> Judgement:
        """The judgement of images (B, 3, H, W) in [-1, 1]."""
        x_BCHW = x_BCHW.to(self._device)
        found = self._detector(x_BCHW)
        recovered_BD = F.normalize(found.recovered_B3SS.flatten(1), dim=1)
        grey_B1 = (x_BCHW.amax(1) == x_BCHW.amin(1)).flatten(1).all(1, keepdim=True)
        likeness_Bn = torch.where(grey_B1, recovered_BD @ self._grey_nD.T, recovered_BD @ self._colour_nD.T)
        return Judgement(torch.sigmoid(-found.logit_B.double()).cpu().numpy(), likeness_Bn.cpu().numpy())
