"""The mixture that a photo's tints ask for: by hand where all is flat, the same in files and tensors, and what moves it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pipeline.images.types import F32, U8
from pipeline.signals.binding import DRIVE, KNEE, PERIOD, mixture, phases, small, weights
from pipeline.signals.signal_set import mixed_signals, phases_of


def flat(red: float, green: float, blue: float, side: int = 16) -> F32:
    return np.array([red, green, blue], np.float32)[:, None, None].repeat(side, 1).repeat(side, 2)


def test_the_phases_of_a_flat_picture_are_its_companded_cb_and_cr() -> None:
    red, green, blue = 200.0, 120.0, 90.0
    y = 0.299 * red + 0.587 * green + 0.114 * blue
    cb, cr = (blue - y) / 1.772, (red - y) / 1.402  # ITU-R BT.601
    expected = [2 * math.pi / PERIOD * KNEE * math.asinh(tint / KNEE) for tint in (cb, cr)]
    found = phases(flat(red, green, blue), 2)
    assert found.shape == (2, 16, 16)
    assert np.abs(found - np.array(expected)[:, None, None]).max() < 1e-3


def test_grey_has_no_phase_however_bright() -> None:
    assert np.abs(phases(np.random.default_rng(0).uniform(0, 255, (1, 16, 16)).astype(np.float32).repeat(3, 0), 3)).max() < 1e-3


def test_more_pairs_look_in_directions_between() -> None:
    two, four = phases(flat(200, 120, 90), 2)[:, 0, 0], phases(flat(200, 120, 90), 4)[:, 0, 0]
    assert four[0] == pytest.approx(two[0], rel=1e-5)
    assert four[2] == pytest.approx(two[1], rel=1e-5)
    assert four[1] == pytest.approx((two[0] + two[1]) / math.sqrt(2), rel=1e-5)


def test_weights_turn_with_the_tint_and_their_squares_add_up_to_one() -> None:
    phase = np.random.default_rng(0).normal(0, 3, (3, 4, 5)).astype(np.float32)
    weight = weights(phase, [0.1, 0.2, 0.3])
    assert weight.shape == (6, 4, 5)
    assert np.abs(np.square(weight).sum(0) - 1).max() < 1e-5
    assert np.abs(np.arctan2(weight[3], weight[2]) - np.angle(np.exp(1j * (phase[1] + 0.2)))).max() < 1e-4


def test_a_mixture_is_cut_to_the_budget() -> None:
    signals = np.random.default_rng(0).uniform(-3, 3, (4, 3, 8, 8)).astype(np.float32)
    assert np.abs(mixture(signals, weights(np.zeros((2, 8, 8), np.float32), [0.5, 2.0]), 2.0)).max() == 2.0


def test_files_and_tensors_ask_for_the_same_mixture() -> None:
    rng = np.random.default_rng(1)
    pixels: U8 = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    signals, offsets = rng.uniform(-1, 1, (4, 3, 16, 16)).astype(np.float32), (0.7, 3.0)
    in_file = mixture(signals, weights(phases(small(pixels, 16).astype(np.float32).transpose(2, 0, 1), 2), offsets), 9.0)
    x_13SS = torch.from_numpy(pixels.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
    as_tensor = mixed_signals(torch.from_numpy(signals), phases_of(x_13SS, 4), torch.tensor([offsets]))
    assert np.abs(in_file - DRIVE * as_tensor[0].numpy()).max() < 1e-4


def coherence(before: U8, after: U8) -> float:
    """The mean cosine between the phases of two pictures: how much of a signal still fits."""
    one, other = (phases(small(each, 64).astype(np.float32).transpose(2, 0, 1), 2) for each in (before, after))
    return float(np.cos(one - other).mean())


def test_a_little_light_leaves_the_fit_and_a_tint_of_four_levels_turns_it_round() -> None:
    rng = np.random.default_rng(0)
    coarse = rng.integers(90, 170, (4, 4, 3), dtype=np.uint8)
    picture = coarse.repeat(32, 0).repeat(32, 1)
    brighter = np.rint(255 * (picture / 255 * 1.05)).astype(np.uint8)
    warmer = (picture + np.array([3, 0, -6])).astype(np.uint8)
    assert coherence(picture, picture) == pytest.approx(1)
    assert coherence(picture, brighter) > 0.9
    assert coherence(picture, warmer) < 0.2
