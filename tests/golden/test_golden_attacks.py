"""Recorded attacks of the reference code, in float64, reproduced to 1e-9 by the one ascent loop (eps .05, step .01, 10 steps)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.disruption.ascent import Linf, Objective, ascend
from pipeline.disruption.objectives import Output, away_from, in_turn
from pipeline.generators.checkpoint import read_state_dict
from pipeline.generators.cyclegan import cyclegan_from_state
from pipeline.generators.stargan import stargan_from_state


def attack(objective: Objective, x_BCHW: Tensor, start_BCHW: Tensor) -> Tensor:
    return ascend(objective, x_BCHW, Linf(0.05), start_BCHW=start_BCHW, steps=10, step_size=0.01)


def assert_same(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-9)


@pytest.fixture
def outputs(shared: Path) -> list[Output]:
    net = stargan_from_state(read_state_dict(shared / "golden" / "stargan.pt")).double().requires_grad_(False)
    classes = json.loads((shared / "golden" / "stargan_attacks.json").read_text())["classes"]

    def output(c: list[float]) -> Callable[[Tensor], Tensor]:
        return lambda x_BCHW: net(x_BCHW, torch.tensor([c], dtype=torch.float64))

    return [output(c) for c in classes]


@pytest.fixture
def golden(shared: Path) -> dict[str, Any]:
    payload: dict[str, Any] = torch.load(shared / "golden" / "stargan_attacks.pt", weights_only=True)
    return payload


def recorded(golden: dict[str, Any], name: str) -> tuple[Tensor, Tensor]:
    result = golden["results"][f"{name}|float64|train"]
    return result["x_adv"], result["y"]


def test_pgd_on_stargan_is_the_recorded_one(outputs: list[Output], golden: dict[str, Any]) -> None:
    x = golden["input"].double()
    expected, y = recorded(golden, "pgd")
    assert_same(outputs[0](x), y)
    assert_same(attack(away_from(outputs[0], y), x, x + golden["noise"].double()), expected)


def test_ifgsm_from_the_clean_photo_does_not_move(outputs: list[Output], golden: dict[str, Any]) -> None:
    x = golden["input"].double()
    expected, _ = recorded(golden, "ifgsm_clean_start_y_eq_G(x)")
    disrupted = attack(away_from(outputs[0], outputs[0](x)), x, x)
    assert torch.equal(disrupted, x)
    assert_same(disrupted, expected)


def test_the_iterative_class_attack_is_the_recorded_one(outputs: list[Output], golden: dict[str, Any]) -> None:
    """The reference code compares every class with the first class's clean output."""
    x = golden["input"].double()
    expected, y = recorded(golden, "iter_class")
    objective = in_turn([away_from(output, y) for output in outputs])
    assert_same(attack(objective, x, x + golden["noise"].double()), expected)


def test_pgd_on_cyclegan_is_the_recorded_one(shared: Path) -> None:
    """Its start is the first draw of NumPy's legacy generator with seed 0, rounded to float32 (found by fitting the record)."""
    golden = torch.load(shared / "golden" / "cyclegan.pt", weights_only=True)
    net = cyclegan_from_state(read_state_dict(shared / "golden" / "cyclegan.pt")).double().requires_grad_(False)
    x = golden["input"][:1].double()
    noise = np.random.RandomState(0).uniform(-0.05, 0.05, x.shape).astype(np.float32)
    assert_same(attack(away_from(net, net(x)), x, x + torch.from_numpy(noise).double()), golden["pgd_float64_x_adv"])
