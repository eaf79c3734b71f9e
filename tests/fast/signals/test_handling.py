"""Honest handling and made-up edits: geometry against its own placement, real codecs, gradients, strengths and areas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.channels.operations import webp
from pipeline.signals.bundle import HANDLINGS
from pipeline.signals.detector import place
from pipeline.signals.edits import FAINTEST, GLOBAL, LARGEST, LOCAL, SMALLEST, STRONGEST, Draws, blob, edit_part, edit_whole
from pipeline.signals.handling import LEAST_WINDOW, SMALLEST_FILE, WHOLE, Handling, random_handling


def draws(seed: int = 0) -> Draws:
    return Draws(torch.Generator().manual_seed(seed))


def photo(seed: int = 0, side: int = 40) -> Tensor:
    """Smooth, in whole levels."""
    rng = torch.Generator().manual_seed(seed)
    x = F.interpolate(torch.rand(1, 3, 5, 5, generator=rng), (side, side), mode="bicubic").clamp(0, 1)
    return (255 * x).round() / 127.5 - 1


@pytest.mark.parametrize(
    "handling",
    [
        Handling(mirrored=True),
        Handling(turns=1),
        Handling(turns=3, mirrored=True),
        Handling(window=(0.1, 0.2, 0.9, 0.95)),
        Handling(window=(0.2, 0.05, 1.0, 0.85), mirrored=True, turns=1),
    ],
)
def test_the_placement_says_where_each_place_of_the_picture_lies_in_the_photo(handling: Handling) -> None:
    x = photo()
    moved = handling.move(x)
    H, W = moved.shape[2:]
    grid = F.affine_grid(handling.placement()[None], [1, 3, H, W], align_corners=False)
    wanted = F.grid_sample(x, grid, mode="bicubic", align_corners=False, padding_mode="border")
    assert torch.allclose(moved, wanted, atol=0.02)
    square = Handling(turns=2)
    assert torch.allclose(place(x, square.placement()[None]), square.move(x), atol=1e-5)


def test_a_handled_photo_is_in_whole_levels_and_the_gradient_passes_and_grey_stays_grey() -> None:
    for seed in range(40):
        x = photo(seed).requires_grad_()
        y = random_handling(draws(seed), HANDLINGS)(x)
        levels = (y + 1) * 127.5
        assert torch.allclose(levels, levels.round(), atol=1e-3)
        (gradient,) = torch.autograd.grad(y.sum(), x)
        assert gradient.abs().max() > 0
        grey = random_handling(draws(seed), HANDLINGS)(photo(seed)[:, :1].expand(-1, 3, -1, -1))
        assert torch.equal(grey.amax(1), grey.amin(1))


def test_webp_is_that_of_the_real_codec() -> None:
    x = photo()
    pixels = ((x[0].permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()
    coded = (Handling(codec="webp", quality=80)(x)[0].permute(1, 2, 0) + 1) * 127.5
    assert np.array_equal(coded.round().numpy(), webp(pixels, quality=80))


def test_what_may_not_happen_does_not_and_what_may_does_within_its_limits() -> None:
    some = [random_handling(draws(seed), HANDLINGS) for seed in range(300)]
    assert all(
        one == Handling() for one in (random_handling(draws(s), ())._replace(quality=0, wobble=(0.0,) * 4) for s in range(50))
    )
    assert {one.codec for one in some} == {"", "jpeg", "webp"}
    assert {one.turns for one in some} == {0, 1, 2, 3}
    for left, top, right, bottom in (one.window for one in some if one.window != WHOLE):
        assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1
        assert min(right - left, bottom - top) >= LEAST_WINDOW
    assert min(one.share for one in some) >= SMALLEST_FILE
    still = [random_handling(draws(seed), HANDLINGS, moved=False) for seed in range(100)]
    assert {(one.window, one.mirrored, one.turns) for one in still} == {(WHOLE, False, 0)}
    assert [one.codec for one in still] == [one.codec for one in some[:100]], "the draws do not depend on what may happen"


def test_every_edit_changes_the_photo_and_is_a_picture_of_its_size() -> None:
    x, other = photo(1), photo(2)
    for seed, edit in enumerate((*GLOBAL, *LOCAL)):
        y = edit(x, other, draws(seed))
        assert y.shape == x.shape and y.isfinite().all()
        assert not torch.equal(y, x)
        assert torch.equal(y, edit(x, other, draws(seed))), "the draws decide it"


def test_the_strength_of_a_whole_edit_lies_between_its_limits() -> None:
    x, other = photo(1), photo(2)
    rms = [((edit_whole(x, other, draws(seed)) - x) * 127.5).square().mean().sqrt().item() for seed in range(60)]
    assert max(rms) <= STRONGEST * 1.01
    assert sorted(rms)[30] >= FAINTEST, "all but those that clipping or a cap made fainter"


def test_an_edit_of_a_part_leaves_the_rest_and_has_the_area_that_was_drawn() -> None:
    x, other = photo(1, side=64), photo(2, side=64)
    for seed in range(60):
        y, mask = edit_part(x, other, draws(seed))
        assert mask.min() == 0 and mask.max() <= 1
        assert torch.equal(y[(mask == 0).expand_as(y)], x[(mask == 0).expand_as(x)])
    areas = [blob((64, 64), draws(seed)).mean().item() for seed in range(100)]
    assert min(areas) > SMALLEST / 4 and max(areas) < 1.5 * LARGEST
