"""PSNR and SSIM against closed forms and against a direct, window by window, float64 reference."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.images import quality
from pipeline.images.quality import psnr, ssim
from pipeline.images.types import U8


def ssim_by_windows(a_HWC: U8, b_HWC: U8, rows: Iterable[int] | None = None) -> float:
    """The published formula, one window after the other, nothing shared with the code under test."""
    height, width, channels = a_HWC.shape
    size = min(11, height if height % 2 else height - 1, width if width % 2 else width - 1)
    weights = np.array([[math.exp(-((i - size // 2) ** 2 + (j - size // 2) ** 2) / 4.5) for j in range(size)] for i in range(size)])
    weights /= weights.sum()
    values = []
    for c in range(channels):
        for i in range(height - size + 1) if rows is None else rows:
            for j in range(width - size + 1):
                p = a_HWC[i : i + size, j : j + size, c].astype(np.float64)
                q = b_HWC[i : i + size, j : j + size, c].astype(np.float64)
                mean_p, mean_q = (weights * p).sum(), (weights * q).sum()
                var_p, var_q = (weights * (p - mean_p) ** 2).sum(), (weights * (q - mean_q) ** 2).sum()
                cov = (weights * (p - mean_p) * (q - mean_q)).sum()
                luminance = (2 * mean_p * mean_q + 6.5025) / (mean_p**2 + mean_q**2 + 6.5025)
                structure = (2 * cov + 58.5225) / (var_p + var_q + 58.5225)
                values.append(luminance * structure)
    return float(np.mean(values))


def pair(seed: int, height: int, width: int, channels: int, noise: int) -> tuple[U8, U8]:
    """A smooth picture with texture, and the same with noise of up to ``noise`` levels."""
    rng = np.random.default_rng(seed)
    smooth = np.linspace(0, 255, height)[:, None, None] * np.linspace(0.2, 1, width)[None, :, None] * np.ones(channels)
    a = np.clip(smooth + rng.normal(0, 12, (height, width, channels)), 0, 255)
    b = np.clip(a + rng.integers(-noise, noise + 1, a.shape), 0, 255)
    return a.astype(np.uint8), b.astype(np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "channels"), [(11, 11, 1), (24, 17, 3), (13, 40, 3), (7, 30, 3), (10, 10, 1), (2, 5, 1)]
)
@pytest.mark.parametrize("noise", [1, 6, 255])
def test_ssim_equals_the_formula_applied_window_by_window(height: int, width: int, channels: int, noise: int) -> None:
    a, b = pair(3, height, width, channels, noise)
    assert ssim(a, b) == pytest.approx(ssim_by_windows(a, b), abs=2e-6)


def test_of_many_rows_ssim_takes_the_windows_of_48_in_the_middles_of_48_equal_bands() -> None:
    a, b = pair(5, 5 * 48 + 10, 14, 1, 6)
    assert ssim(a, b) == pytest.approx(ssim_by_windows(a, b, rows=range(2, 5 * 48, 5)), abs=2e-6)
    assert ssim(a, b) == pytest.approx(ssim_by_windows(a, b), abs=2e-3)
    short = pair(5, 48 + 10, 14, 1, 6)
    assert ssim(*short) == pytest.approx(ssim_by_windows(*short), abs=2e-6)


def test_ssim_of_flat_pictures_has_a_closed_form() -> None:
    a, b = np.full((32, 32, 3), 100, np.uint8), np.full((32, 32, 3), 150, np.uint8)
    exact = (2 * 100 * 150 + 6.5025) / (100**2 + 150**2 + 6.5025)
    assert ssim(a, b) == pytest.approx(exact, abs=2e-5)  # 50 levels, squared, in float32


def test_where_the_strips_are_cut_does_not_change_ssim(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = pair(5, 90, 31, 3, 6)
    whole = ssim(a, b)
    for values in (1, 31 * 17, 31 * 3 * 11 * 7):
        monkeypatch.setattr(quality, "STRIP_VALUES", values)
        assert ssim(a, b) == pytest.approx(whole, abs=1e-9)
        assert psnr(a, b) == pytest.approx(20 * math.log10(255) - 10 * math.log10(np.mean((a.astype(float) - b) ** 2)), rel=1e-12)


@given(seed=st.integers(0, 10_000), height=st.integers(1, 30), width=st.integers(1, 30), channels=st.sampled_from([1, 3]))
@settings(max_examples=40, deadline=None)
def test_equal_pictures_score_one_and_the_order_of_two_does_not_matter(seed: int, height: int, width: int, channels: int) -> None:
    a, b = pair(seed, height, width, channels, 40)
    assert ssim(a, a) == 1
    assert psnr(a, a) == math.inf
    assert ssim(a, b) == pytest.approx(ssim(b, a), abs=1e-6)
    assert -1 <= ssim(a, b) <= 1
    assert psnr(a, b) == psnr(b, a)


def test_more_noise_scores_lower() -> None:
    scores = [(psnr(*pair(7, 64, 64, 3, noise)), ssim(*pair(7, 64, 64, 3, noise))) for noise in (1, 3, 6, 12)]
    assert scores == sorted(scores, reverse=True)


def test_psnr_of_a_constant_difference_of_six_levels() -> None:
    a = np.full((20, 30, 3), 100, np.uint8)
    assert psnr(a, a + np.uint8(6)) == pytest.approx(20 * math.log10(255 / 6))
    assert psnr(a, a - np.uint8(6)) == pytest.approx(20 * math.log10(255 / 6))


def test_a_photo_of_many_pixels_needs_little_memory_beside_itself() -> None:
    a = np.zeros((3000, 1000, 3), np.uint8)
    b = a + np.uint8(3)
    tracemalloc.start()
    ssim(a, b)
    psnr(a, b)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 * 2**20


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_other_shapes_and_other_types_are_refused(measure: object) -> None:
    assert callable(measure)
    a = np.zeros((20, 20, 3), np.uint8)
    for other in (a[:10], a[..., 0], a.astype(np.float32)):
        with pytest.raises(ValueError, match="expected"):
            measure(a, other)
    with pytest.raises(ValueError, match="expected"):
        measure(a[:0], a[:0])


def test_black_against_white_has_zero_decibels() -> None:
    assert psnr(np.zeros((20, 30, 3), np.uint8), np.full((20, 30, 3), 255, np.uint8)) == 0
