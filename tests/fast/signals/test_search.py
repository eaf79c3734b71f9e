"""The search for a signal in its place: turned, mirrored and cropped signals are found where they lie, noise is like none."""

from __future__ import annotations

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.signals.detector import place
from pipeline.signals.handling import Handling
from pipeline.signals.search import HANDICAP, Search

SIDE = 32


@pytest.fixture(scope="module")
def signals() -> Tensor:
    rng = torch.Generator().manual_seed(0)
    return F.interpolate(torch.randn(3, 3, SIDE // 2, SIDE // 2, generator=rng), (SIDE, SIDE), mode="bicubic")


@pytest.fixture(scope="module")
def search(signals: Tensor) -> Search:
    return Search(signals)


@pytest.mark.parametrize(("mirrored", "turns"), list(product((False, True), range(4))))
def test_a_whole_signal_is_found_in_each_of_its_eight_turns(signals: Tensor, search: Search, mirrored: bool, turns: int) -> None:
    handling = Handling(mirrored=mirrored, turns=turns)
    found = search(handling.move(signals[1:2])[0])
    assert found.signal == 1
    assert found.likeness == pytest.approx(1, abs=1e-4)
    assert torch.allclose(found.placement_23, handling.placement(), atol=1e-6)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("window", [(0.0, 0.0, 0.9, 0.9), (0.11, 0.06, 0.97, 0.92), (0.05, 0.2, 0.95, 1.0)])
def test_a_window_of_a_signal_is_found_where_it_lies(
    signals: Tensor, search: Search, window: tuple[float, float, float, float], mirrored: bool
) -> None:
    placement = Handling(window=window, mirrored=mirrored).placement()
    noise = 0.5 * torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) * signals.std()
    found = search(place(signals[2:3], placement[None])[0] + noise)
    assert found.signal == 2
    assert torch.allclose(found.placement_23, placement, atol=0.025)
    assert found.likeness > 0.8 - HANDICAP


def test_noise_is_like_no_signal_wherever_it_is_searched(search: Search) -> None:
    rng = torch.Generator().manual_seed(2)
    noise = F.interpolate(torch.randn(20, 3, SIDE // 2, SIDE // 2, generator=rng), (SIDE, SIDE), mode="bicubic")
    assert max(search(one).likeness for one in noise) < 0.3


def test_the_same_picture_is_found_in_the_same_place_every_time(signals: Tensor, search: Search) -> None:
    picture = torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(3)) + signals[0]
    first, second = search(picture), Search(signals)(picture)
    assert (first.signal, first.likeness) == (second.signal, second.likeness)
    assert torch.equal(first.placement_23, second.placement_23)
