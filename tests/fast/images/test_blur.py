from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.images.blur import BLURS, box_blur, gaussian_blur


def point(side: int = 25) -> torch.Tensor:
    x = torch.zeros(1, 2, side, side, dtype=torch.float64)
    x[:, :, side // 2, side // 2] = 1
    return x


@pytest.mark.parametrize("name", BLURS)
def test_a_kernel_sums_to_one_and_is_symmetric(name: str) -> None:
    spread = BLURS[name](point())
    torch.testing.assert_close(spread.sum((2, 3)), torch.ones(1, 2, dtype=torch.float64))
    torch.testing.assert_close(spread, spread.flip(2, 3))
    torch.testing.assert_close(spread, spread.transpose(2, 3))
    assert spread.min() >= 0


@pytest.mark.parametrize("name", BLURS)
def test_far_from_the_edge_a_plain_image_stays_and_the_size_always(name: str) -> None:
    x = torch.full((1, 3, 16, 20), 0.5, dtype=torch.float64)
    blurred = BLURS[name](x)
    assert blurred.shape == x.shape
    torch.testing.assert_close(blurred[:, :, 5:-5, 5:-5], x[:, :, 5:-5, 5:-5])
    assert blurred[0, 0, 0, 0] < 0.5  # outside is mid-grey


def test_a_gaussian_kernel_is_the_sampled_bell() -> None:
    at = np.arange(-5, 6)
    bell = np.exp(-(at[:, None] ** 2 + at[None] ** 2) / (2 * 1.5**2))
    spread = gaussian_blur(point(11), sigma=1.5)[0, 0].numpy()
    np.testing.assert_allclose(spread, bell / bell.sum(), rtol=1e-12)


def test_a_box_kernel_is_flat() -> None:
    spread = box_blur(point(9), k=3)[0, 0]
    torch.testing.assert_close(spread[3:6, 3:6], torch.full((3, 3), 1 / 9, dtype=torch.float64))
    assert spread.count_nonzero() == 9


def test_channels_do_not_mix() -> None:
    x = point()
    x[:, 1] = 0
    assert gaussian_blur(x, sigma=2.0)[:, 1].eq(0).all()


def test_the_blurs_of_the_paper_are_nine_and_the_recorded_ones(shared: Path) -> None:
    golden = torch.load(shared / "golden" / "blur.pt", weights_only=True)
    recorded = {f"box-{k}": y for k, y in golden["average"].items()}
    recorded |= {f"gaussian-{float(sigma)}": y for sigma, y in golden["gaussian_k11"].items()}
    assert recorded.keys() == BLURS.keys()
    for name, expected in recorded.items():
        torch.testing.assert_close(BLURS[name](golden["input"]), expected, rtol=0, atol=1e-6)
