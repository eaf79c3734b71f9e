"""The just noticeable difference: closed forms and an implementation pixel by pixel; the mask: invariants of any photo."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.photos.visibility import REACH, jnd_levels, mask_levels

U8 = NDArray[np.uint8]
seeds = st.integers(0, 2**31)


def photo(seed: int, height: int = 60, width: int = 70, channels: int = 3) -> U8:
    """Smooth on the left, noise on the right."""
    random = np.random.default_rng(seed)
    noise = random.normal(0, 40, (height, width, channels)) * (np.arange(width) > width // 2)[:, None]
    return np.clip(random.integers(60, 200) + noise, 0, 255).astype(np.uint8)


def flat(level: int, side: int = 16) -> U8:
    return np.full((side, side, 1), level, np.uint8)


@pytest.mark.parametrize(("level", "jnd"), [(0, 20), (127, 3), (255, 6), (191, 4.5)])
def test_without_texture_the_jnd_is_the_published_luminance_adaptation(level: int, jnd: float) -> None:
    assert jnd_levels(flat(level)) == pytest.approx(jnd, abs=1e-4)


def test_every_pixel_has_the_published_formula() -> None:
    grey = np.random.default_rng(1).integers(0, 256, (9, 10, 1)).astype(np.uint8)
    y, found = grey[..., 0].astype(float), jnd_levels(grey)
    g1 = np.array([[0] * 5, [1, 3, 8, 3, 1], [0] * 5, [-1, -3, -8, -3, -1], [0] * 5])
    g2 = np.array([[0, 0, 1, 0, 0], [0, 8, 3, 0, 0], [1, 3, 0, -3, -1], [0, 0, -3, -8, 0], [0, 0, -1, 0, 0]])
    g3 = np.array([[0, 0, 1, 0, 0], [0, 0, 3, 8, 0], [-1, -3, 0, 3, 1], [0, -8, -3, 0, 0], [0, 0, -1, 0, 0]])
    weights = np.array([[1] * 5, [1, 2, 2, 2, 1], [1, 2, 0, 2, 1], [1, 2, 2, 2, 1], [1] * 5])
    for i in range(2, 7):
        for j in range(2, 8):
            near = y[i - 2 : i + 3, j - 2 : j + 3]
            bg = (near * weights).sum() / 32
            mg = max(abs((near * g).sum()) / 16 for g in (g1, g2, g3, g1.T))
            adaptation = 17 * (1 - (bg / 127) ** 0.5) + 3 if bg <= 127 else 3 / 128 * (bg - 127) + 3
            masking = mg * (bg * 0.0001 + 0.115) + 0.5 - bg * 0.01
            assert found[i, j] == pytest.approx(max(adaptation, masking), rel=1e-4)


@given(seeds, st.integers(1, 64), st.sampled_from([1, 3]))
@settings(deadline=None, max_examples=20)
def test_a_mask_stays_between_a_sixth_and_all_of_epsilon_and_grows_with_it(seed: int, most: int, channels: int) -> None:
    pixels = photo(seed, channels=channels)
    mask = mask_levels(pixels, most)
    assert mask.shape == (60, 70, 1)
    assert mask.dtype == np.uint8
    assert max(1, most // 6) <= mask.min() <= mask.max() <= most
    assert (mask <= mask_levels(pixels, most + 1)).all()


@pytest.mark.parametrize("level", [5, 127, 250])
@pytest.mark.parametrize(("most", "allowed"), [(12, 3), (6, 2), (8, 2), (9, 2), (16, 4), (1, 1)])
def test_smooth_areas_may_move_by_a_quarter_of_epsilon_at_any_brightness(level: int, most: int, allowed: int) -> None:
    texture_of_the_formula = {5: 1, 127: 0, 250: 0}[level]  # 0.5 - 0.01 times the brightness, three times, where that is positive
    assert abs(int(mask_levels(flat(level), most).max()) - allowed) <= texture_of_the_formula
    assert mask_levels(flat(level), most).min() == mask_levels(flat(level), most).max()


def test_texture_may_move_by_all_of_epsilon_and_a_lone_edge_hardly_more_than_a_smooth_area() -> None:
    edge = np.full((60, 60, 1), 30, np.uint8)
    edge[:, 30:] = 230
    texture = np.random.default_rng(0).choice(np.array([30, 230], np.uint8), (60, 60, 1))
    assert (mask_levels(texture, 24) == 24).all()
    assert mask_levels(edge, 24).max() <= 8


@given(seeds, st.integers(0, 30), st.integers(0, 30), st.integers(1, 40), st.integers(1, 30))
@settings(deadline=None, max_examples=30)
def test_the_mask_of_a_part_is_the_mask_of_the_photo(seed: int, left: int, top: int, width: int, height: int) -> None:
    pixels = photo(seed)
    box = (left, top, left + width, top + height)
    part = mask_levels(pixels, 16, box)
    assert np.array_equal(part, mask_levels(pixels, 16)[top : top + height, left : left + width])


def test_what_lies_further_away_than_its_reach_does_not_matter() -> None:
    pixels = photo(3)
    other = pixels.copy()
    other[REACH + 1 :] = 255 - other[REACH + 1 :]
    assert np.array_equal(mask_levels(pixels, 16)[0], mask_levels(other, 16)[0])
    assert not np.array_equal(mask_levels(pixels, 16)[REACH + 1], mask_levels(other, 16)[REACH + 1])


def test_a_grey_photo_has_the_mask_of_its_colour_twin() -> None:
    grey = photo(4, channels=1)
    assert np.abs(mask_levels(grey, 16).astype(int) - mask_levels(np.repeat(grey, 3, axis=2), 16)).max() <= 1


@pytest.mark.parametrize("most", [0, 256, 2.5, True])
def test_an_epsilon_that_is_no_whole_number_is_refused(most: int) -> None:
    with pytest.raises(ValueError, match="whole number from 1 to 255"):
        mask_levels(flat(9), most)
