"""The integer ball: an invariant over generated pixels, an independent brute force, and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from pipeline.photos import ball
from pipeline.photos.ball import linf_levels, project_levels

U8 = NDArray[np.uint8]
_SHAPE = array_shapes(min_dims=3, max_dims=3, max_side=4)
_FLOATS = st.floats(-300, 600, width=32)


@st.composite
def cases(draw: st.DrawFn) -> tuple[NDArray[Any], U8, int]:
    shape = draw(_SHAPE)
    pixels = draw(arrays(np.float32, shape, elements=_FLOATS) | arrays(np.uint8, shape))
    return pixels, draw(arrays(np.uint8, shape)), draw(st.integers(0, 255))


@given(cases())
def test_a_projected_pixel_is_the_nearest_level_that_is_allowed(case: tuple[NDArray[Any], U8, int]) -> None:
    pixels, original, epsilon = case
    projected = project_levels(pixels, original, epsilon)
    assert projected.dtype == np.uint8
    for wish, before, after in zip(pixels.ravel().tolist(), original.ravel().tolist(), projected.ravel().tolist(), strict=True):
        allowed = [level for level in range(256) if abs(level - before) <= epsilon]
        assert after in allowed
        assert abs(after - wish) == min(abs(level - wish) for level in allowed)
    assert linf_levels(projected, original) <= epsilon


@given(cases(), st.integers(0, 2**31))
def test_a_mask_bounds_each_pixel_by_itself(case: tuple[NDArray[Any], U8, int], seed: int) -> None:
    pixels, original, _ = case
    mask = np.random.default_rng(seed).integers(0, 256, (*original.shape[:2], 1)).astype(np.uint8)
    projected = project_levels(pixels, original, mask)
    for row in range(original.shape[0]):
        for column in range(original.shape[1]):
            own = np.s_[row : row + 1, column : column + 1]
            assert np.array_equal(projected[own], project_levels(pixels[own], original[own], int(mask[row, column, 0])))


def test_the_result_does_not_depend_on_the_size_of_the_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    original = random.integers(0, 256, (17, 5, 3)).astype(np.uint8)
    pixels = original + random.normal(0, 9, original.shape)
    whole = project_levels(pixels, original, 6)
    monkeypatch.setattr(ball, "_BAND_ELEMENTS", 40)
    assert np.array_equal(project_levels(pixels, original, 6), whole)
    assert np.array_equal(project_levels(pixels, original, np.full((17, 5, 1), 6, np.uint8)), whole)
    assert linf_levels(whole, original) == 6


def test_linf_counts_levels_in_both_directions_without_wrapping_around() -> None:
    a, b = np.array([[[0]], [[250]]], np.uint8), np.array([[[255]], [[251]]], np.uint8)
    assert linf_levels(a, b) == linf_levels(b, a) == 255
    assert linf_levels(a, a) == 0


@pytest.mark.parametrize("epsilon", [-1, 256, 300, 2.5, True, "6", None])
def test_an_epsilon_that_is_no_whole_number_of_levels_is_refused(epsilon: Any) -> None:
    grey = np.zeros((2, 2, 1), np.uint8)
    with pytest.raises(ValueError, match="whole number of levels from 0 to 255"):
        project_levels(grey, grey, epsilon)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        project_levels(np.full((2, 2, 1), value), np.zeros((2, 2, 1), np.uint8), 6)


def test_other_shapes_and_types_are_refused() -> None:
    grey = np.zeros((2, 2, 1), np.uint8)
    with pytest.raises(ValueError, match="differ in shape"):
        project_levels(np.zeros((2, 3, 1)), grey, 6)
    with pytest.raises(ValueError, match="mask"):
        project_levels(grey, grey, np.zeros((2, 3, 1), np.uint8))
    with pytest.raises(ValueError, match="uint8"):
        project_levels(grey, np.zeros((2, 2, 1)), 6)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one shape"):
        linf_levels(grey, np.zeros((2, 3, 1), np.uint8))
