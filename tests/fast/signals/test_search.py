"""The search for a signal in its place: turned, mirrored and cropped signals are found where they lie, noise is like none."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.signals.detector import place
from pipeline.signals.handling import Handling
from pipeline.signals.search import LOOSE, Search
from pipeline.signals.signal_set import mixed_signals

SIDE = 32
OFFSETS = (1.0, -2.0)


@pytest.fixture(scope="module")
def signals() -> Tensor:
    rng = torch.Generator().manual_seed(0)
    return F.interpolate(torch.randn(4, 3, SIDE // 2, SIDE // 2, generator=rng), (SIDE, SIDE), mode="bicubic")


@pytest.fixture(scope="module")
def phase() -> Tensor:
    """The phases of a photo with tints that differ from place to place."""
    rng = torch.Generator().manual_seed(4)
    return F.interpolate(4 * torch.randn(1, 2, 3, 3, generator=rng), (SIDE, SIDE), mode="bicubic")[0]


@pytest.fixture(scope="module")
def search(signals: Tensor) -> Search:
    return Search(signals)


def carried(signals: Tensor, phase: Tensor, placement: Tensor) -> tuple[Tensor, Tensor]:
    """What a picture that shows this part of the photo carries, and its own phases."""
    mixed = mixed_signals(signals, phase[None], torch.tensor([OFFSETS]))
    there = (place(each, placement[None])[0] for each in (mixed, phase[None]))
    return next(there), next(there)


def apart(offsets: tuple[float, ...]) -> float:
    """How far offsets are from the true ones, as angles."""
    return max(abs(math.remainder(one - other, 2 * math.pi)) for one, other in zip(offsets, OFFSETS, strict=True))


@pytest.mark.parametrize(("mirrored", "turns"), list(product((False, True), range(4))))
def test_a_whole_signal_is_found_in_each_of_its_eight_turns(
    signals: Tensor, phase: Tensor, search: Search, mirrored: bool, turns: int
) -> None:
    placement = Handling(mirrored=mirrored, turns=turns).placement()
    found = search(*carried(signals, phase, placement))
    assert found.likeness > 15
    assert apart(found.offsets) < 0.1
    assert torch.allclose(found.placement_23, placement, atol=1e-6)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("window", [(0.0, 0.0, 0.9, 0.9), (0.11, 0.06, 0.97, 0.92), (0.05, 0.2, 0.95, 1.0)])
def test_a_window_of_a_signal_is_found_where_it_lies(
    signals: Tensor, phase: Tensor, search: Search, window: tuple[float, float, float, float], mirrored: bool
) -> None:
    placement = Handling(window=window, mirrored=mirrored).placement()
    there, own_phase = carried(signals, phase, placement)
    noise = 0.5 * torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) * there.std()
    found = search(there + noise, own_phase)
    assert torch.allclose(found.placement_23, placement, atol=0.025)
    assert apart(found.offsets) < 0.2
    assert found.likeness > 10


def test_tints_that_were_moved_alike_everywhere_show_as_other_offsets(signals: Tensor, phase: Tensor, search: Search) -> None:
    there, own_phase = carried(signals, phase, torch.eye(2, 3))
    found = search(there, own_phase + 0.5)
    assert apart(tuple(offset + 0.5 for offset in found.offsets)) < 0.1


def test_noise_is_like_no_signal_wherever_it_is_searched(phase: Tensor, search: Search) -> None:
    rng = torch.Generator().manual_seed(2)
    noise = F.interpolate(torch.randn(20, 3, SIDE // 2, SIDE // 2, generator=rng), (SIDE, SIDE), mode="bicubic")
    for offsets in (None, OFFSETS):
        assert max(search(one, phase, offsets).likeness for one in noise) < 5


def test_given_offsets_that_are_those_of_the_picture_make_it_likelier(signals: Tensor, phase: Tensor, search: Search) -> None:
    there, own_phase = carried(signals, phase, torch.eye(2, 3))
    any_, right, wrong = (search(there, own_phase, each).likeness for each in (None, OFFSETS, (OFFSETS[0] + 3, OFFSETS[1] + 3)))
    assert right == pytest.approx(any_ + LOOSE, rel=0.02)
    assert wrong == pytest.approx(any_)


def test_the_likeness_is_the_fit_over_its_standard_deviation_at_shifts(signals: Tensor, phase: Tensor, search: Search) -> None:
    recovered = torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(5)) + 0.2 * signals[1]
    turned = recovered * torch.exp(-1j * phase)[:, None]
    pairs = torch.complex(signals[0::2], signals[1::2])
    fits = {
        (y, x): (pairs.roll((-y, -x), (2, 3)) * turned).sum((1, 2, 3))
        for y, x in product(range(SIDE), repeat=2)
        if max(min(y, SIDE - y), min(x, SIDE - x)) >= 4
    }
    chance = float((torch.stack(list(fits.values())).abs().square().mean(0).sum() / 2).sqrt())
    assert float(search._chance(turned)) == pytest.approx(chance, rel=1e-3)


def test_the_same_picture_is_found_in_the_same_place_every_time(signals: Tensor, phase: Tensor, search: Search) -> None:
    picture = torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(3)) + signals[0]
    first, second = search(picture, phase), Search(signals)(picture, phase)
    assert (first.offsets, first.likeness) == (second.offsets, second.likeness)
    assert torch.equal(first.placement_23, second.placement_23)
