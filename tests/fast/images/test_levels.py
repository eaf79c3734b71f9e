"""The unit converter: closed forms, and every level survives the way there and back."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.images.levels import level_to_unit, pixels_to_unit, unit_to_level, unit_to_pixels


def test_the_published_epsilon_is_6_375_levels() -> None:
    assert unit_to_level(0.05) == pytest.approx(6.375)
    assert level_to_unit(6.375) == pytest.approx(0.05)


def test_black_is_minus_one_and_white_is_one() -> None:
    assert pixels_to_unit(np.array([0, 255], np.uint8)).tolist() == [-1.0, 1.0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_level_survives_the_way_there_and_back(dtype: type) -> None:
    levels = np.arange(256, dtype=np.uint8)
    assert (unit_to_pixels(pixels_to_unit(levels.astype(dtype))) == levels).all()


def test_values_beyond_the_range_are_clipped_and_the_others_rounded_to_the_nearest() -> None:
    assert unit_to_pixels(np.array([-1.5, 1.5, 0.999, 0.0039])).tolist() == [0, 255, 255, 128]


def test_a_torch_tensor_is_converted_like_an_array() -> None:
    torch = pytest.importorskip("torch")
    levels = torch.arange(256, dtype=torch.uint8)
    units = pixels_to_unit(levels)
    assert units.dtype == torch.float32
    assert torch.equal(unit_to_pixels(units), levels.float())
