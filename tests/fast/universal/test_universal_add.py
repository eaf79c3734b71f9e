"""A universal perturbation on a photo: whole levels, inside epsilon, in the boxes as they are shown and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.images.orientation import to_upright, upright_size
from pipeline.universal.add import with_perturbation
from tests.fast.universal.bundles import tiny_universal

UNIVERSAL = tiny_universal(count=2)


def noise(height: int, width: int, planes: int = 3, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, planes), dtype=np.uint8)


@given(st.integers(20, 60), st.integers(20, 60), st.sampled_from([1, 3]), st.integers(1, 8), st.integers(1, 12))
def test_every_pixel_of_the_box_stays_within_epsilon_and_all_others_stay(
    height: int, width: int, planes: int, orientation: int, epsilon: int
) -> None:
    universal = tiny_universal(count=2, epsilon=epsilon)
    before = noise(height, width, planes)
    shown_width, shown_height = upright_size(width, height, orientation)
    box = (2, 3, shown_width - 4, shown_height - 1)
    after = with_perturbation(before, universal, epsilon % 2, boxes=[box], orientation=orientation)
    change = to_upright(after.astype(int) - before, orientation)
    assert 0 < np.abs(change).max() <= epsilon
    change[box[1] : box[3], box[0] : box[2]] = 0
    assert not change.any()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_lies_in_the_box_as_the_photo_is_shown(orientation: int) -> None:
    width, height = upright_size(50, 40, orientation)
    box = (1, 2, width - 3, height - 5)
    after = with_perturbation(np.full((40, 50, 3), 128, np.uint8), UNIVERSAL, 1, boxes=[box], orientation=orientation)
    shown = to_upright(after, orientation)[box[1] : box[3], box[0] : box[2]].astype(int) - 128
    planes = [
        Image.fromarray(plane).resize((box[2] - 1, box[3] - 2), Image.Resampling.BICUBIC) for plane in UNIVERSAL.signals_nCHW[1, :3]
    ]
    expected = np.stack([np.asarray(plane) for plane in planes], 2).clip(-6, 6)
    assert np.abs(shown - expected).max() <= 0.51


def test_a_box_of_its_own_size_gets_the_perturbation_itself() -> None:
    after = with_perturbation(np.full((32, 32, 3), 128, np.uint8), UNIVERSAL, 0, boxes=[(0, 0, 32, 32)])
    assert np.array_equal(after.astype(int) - 128, UNIVERSAL.signals_nCHW[0, :3].transpose(1, 2, 0))


def test_a_grey_photo_gets_the_plane_for_grey_photos() -> None:
    after = with_perturbation(np.full((32, 32, 1), 128, np.uint8), UNIVERSAL, 1, boxes=[(0, 0, 32, 32)])
    assert np.array_equal(after[..., 0].astype(int) - 128, UNIVERSAL.signals_nCHW[1, 3])


def test_of_boxes_that_overlap_the_last_one_counts_so_that_nothing_adds_up() -> None:
    before = np.full((40, 40, 3), 128, np.uint8)
    first, last = (0, 0, 32, 32), (8, 8, 40, 40)
    both = with_perturbation(before, UNIVERSAL, 0, boxes=[first, last])
    assert np.abs(both.astype(int) - 128).max() == 6
    assert np.array_equal(both[8:, 8:], with_perturbation(before, UNIVERSAL, 0, boxes=[last])[8:, 8:])
    assert np.array_equal(both[:8], with_perturbation(before, UNIVERSAL, 0, boxes=[first])[:8])
