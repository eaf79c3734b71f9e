"""L1, L2, the masked L2 and the measures of breakage, against closed forms and a NumPy version of their own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import Tensor

from pipeline.images import over_edit
from pipeline.images.effect import (
    breakage,
    l1,
    l2,
    l2_edges,
    l2_levelled,
    l2_local,
    local_mean,
    manipulation_mask,
    masked_l2,
    output_ssim,
    structure_lost,
)
from pipeline.images.types import F64


def test_l1_and_l2_are_means_per_image_and_l2_is_a_square() -> None:
    d = torch.tensor([[[[0.5, -0.5], [0.5, -0.5]]], [[[0.0, 0.0], [0.0, -2.0]]]])
    assert l1(d).tolist() == [0.5, 0.5]
    assert l2(d).tolist() == [0.25, 1.0]


def test_an_image_is_measured_alike_alone_and_in_a_batch() -> None:
    d = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 0.5
    for measure in (l1, l2):
        torch.testing.assert_close(measure(d), torch.cat([measure(d[i : i + 1]) for i in range(5)]), rtol=1e-12, atol=0)


def test_a_pixel_is_manipulated_when_its_channels_together_move_by_more_than_a_half() -> None:
    x = torch.zeros(1, 3, 1, 3)
    output = torch.zeros(1, 3, 1, 3)
    output[0, :, 0, 0] = torch.tensor([0.5, 0.0, 0.0])  # exactly a half: not manipulated
    output[0, :, 0, 1] = torch.tensor([0.25, -0.25, 0.25])
    output[0, :, 0, 2] = torch.tensor([0.1, 0.1, 0.1])
    assert manipulation_mask(output, x).flatten().tolist() == [0, 1, 0]


def test_the_masked_l2_divides_by_the_manipulated_pixels_only() -> None:
    x = torch.zeros(1, 3, 2, 2)
    output = torch.zeros(1, 3, 2, 2)
    output[0, :, 0, 0] = 1.0
    broken = output + 0.2  # everywhere, but only one pixel of four counts
    assert masked_l2(broken, output, x).item() == pytest.approx(0.04, rel=1e-6)


def test_where_nothing_is_manipulated_nothing_is_disrupted() -> None:
    x = torch.zeros(2, 3, 4, 4)
    output = x.clone()
    output[1] = 1.0
    values = masked_l2(output + 1.0, output, x)
    assert values.tolist() == [0.0, 1.0]


def test_the_masked_l2_of_a_fully_manipulated_image_is_the_plain_l2() -> None:
    random = torch.Generator().manual_seed(2)
    x = -torch.ones(3, 3, 6, 5, dtype=torch.float64)
    output = torch.rand(3, 3, 6, 5, generator=random, dtype=torch.float64)
    broken = torch.rand(3, 3, 6, 5, generator=random, dtype=torch.float64)
    torch.testing.assert_close(masked_l2(broken, output, x), l2(broken - output), rtol=1e-12, atol=0)


def pictures(B: int = 2, side: int = 24, *, seed: int = 3) -> Tensor:
    """Random pictures in [-1, 1]."""
    return torch.rand(B, 3, side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


def by_hand(d_CHW: F64, y_CHW: F64) -> float:
    """What auto levels leave, by a least-squares solver, one channel after the other."""
    left = []
    for d, y in zip(d_CHW.reshape(3, -1), y_CHW.reshape(3, -1), strict=True):
        lines = np.stack([d, np.ones_like(d)], axis=1)
        left.append(np.square(lines @ np.linalg.lstsq(lines, y)[0] - y).mean())
    return float(np.mean(left))


@pytest.mark.parametrize("measure", [l2_levelled, l2_local, structure_lost])
def test_a_gain_and_an_offset_per_channel_cost_nothing_after_auto_levels(measure: Callable[[Tensor, Tensor], Tensor]) -> None:
    y = pictures()
    gain, offset = torch.tensor([0.5, 1.5, -1.0]).view(3, 1, 1), torch.tensor([0.4, -0.3, 0.1]).view(3, 1, 1)
    assert measure(gain * y + offset, y).max() < 1e-20
    assert l2(gain * y + offset - y).min() > 0.05


def test_a_shuffled_or_flat_picture_costs_nearly_or_exactly_the_variance_of_the_output() -> None:
    y = pictures(1, 64)
    shuffled = y.flatten(2)[:, :, torch.randperm(64 * 64, generator=torch.Generator().manual_seed(0))].view_as(y)
    variance = y.var((2, 3), correction=0).mean()
    assert l2_levelled(shuffled, y).item() == pytest.approx(variance.item(), rel=0.01)
    assert l2_levelled(torch.zeros_like(y), y).item() == pytest.approx(variance.item(), rel=1e-12)


def test_the_levelled_l2_is_the_variance_times_one_minus_the_squared_correlation_of_each_channel() -> None:
    y, d = pictures(), pictures(seed=4)
    for b in range(2):
        correlation = [np.corrcoef(d[b, c].flatten(), y[b, c].flatten())[0, 1] for c in range(3)]
        expected = np.mean([np.var(y[b, c].numpy()) * (1 - correlation[c] ** 2) for c in range(3)])
        assert l2_levelled(d, y)[b].item() == pytest.approx(expected, rel=1e-12)
        assert l2_levelled(d, y)[b].item() == pytest.approx(by_hand(d[b].numpy(), y[b].numpy()), rel=1e-9)


def test_the_local_l2_is_the_levelled_one_less_a_gaussian_that_ends_at_the_edges() -> None:
    y, d = pictures(1, 64), pictures(1, 64, seed=4)
    assert l2_local(d, y).item() == pytest.approx(by_hand(detail(d[0].numpy()), detail(y[0].numpy())), rel=1e-6)


def detail(picture_CHW: F64) -> F64:
    """A picture of 64 px less its local mean, by another library."""
    weights, mean = (
        scipy.ndimage.gaussian_filter(values, (0, 2, 2), mode="constant", truncate=16)
        for values in (np.ones_like(picture_CHW), picture_CHW)
    )
    less: F64 = picture_CHW - mean / weights
    return less


def test_the_structure_that_is_lost_is_the_part_of_its_variance_that_no_straight_line_explains() -> None:
    y, d = pictures(1, 64), pictures(1, 64, seed=4)
    d[:] = 0.6 * d + 0.4 * y
    before, after = detail(y[0].numpy()), detail(d[0].numpy())
    expected = by_hand(after, before) / np.mean([np.var(channel) for channel in before])
    assert structure_lost(d, y).item() == pytest.approx(expected, rel=1e-6)
    grey = [picture.mean(1, keepdim=True) for picture in (d, y)]
    rho = np.corrcoef(detail(grey[0][0].numpy()).flatten(), detail(grey[1][0].numpy()).flatten())[0, 1]
    assert structure_lost(*grey).item() == pytest.approx(1 - rho**2, rel=1e-6)


def test_a_shuffled_or_flat_picture_loses_all_structure_and_a_flat_output_has_none_to_lose() -> None:
    y = pictures(1, 64)
    shuffled = y.flatten(2)[:, :, torch.randperm(64 * 64, generator=torch.Generator().manual_seed(0))].view_as(y)
    assert structure_lost(shuffled, y).item() == pytest.approx(1, rel=0.01)
    assert structure_lost(torch.zeros_like(y), y).item() == pytest.approx(1, rel=1e-12)
    assert structure_lost(y, torch.zeros_like(y)).item() == 0


def test_a_slow_shade_costs_l2_but_next_to_nothing_locally_and_lines_cost_locally() -> None:
    y = pictures(1, 64)
    ramp = torch.linspace(-0.5, 0.5, 64, dtype=torch.float64).expand(1, 3, 64, 64)
    lines = 0.25 * torch.tensor([-1.0, 1.0], dtype=torch.float64).repeat(32).expand(1, 3, 64, 64)
    assert l2_local(y + ramp, y).item() < 0.01 * l2(ramp).item()
    assert l2_local(y + lines, y).item() > 0.5 * l2(lines).item()
    constant = torch.full_like(y, 0.7)
    torch.testing.assert_close(local_mean(constant), constant, rtol=1e-12, atol=0)


def test_edges_count_steps_from_pixel_to_pixel_and_no_shift() -> None:
    y = torch.zeros(1, 1, 2, 4)
    step = torch.tensor([0.0, 0.0, 0.3, 0.3]).expand(1, 1, 2, 4)  # one of the three steps across, none of those down
    assert l2_edges(y + step, y).item() == pytest.approx(0.09 / 3)
    assert l2_edges(y + 0.8, y).item() == 0


def test_breakage_holds_each_measure_of_each_image_and_the_edit() -> None:
    d, y, x = pictures(), pictures(seed=4), pictures(seed=5)
    found = breakage(d.float(), y.float(), x.float())
    for b in range(2):
        one = slice(b, b + 1)
        for value, expected in (
            (found.levelled, l2_levelled(d[one], y[one])),
            (found.local, l2_local(d[one], y[one])),
            (found.lost, structure_lost(d[one], y[one])),
            (found.ssim, output_ssim(d[one], y[one])),
            (found.edit, l2(y[one] - x[one])),
        ):
            assert value[b].item() == pytest.approx(expected.item(), rel=1e-5)
    assert output_ssim(y, y).tolist() == [1, 1]
    assert over_edit(0.3, 0.1) == pytest.approx(3)
    assert over_edit(0.3, 0.0) is None
