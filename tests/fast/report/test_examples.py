"""Which photos a report shows, and how their pictures are made."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.report.examples import difference_png, picture_png, spread


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(png)))


@given(count=st.integers(0, 100), most=st.integers(1, 12))
def test_examples_are_different_photos_and_include_the_weakest_and_the_strongest(count: int, most: int) -> None:
    chosen = spread(count, most)
    assert len(set(chosen)) == len(chosen) == min(count, most)
    assert chosen == sorted(chosen)
    if chosen:
        assert chosen[0] == 0
    if len(chosen) > 1:
        assert chosen[-1] == count - 1


def test_small_pictures_are_kept_to_the_pixel_and_large_ones_keep_their_shape() -> None:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (30, 50, 3), dtype=np.uint8)
    assert np.array_equal(pixels(picture_png(small)), small)
    grey = small[..., :1]
    assert np.array_equal(pixels(picture_png(grey)), grey[..., 0])
    assert pixels(picture_png(np.zeros((600, 1200, 3), np.uint8), max_side=320)).shape == (160, 320, 3)
    assert pixels(picture_png(np.zeros((2, 4000, 3), np.uint8), max_side=320)).shape == (1, 320, 3)


def test_a_difference_of_epsilon_reaches_black_and_white_and_none_is_mid_grey() -> None:
    photo = np.full((1, 3, 3), 100, np.uint8)
    protected = np.array([94, 100, 106], np.uint8)[None, :, None].repeat(3, axis=2)
    assert pixels(difference_png(photo, protected, epsilon=6))[0, :, 0].tolist() == [0, 128, 255]


def test_a_fine_pattern_stays_visible_when_scaled_down() -> None:
    photo = np.full((900, 900, 1), 100, np.uint8)
    pattern = np.random.default_rng(1).integers(0, 2, photo.shape, dtype=np.uint8) * 12
    shown = pixels(difference_png(photo, photo - 6 + pattern, epsilon=6))
    assert shown.shape == (320, 320)
    assert set(np.unique(shown)) == {0, 255}
