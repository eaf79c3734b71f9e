"""L1, L2, % disrupted and the masked L2, against closed forms."""

from __future__ import annotations

import pytest
import torch

from pipeline.images.effect import l1, l2, manipulation_mask, masked_l2


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
