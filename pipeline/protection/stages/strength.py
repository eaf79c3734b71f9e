"""How strong a disruption is: of each photo the largest epsilon whose file looks enough like it. No torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pipeline.images.quality import psnr, ssim
from pipeline.photos.photo import U8

T = TypeVar("T")


@dataclass(frozen=True)
class Floors:
    """What a file has to reach beside its photo: PSNR in dB, SSIM, None where anything does."""

    psnr: float | None
    ssim: float | None

    def reached(self, photo_HWC: U8, file_HWC: U8) -> bool:
        """Whether the file looks enough like its photo."""
        if self.psnr is not None and psnr(photo_HWC, file_HWC) < self.psnr:
            return False
        return self.ssim is None or ssim(photo_HWC, file_HWC) >= self.ssim

    def __str__(self) -> str:
        named = (("--min-psnr", self.psnr, " dB"), ("--min-ssim", self.ssim, ""))
        return " and ".join(f"{name} {value:g}{unit}" for name, value, unit in named if value is not None)


def strongest(
    count: int, made: Callable[[list[int], list[int]], Sequence[T]], is_good: Callable[[T], bool], *, least: int, most: int
) -> list[T | None]:
    """For each of ``count`` photos what is made at the largest strength from ``least`` to ``most`` that is good; None without one.

    ``made`` gets photos by number and a strength for each. The most is tried first, then halves: that finds the largest where less
    strength is never worse. What comes back was tried and is good in any case. Each photo goes by its own results alone.
    """
    best: list[T | None] = [None] * count
    low, high, next_try = [least - 1] * count, [most + 1] * count, [most] * count
    while open_now := [i for i in range(count) if high[i] - low[i] > 1]:
        for i, one in zip(open_now, made(open_now, [next_try[i] for i in open_now]), strict=True):
            if is_good(one):
                best[i], low[i] = one, next_try[i]
            else:
                high[i] = next_try[i]
            next_try[i] = (low[i] + high[i]) // 2
    return best
