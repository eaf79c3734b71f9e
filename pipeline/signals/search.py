"""Where in a picture its signal lies: as signed, turned, mirrored or cropped. That there is none is an answer too."""

from __future__ import annotations

from collections.abc import Sequence
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
NEAR = 4
"""Shifts of up to so many pixels are no measure of chance: a signal is like itself a little beside its place."""
CERTAIN = 8.0
"""A signal of this likeness in the whole picture needs no search for a window."""
HANDICAP = 2.0
"""The best of many thousand windows fits a picture without a signal better than the best of a few whole ones, by about this."""
LOOSE = 1.5
"""Offsets that may be any fit a picture without a signal better than given ones, by about this."""
Window = tuple[float, float, float, float]


class Place(NamedTuple):
    """How the signal lies in the picture, (2, 3) as `place` takes it, the offsets of its pairs, in radians, and its likeness.

    The likeness is how well pairs fit there, with given offsets or with any, in standard deviations of how they fit elsewhere in
    the same picture; less `HANDICAP` for a window and `LOOSE` for any offsets. ``strengths`` says how much of each pair there is.
    """

    placement_23: Tensor
    offsets: tuple[float, ...]
    strengths: tuple[float, ...]
    likeness: float


class Search:
    """Looks for signals (n, 3, S, S) in what a detector recovered, one picture at a time so that no batch changes a digit.

    A pair is one signal of complex numbers here, and the mixture that a photo carries is the real part of the sum of the pairs,
    each turned back by its phase and its offset. So what was recovered is turned by the picture's own phases, place by place. Then
    it fits the pairs wherever they lie, and the angle of how it fits is the offset.
    """

    def __init__(self, signals_n3SS: Tensor) -> None:
        self._pairs_m3SS = torch.complex(signals_n3SS[0::2].contiguous(), signals_n3SS[1::2].contiguous())
        self._spectrum_m3SS = torch.fft.fft2(self._pairs_m3SS)
        small = F.avg_pool2d(signals_n3SS, 2)  # windows are searched at half the side: signals are mostly coarse
        self._small_m3ss = torch.complex(small[0::2].contiguous(), small[1::2].contiguous())
        self._turned = [F.pad(turned(mirrored, turns), (0, 1)) for mirrored, turns in product((False, True), range(4))]
        self._whole_Tm3SS = _placed(self._pairs_m3SS, torch.stack(self._turned))
        shift_S = torch.fft.fftfreq(signals_n3SS.shape[-1]).abs() * signals_n3SS.shape[-1]
        self._elsewhere_SS = torch.maximum(shift_S[:, None], shift_S[None]) >= NEAR

    def __call__(self, recovered_3SS: Tensor, phase_mSS: Tensor, offsets: Sequence[float] | None = None) -> Place:
        """The best place, by the given offsets too: the whole photo in one of eight turns, else a window, upright or mirrored."""
        turned_m3SS = recovered_3SS * torch.polar(torch.ones_like(phase_mSS), -phase_mSS)[:, None]
        chance = self._chance(turned_m3SS)
        fit_Tm = _fit(self._whole_Tm3SS, turned_m3SS)
        likeness_T = _likeness(fit_Tm, offsets, chance)
        turn = int(likeness_T.argmax())
        whole = _place(self._turned[turn], fit_Tm[turn], float(likeness_T[turn]))
        if whole.likeness >= CERTAIN:
            return whole
        window_23 = self._window(torch.complex(F.avg_pool2d(turned_m3SS.real, 2), F.avg_pool2d(turned_m3SS.imag, 2)))
        fit_1m = _fit(_placed(self._pairs_m3SS, window_23[None]), turned_m3SS)
        found = _place(window_23, fit_1m[0], float(_likeness(fit_1m, offsets, chance)[0]) - HANDICAP)
        return max(whole, found, key=lambda each: each.likeness)

    def _chance(self, turned_m3SS: Tensor) -> Tensor:
        """The standard deviation of how well all pairs fit by chance: with given offsets, over shifts of the whole picture."""
        picture_m3SS = torch.fft.fft2(turned_m3SS.conj()).conj()
        fit_mSS = torch.fft.ifft2((self._spectrum_m3SS * picture_m3SS).sum(1))
        chance: Tensor = (fit_mSS[:, self._elsewhere_SS].abs().square().mean(1).sum() / 2).sqrt().clamp_min(1e-12)
        return chance

    def _window(self, small_m3ss: Tensor) -> Tensor:
        """The placement of the window of the photo that correlates best with the picture, upright or mirrored."""
        s, spectra = small_m3ss.shape[-1], self._spectra
        length = spectra[-1][2].shape[-1]
        pictures_2m3ss = torch.fft.fft2(torch.stack([small_m3ss, small_m3ss.flip(3)]).conj(), s=(length, length)).conj()
        best = (-1.0, False, (0.0, 0.0, 1.0, 1.0))
        for width, height, pairs_m3ss in spectra:
            fit_2mss = torch.fft.ifft2((pairs_m3ss * pictures_2m3ss).sum(2))
            down, across = round(s / height) - s + 1, round(s / width) - s + 1
            valid = fit_2mss[..., :down, :across].abs().sum(1).flatten()  # the picture lies inside the photo
            at = int(valid.argmax())
            if float(valid[at]) > best[0]:
                rest, x = divmod(at, across)
                mirrored, y = divmod(rest, down)
                left, top = x * width / s, y * height / s
                best = (float(valid[at]), bool(mirrored), (left, top, left + width, top + height))
        return _placement(self._refined(small_m3ss, best[1], best[2]), best[1])

    @cached_property
    def _spectra(self) -> list[tuple[float, float, Tensor]]:
        """Of each width and height of a window: the pairs enlarged so that the window is as large as a picture, as spectra."""
        s = self._small_m3ss.shape[-1]
        shares = [1 - i * SHARE_STEP for i in range(round((1 - LEAST_SHARE) / SHARE_STEP) + 1)]
        length = round(s / shares[-1])
        spectra = []
        for width, height in product(shares, shares):
            size = (round(s / height), round(s / width))
            parts = (self._small_m3ss.real, self._small_m3ss.imag)
            large = torch.complex(*(F.interpolate(part, size, mode="bicubic", align_corners=False) for part in parts))
            rms = large.abs().square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-6)
            spectra.append((width, height, torch.fft.fft2(large / rms, s=(length, length))))
        return spectra

    def _refined(self, small_m3ss: Tensor, mirrored: bool, window: Window) -> Window:
        """The window with its four edges moved to where it fits best."""

        def likeness(windows: list[Window]) -> Tensor:
            placed = _placed(self._small_m3ss, torch.stack([_placement(each, mirrored) for each in windows]))
            rms = placed.abs().square().mean((2, 3, 4)).sqrt().clamp_min(1e-6)
            return (_fit(placed, small_m3ss).abs() / rms).sum(1)

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


