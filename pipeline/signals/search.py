"""Where in a picture a signal of the set lies: as signed, turned, mirrored or cropped. That there is none is an answer too."""

from __future__ import annotations

from functools import cached_property
from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.signals.detector import place
from pipeline.signals.handling import turned

LEAST_SHARE, SHARE_STEP = 0.78, 0.04
"""Windows that are searched show this share of a side or more; what lies between two of them is found by refining."""
REFINED = (0.02, 0.01, 0.005)
"""Steps, in shares of the side, by which the edges of a window are moved while that makes it fit better."""
ROUNDS = 4
"""Moves of each step."""
MOVES = tuple(edges for edges in product((-1, 0, 1), repeat=4) if sum(map(abs, edges)) in (1, 2))
"""Which edges of a window (left, top, right, bottom) are moved together, and which way."""
CERTAIN = 0.45
"""A signal of this likeness in the whole picture needs no search for a window."""
HANDICAP = 0.08
"""The best of many thousand windows fits a picture without a signal better than the best of a few whole ones, by about this."""
Window = tuple[float, float, float, float]


class Place(NamedTuple):
    """The signal of the set that fits best: its index, how it lies in the picture (2, 3) as `place` takes it, and its likeness.

    The likeness is the cosine between it and what was recovered, for a window less `HANDICAP`.
    """

    signal: int
    placement_23: Tensor
    likeness: float


class Search:
    """Looks for signals (n, 3, S, S) in what a detector recovered, one picture at a time so that no batch changes a digit."""

    def __init__(self, signals_n3SS: Tensor) -> None:
        self._signals = signals_n3SS
        self._small = F.avg_pool2d(signals_n3SS, 2)  # windows are searched at half the side: signals are mostly coarse
        self._turned = [F.pad(turned(mirrored, turns), (0, 1)) for mirrored, turns in product((False, True), range(4))]
        n = len(signals_n3SS)
        whole = [place(signals_n3SS, turn.expand(n, 2, 3)) for turn in self._turned]
        self._whole_TnD = F.normalize(torch.stack(whole).flatten(2), dim=2)

    def __call__(self, recovered_3SS: Tensor) -> Place:
        """The best place: the whole photo in one of eight turns, else a window of it, upright or mirrored."""
        unit_D = F.normalize(recovered_3SS.flatten(), dim=0)
        cosine_Tn = self._whole_TnD @ unit_D
        turn, signal = divmod(int(cosine_Tn.argmax()), len(self._signals))
        whole = Place(signal, self._turned[turn], float(cosine_Tn[turn, signal]))
        if whole.likeness >= CERTAIN:
            return whole
        signal, placement_23 = self._window(F.avg_pool2d(recovered_3SS, 2))
        cosine = float(F.normalize(place(self._signals[signal][None], placement_23[None]).flatten(), dim=0) @ unit_D)
        return max(whole, Place(signal, placement_23, cosine - HANDICAP), key=lambda each: each.likeness)

    def _window(self, small_3ss: Tensor) -> tuple[int, Tensor]:
        """The signal and the placement of the window of the photo that correlates best with the picture, upright or mirrored."""
        s, spectra = small_3ss.shape[-1], self._spectra
        length = spectra[-1][2].shape[-2]
        pictures_23ss = torch.fft.rfft2(torch.stack([small_3ss, small_3ss.flip(2)]), s=(length, length)).conj()
        best = (-1.0, 0, False, (0.0, 0.0, 1.0, 1.0))
        for width, height, signals_n3ss in spectra:
            correlation = torch.fft.irfft2((signals_n3ss[:, None] * pictures_23ss).sum(2), s=(length, length))
            down, across = round(s / height) - s + 1, round(s / width) - s + 1
            valid = correlation[..., :down, :across].flatten()  # the picture lies inside the photo
            at = int(valid.argmax())
            if float(valid[at]) > best[0]:
                rest, x = divmod(at, across)
                rest, y = divmod(rest, down)
                left, top = x * width / s, y * height / s
                best = (float(valid[at]), rest // 2, bool(rest % 2), (left, top, left + width, top + height))
        _, signal, mirrored, window = best
        return signal, _placement(self._refined(small_3ss, signal, mirrored, window), mirrored)

    @cached_property
    def _spectra(self) -> list[tuple[float, float, Tensor]]:
        """Of each width and height of a window: the signals enlarged so that the window is as large as a picture, as spectra."""
        s = self._small.shape[-1]
        shares = [1 - i * SHARE_STEP for i in range(round((1 - LEAST_SHARE) / SHARE_STEP) + 1)]
        length = round(s / shares[-1])
        spectra = []
        for width, height in product(shares, shares):
            large = F.interpolate(self._small, (round(s / height), round(s / width)), mode="bicubic", align_corners=False)
            rms = large.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-6)
            spectra.append((width, height, torch.fft.rfft2(large / rms, s=(length, length))))
        return spectra

    def _refined(self, small_3ss: Tensor, signal: int, mirrored: bool, window: Window) -> Window:
        """The window with its four edges moved to where it fits best."""
        unit_D = F.normalize(small_3ss.flatten(), dim=0)

        def likeness(windows: list[Window]) -> Tensor:
            placements = torch.stack([_placement(each, mirrored) for each in windows])
            placed = place(self._small[signal].expand(len(windows), -1, -1, -1), placements)
            return F.normalize(placed.flatten(1), dim=1) @ unit_D

        best = float(likeness([window])[0])
        for step in REFINED:
            for _ in range(ROUNDS):
                moved = [_moved(window, edges, step) for edges in MOVES]
                values = likeness(moved)
                at = int(values.argmax())
                if float(values[at]) <= best:
                    break
                window, best = moved[at], float(values[at])
        return window


def _moved(window: Window, edges: tuple[int, ...], step: float) -> Window:
    left, top, right, bottom = (edge + step * way for edge, way in zip(window, edges, strict=True))
    return left, top, right, bottom


def _placement(window: Window, mirrored: bool) -> Tensor:
    left, top, right, bottom = window
    width = left - right if mirrored else right - left
    return torch.tensor([[width, 0.0, left + right - 1], [0.0, bottom - top, top + bottom - 1]])
