"""Where in a picture a signal of the set lies: as signed, turned, mirrored or cropped. No signal found is an answer too."""

from __future__ import annotations

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
CERTAIN = 0.5
"""A signal of this likeness in its own place needs no search for a better one."""
Window = tuple[float, float, float, float]


class Place(NamedTuple):
    """The signal of the set that fits best: its index, how it lies in the picture (2, 3) as `place` takes it, and the cosine."""

    signal: int
    placement_23: Tensor
    likeness: float


class Search:
    """Looks for signals (n, 3, S, S) in what a detector recovered, one picture at a time so that no batch changes a digit."""

    def __init__(self, signals_n3SS: Tensor) -> None:
        self._signals = signals_n3SS
        self._turned = [F.pad(turned(mirrored, turns), (0, 1)) for mirrored, turns in product((False, True), range(4))]
        n = len(signals_n3SS)
        whole = [place(signals_n3SS, turn.expand(n, 2, 3)) for turn in self._turned]
        self._whole_TnD = F.normalize(torch.stack(whole).flatten(2), dim=2)
        self._spectra: list[tuple[float, float, Tensor]] | None = None

    def __call__(self, recovered_3SS: Tensor) -> Place:
        """The best place: the whole photo in one of eight turns, else a window of it, upright or mirrored."""
        unit_D = F.normalize(recovered_3SS.flatten(), dim=0)
        cosine_Tn = self._whole_TnD @ unit_D
        best = int(cosine_Tn.argmax())
        turn, signal = divmod(best, len(self._signals))
        found = Place(signal, self._turned[turn], float(cosine_Tn[turn, signal]))
        if found.likeness >= CERTAIN:
            return found
        return max(found, self._refined(recovered_3SS, *self._window(recovered_3SS)), key=lambda each: each.likeness)

    def _window(self, recovered_3SS: Tensor) -> tuple[int, bool, Window]:
        """The signal, whether mirrored, and the window of the photo where the correlation is largest."""
        S = recovered_3SS.shape[-1]
        spectra = self._windows()
        best = (-1.0, 0, False, (0.0, 0.0, 1.0, 1.0))
        length = spectra[-1][2].shape[-2]
        sides = (recovered_3SS, recovered_3SS.flip(2))
        pictures = torch.fft.rfft2(torch.stack(sides), s=(length, length)).conj()
        for width, height, spectrum_n3 in spectra:
            correlation = torch.fft.irfft2((spectrum_n3[:, None] * pictures[None]).sum(2), s=(length, length))
            down, across = round(S / height) - S + 1, round(S / width) - S + 1
            valid = correlation[..., :down, :across].flatten()
            at = int(valid.argmax())
            value = float(valid[at])
            if value > best[0]:
                rest, x = divmod(at, across)
                rest, y = divmod(rest, down)
                signal, mirrored = divmod(rest, 2)
                left, top = x * width / S, y * height / S
                best = (value, signal, bool(mirrored), (left, top, left + width, top + height))
        return best[1:]

    def _windows(self) -> list[tuple[float, float, Tensor]]:
        """Of each size of a window: the signals enlarged so that the window is as large as a picture, as spectra."""
        if self._spectra is None:
            S = self._signals.shape[-1]
            count = round((1 - LEAST_SHARE) / SHARE_STEP) + 1
            shares = [1 - i * SHARE_STEP for i in range(count)]
            length = round(S / shares[-1])
            self._spectra = []
            for width, height in product(shares, shares):
                size = (round(S / height), round(S / width))
                large = F.interpolate(self._signals, size, mode="bicubic", align_corners=False)
                norm = large.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-6)
                self._spectra.append((width, height, torch.fft.rfft2(large / norm, s=(length, length))))
        return self._spectra

    def _refined(self, recovered_3SS: Tensor, signal: int, mirrored: bool, window: Window) -> Place:
        """The window with its four edges moved to where it fits best."""
        unit_D = F.normalize(recovered_3SS.flatten(), dim=0)

        def fits(windows: list[Window]) -> Tensor:
            placements = torch.stack([_placement(each, mirrored) for each in windows])
            return F.normalize(place(self._signals[signal].expand(len(windows), -1, -1, -1), placements).flatten(1), dim=1) @ unit_D

        likeness = float(fits([window])[0])
        for step in REFINED:
            for _ in range(4):
                moved = [_moved(window, edges, step) for edges in MOVES]
                values = fits(moved)
                at = int(values.argmax())
                if float(values[at]) <= likeness:
                    break
                window, likeness = moved[at], float(values[at])
        return Place(signal, _placement(window, mirrored), likeness)


MOVES = tuple(edges for edges in product((-1, 0, 1), repeat=4) if sum(map(abs, edges)) in (1, 2))
"""Which edges of a window (left, top, right, bottom) are moved together, and which way."""


def _moved(window: Window, edges: tuple[int, ...], step: float) -> Window:
    left, top, right, bottom = (edge + step * way for edge, way in zip(window, edges, strict=True))
    return left, top, right, bottom


def _placement(window: Window, mirrored: bool) -> Tensor:
    left, top, right, bottom = window
    width = left - right if mirrored else right - left
    return torch.tensor([[width, 0.0, left + right - 1], [0.0, bottom - top, top + bottom - 1]])