def _placed(pairs_m3SS: Tensor, placement_W23: Tensor) -> Tensor:
    """All pairs in each of W places: (W, m, 3, S, S)."""
    parts_12m3SS = torch.view_as_real(pairs_m3SS).permute(4, 0, 1, 2, 3)[None]  # as planes of one image: places are reckoned once
    placed = place(parts_12m3SS.flatten(1, 3).expand(len(placement_W23), -1, -1, -1), placement_W23)
    return torch.complex(*placed.unflatten(1, parts_12m3SS.shape[1:4]).unbind(1))


def _place(placement_23: Tensor, fit_m: Tensor, likeness: float) -> Place:
    return Place(placement_23, tuple(fit_m.angle().tolist()), tuple(fit_m.abs().tolist()), likeness)


def _likeness(fit_Wm: Tensor, offsets: Sequence[float] | None, chance: Tensor) -> Tensor:
    """The likeness of the fit in each of W places, (W,)."""
    loose_W = fit_Wm.abs().sum(1) / chance - LOOSE
    if offsets is None:
        return loose_W
    given_m = torch.tensor(offsets, dtype=torch.float32)
    return torch.maximum(loose_W, (fit_Wm * torch.polar(torch.ones_like(given_m), -given_m)).real.sum(1) / chance)


def _fit(placed_Wm3SS: Tensor, turned_m3SS: Tensor) -> Tensor:
    """How well pairs in W places fit what was recovered and turned: (W, m), of complex numbers whose angle is the offset."""
    fit_Wm: Tensor = (placed_Wm3SS * turned_m3SS).sum((2, 3, 4))
    return fit_Wm


def _moved(window: Window, edges: tuple[int, ...], step: float) -> Window:
    left, top, right, bottom = (edge + step * way for edge, way in zip(window, edges, strict=True))
    return left, top, right, bottom


def _placement(window: Window, mirrored: bool) -> Tensor:
    left, top, right, bottom = window
    width = left - right if mirrored else right - left
    return torch.tensor([[width, 0.0, left + right - 1], [0.0, bottom - top, top + bottom - 1]])
