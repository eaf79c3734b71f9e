"""A signal on a photo: in whole levels, over the photo as it is shown, within the budget."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.disruption.view import upright
from pipeline.photos.photo import Photo, PhotoRefusedError
from pipeline.signals import add
from pipeline.signals.add import with_signal
from pipeline.signals.binding import DRIVE
from pipeline.signals.bundle import Signals


def bundle_of(signals: np.ndarray, budget: float = 4.0) -> Signals:
    return Signals(signals.astype(np.float32), budget)


OFFSETS = (0.3, 5.1)


def grey_photo(height: int, width: int, *, value: int = 128, channels: int = 3, orientation: int = 1) -> Photo:
    return Photo(np.full((height, width, channels), value, np.uint8), None, "PNG", orientation=orientation)


def change(photo: Photo, bundle: Signals, offsets: Sequence[float] = OFFSETS) -> np.ndarray:
    return with_signal(photo, bundle, offsets).astype(int) - photo.pixels_HWC


def random_bundle(budget: float, *, size: int = 8, seed: int = 0) -> Signals:
    return bundle_of(np.random.default_rng(seed).uniform(-budget, budget, (4, 3, size, size)), budget)


def on_grey(signals_nCSS: np.ndarray, budget: float, offsets: Sequence[float] = OFFSETS) -> np.ndarray:
    """The mixture where there is no tint: each pair by cosine and sine of its offset."""
    weight = np.array([f(offset) for offset in offsets for f in (math.cos, math.sin)]) / math.sqrt(len(offsets))
    mixed: np.ndarray = np.clip(DRIVE * np.einsum("n,nchw->chw", weight, signals_nCSS), -budget, budget)
    return mixed


@pytest.mark.parametrize("size", [(8, 8), (5, 31), (64, 40)])
def test_a_signal_of_one_value_a_plane_moves_every_pixel_by_it(size: tuple[int, int]) -> None:
    values = np.array([1.5, -2.0, 0.4])
    bundle = bundle_of(np.stack([np.full((8, 8), v) for v in values])[None].repeat(2, 0))
    expected = np.rint((DRIVE * values * (math.cos(0.3) + math.sin(0.3))).clip(-4, 4))
    assert (change(grey_photo(*size), bundle, [0.3]) == expected).all()


def test_a_photo_of_the_signals_size_gets_the_rounded_signal_itself() -> None:
    bundle = random_bundle(3.7)
    expected = on_grey(bundle.signals_nCHW, 3.7).transpose(1, 2, 0)
    assert np.abs(change(grey_photo(8, 8), bundle) - expected).max() <= 0.5 + 1e-4


@given(
    st.floats(0.2, 12),
    st.builds(
        grey_photo,
        st.integers(4, 40),
        st.integers(4, 40),
        value=st.integers(0, 255),
        channels=st.sampled_from([1, 3]),
        orientation=st.integers(1, 8),
    ),
    st.tuples(st.floats(0, 7), st.floats(0, 7)),
)
def test_no_pixel_moves_further_than_the_budget_rounded_up(budget: float, photo: Photo, offsets: tuple[float, float]) -> None:
    before = photo.pixels_HWC.copy()
    moved = with_signal(photo, random_bundle(budget), offsets)
    assert moved.dtype == np.uint8
    assert moved.shape == photo.pixels_HWC.shape
    assert np.abs(moved.astype(int) - before).max() <= math.ceil(budget)
    assert np.array_equal(photo.pixels_HWC, before)


@pytest.mark.parametrize("size", [(13, 40), (40, 13), (5, 6), (8, 300)])
@pytest.mark.parametrize("strip", [1, 7 * 3 * 40, 1 << 18])
def test_a_signal_is_resized_as_pillow_does_it_in_floats(
    size: tuple[int, int], strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(add, "STRIP_VALUES", strip)
    bundle = random_bundle(4.0)
    mixture = on_grey(bundle.signals_nCHW, 4.0).astype(np.float32)
    planes = [Image.fromarray(plane).resize(size[::-1], Image.Resampling.BICUBIC) for plane in mixture]
    exact = np.dstack([np.asarray(plane) for plane in planes]).clip(-4, 4)
    assert np.abs(change(grey_photo(*size), bundle) - exact).max() <= 0.5 + 1e-5


def test_black_and_white_stay_inside_the_range() -> None:
    bundle = bundle_of(np.stack([np.full((8, 8), v) for v in (4.0, -4.0, 0.0)])[None].repeat(2, 0))
    assert (with_signal(grey_photo(8, 8, value=254), bundle, [0.0]) == [255, 250, 254]).all()
    assert (with_signal(grey_photo(8, 8, value=2), bundle, [0.0]) == [6, 0, 2]).all()


def test_a_grey_photo_gets_the_green_plane() -> None:
    bundle = random_bundle(4.0)
    expected = on_grey(bundle.signals_nCHW, 4.0)[1]
    assert np.abs(change(grey_photo(8, 8, channels=1), bundle)[..., 0] - expected).max() <= 0.5 + 1e-4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_signal_lies_over_the_photo_as_it_is_shown(orientation: int) -> None:
    bundle = random_bundle(4.0)
    stored = grey_photo(20, 12, orientation=orientation)
    shown_size = (12, 20) if orientation > 4 else (20, 12)
    expected = change(grey_photo(*shown_size), bundle)
    levels_1CHW = torch.from_numpy(change(stored, bundle)).permute(2, 0, 1)[None]
    assert np.array_equal(upright(levels_1CHW, orientation)[0].permute(1, 2, 0), expected)


def test_a_photo_that_is_too_small_is_refused_with_the_size_it_needs() -> None:
    bundle = random_bundle(4.0)
    with pytest.raises(PhotoRefusedError, match=r"40x3 is too small for a signal, which needs 4 pixels a side"):
        with_signal(grey_photo(3, 40), bundle, OFFSETS)
    with_signal(grey_photo(4, 40), bundle, OFFSETS)


def test_large_photos_are_done_without_keeping_their_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, bundle = grey_photo(30, 20).pixels_HWC, random_bundle(4.0)
    add._cached_levels.cache_clear()
    kept = add.add_levels(pixels, bundle, 0, 1)
    assert add._cached_levels.cache_info().currsize == 1
    add._cached_levels.cache_clear()
    monkeypatch.setattr(add, "CACHED_VALUES", pixels.size - 1)
    assert np.array_equal(add.add_levels(pixels, bundle, 0, 1), kept)
    assert add._cached_levels.cache_info().currsize == 0
