from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.signals import losses


def some(count: int = 4, size: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def np_minmax(x: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = (x - x.min()) / (x.max() - x.min())
    return scaled


def np_cos(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum()))


def np_filtered(signals: np.ndarray, k: float, region: str, dc: float) -> float:
    """The k x k centre of the shifted spectrum, cut out with slices."""
    size = signals.shape[-1]
    shifted = np.fft.fftshift(np.fft.fft2(signals, norm="ortho"), axes=(-2, -1))
    power = np.abs(shifted) ** 2
    reach = int(k * size / 2)
    centre = np.zeros((size, size))
    centre[size // 2 - reach : size // 2 + reach + 1, size // 2 - reach : size // 2 + reach + 1] = 1
    weights = centre if region == "low" else 1 - centre
    if region == "low":
        weights[size // 2, size // 2] = dc
    return float((power * weights).mean())


def fourier_resized(signal: torch.Tensor, size: int) -> torch.Tensor:
    """The same content on a finer grid: the spectrum with zeros around it."""
    old = signal.shape[-1]
    spectrum = torch.fft.fftshift(torch.fft.fft2(signal), dim=(-2, -1))
    wide = torch.zeros(*signal.shape[:-2], size, size, dtype=spectrum.dtype)
    at = size // 2 - old // 2
    wide[..., at : at + old, at : at + old] = spectrum
    fine: torch.Tensor = torch.fft.ifft2(torch.fft.ifftshift(wide, dim=(-2, -1))).real
    return fine * (size / old) ** 2


def test_detection_of_undecided_logits_is_log_two_and_of_sure_ones_their_distance_from_zero() -> None:
    assert losses.detection(torch.zeros(4), torch.tensor([1.0, 0, 1, 0])).item() == pytest.approx(math.log(2))
    assert losses.detection(torch.tensor([-30.0, 30.0]), torch.tensor([1.0, 0.0])).item() == pytest.approx(30)


@given(st.integers(0, 1000))
def test_detection_is_the_sum_of_logs_as_written(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, r = rng.normal(0, 3, 6), rng.integers(0, 2, 6)
    net = 1 / (1 + np.exp(-logits))
    wanted = -np.mean(r * np.log(net) + (1 - r) * np.log(1 - net))
    assert losses.detection(torch.tensor(logits), torch.tensor(r)).item() == pytest.approx(wanted, rel=1e-9)


def test_magnitude_of_a_constant_is_its_square_at_any_size() -> None:
    for size in (8, 64):
        assert losses.magnitude(torch.full((2, 3, size, size), 0.3)).item() == pytest.approx(0.09)


@given(st.integers(0, 1000), st.sampled_from([0.2, 0.5, 0.79]), st.sampled_from(["low", "high"]), st.sampled_from([0.0, 0.3, 1.0]))
def test_filtered_energy_equals_slices_of_the_shifted_spectrum(seed: int, k: float, region: losses.Region, dc: float) -> None:
    signals = some(seed=seed, size=16)
    got = losses.filtered_energy(signals, k=k, region=region, dc=dc).item()
    assert got == pytest.approx(np_filtered(signals.numpy(), k, region, dc), rel=1e-9)


def test_low_and_high_together_are_the_whole_power() -> None:
    signals = some()
    both = sum(losses.filtered_energy(signals, k=0.4, region=region).item() for region in ("low", "high"))
    assert both == pytest.approx(losses.magnitude(signals).item(), rel=1e-12)


def test_a_single_cosine_counts_by_its_frequency_alone() -> None:
    x = torch.arange(32, dtype=torch.float64)
    wave = torch.cos(2 * math.pi * 6 * x / 32).expand(1, 3, 32, 32)  # 6 of 16 possible: share .375 of the spectrum
    assert losses.filtered_energy(wave, k=0.4, region="low").item() == pytest.approx(0.5)
    assert losses.filtered_energy(wave, k=0.35, region="low").item() == pytest.approx(0, abs=1e-12)
    assert losses.filtered_energy(wave, k=0.35, region="high").item() == pytest.approx(0.5)


def test_the_mean_is_most_of_a_fresh_signal_and_its_weight_takes_it_out() -> None:
    flat = torch.full((1, 3, 16, 16), 0.2, dtype=torch.float64)
    assert losses.filtered_energy(flat, k=0.5).item() == pytest.approx(0.04)
    assert losses.filtered_energy(flat, k=0.5, dc=0.0).item() == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("region", ["low", "high"])
def test_the_same_content_at_64_128_and_256_pixels_costs_the_same(region: losses.Region) -> None:
    coarse = some(size=33, seed=5)  # odd, so that no frequency is half on either side; all of it below .3 of 128
    at = {size: fourier_resized(coarse, size) for size in (64, 128, 256)}
    values = [losses.filtered_energy(signal, k=0.55, region=region).item() for signal in at.values()]
    assert values[1:] == pytest.approx([values[0]] * 2, rel=1e-9, abs=1e-12)
    if region == "low":
        assert values[0] > 0.1


def test_the_cost_of_white_noise_does_not_depend_on_the_resolution() -> None:
    values = [losses.filtered_energy(some(8, size, seed=size), k=0.5, region="high").item() for size in (64, 128, 256)]
    assert values == pytest.approx([values[0]] * 3, rel=0.03)


@given(st.integers(0, 1000))
def test_separation_is_the_largest_cosine_to_any_signal(seed: int) -> None:
    signals, recovered = some(seed=seed), some(2, seed=seed + 5000)
    wanted = np.mean([max(np_cos(np_minmax(s), np_minmax(r)) for s in signals.numpy()) for r in recovered.numpy()])
    assert losses.separation(signals, recovered).item() == pytest.approx(float(wanted), rel=1e-9)


@given(st.integers(0, 1000), st.integers(2, 5))
def test_pairwise_is_the_sum_over_all_pairs(seed: int, count: int) -> None:
    signals = some(count, seed=seed)
    arrays = [np_minmax(s) for s in signals.numpy()]
    wanted = sum(np_cos(arrays[i], arrays[j]) for i in range(count) for j in range(i + 1, count))
    assert losses.pairwise(signals).item() == pytest.approx(wanted, rel=1e-9)


def test_two_equal_signals_have_cosine_one_and_fresh_noise_starts_at_three_quarters() -> None:
    assert losses.pairwise(some(1).repeat(2, 1, 1, 1)).item() == pytest.approx(1)
    uniform = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert losses.pairwise(uniform).item() == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize("count", [0, 1])
def test_separation_and_pairwise_of_fewer_than_two_signals_are_zero_with_a_gradient(count: int) -> None:
    signals = some(count).requires_grad_()
    total = losses.separation(signals, some(2)) + losses.pairwise(signals) + losses.magnitude(signals)
    total.backward()
    assert signals.grad is not None
    assert losses.pairwise(signals).item() == losses.separation(signals, some(2)).item() == 0


def test_no_signals_have_no_power() -> None:
    nothing = some(0)
    assert losses.magnitude(nothing).item() == losses.filtered_energy(nothing, k=0.5).item() == 0


def test_recovery_is_zero_for_the_signal_itself_at_any_strength_two_for_its_negative_one_for_nothing() -> None:
    signals = some()
    assert losses.recovery(signals, 0.01 * signals).item() == pytest.approx(0, abs=1e-9)
    assert losses.recovery(signals, -signals).item() == pytest.approx(2)
    assert losses.recovery(signals, torch.zeros_like(signals)).item() == pytest.approx(1)


def test_a_flat_signal_gives_zeros_and_no_broken_gradient() -> None:
    flat = torch.full((2, 3, 8, 8), 0.5, dtype=torch.float64, requires_grad=True)
    losses.pairwise(flat).backward()
    assert flat.grad is not None
    assert flat.grad.isfinite().all()


@pytest.mark.parametrize("name", ["magnitude", "filtered_energy", "pairwise", "separation", "recovery"])
def test_gradients_equal_finite_differences(name: str) -> None:
    terms = {
        "magnitude": losses.magnitude,
        "filtered_energy": lambda s: losses.filtered_energy(s, k=0.5, region="high"),
        "pairwise": losses.pairwise,
        "separation": lambda s: losses.separation(s, some(2, 4, seed=9)),
        "recovery": lambda s: losses.recovery(s, some(2, 4, seed=9)),
    }
    assert torch.autograd.gradcheck(terms[name], (some(2, 4).requires_grad_(),))
