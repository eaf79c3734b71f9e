"""Perturbations of adversarial training: inside the ball, against the live nets, one image at a time, and closed forms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.images.blur import gaussian_blur
from pipeline.training.adversarial import (
    Adversarial,
    blur_before,
    perturbed_fakes,
    perturbed_inputs,
    perturbed_reals,
)
from pipeline.training.errors import TrainError
from pipeline.training.stargan import StarGANSystem
from pipeline.training.system import Batch
from tests.fast.training.small import batch_of, fresh

EPSILON = 6 / 127.5


class Linear(nn.Module):
    """Scores images by one plane of weights; says nothing about attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        return (x_BCHW * self.weight).flatten(1).sum(1, keepdim=True), torch.zeros(len(x_BCHW), 5)


def drawn(attack: Adversarial, system: StarGANSystem, count: int = 4) -> Batch:
    rng = torch.Generator().manual_seed(5)
    return attack.draw(system.draw(batch_of(count), 0, rng), rng)


def test_a_linear_discriminator_is_attacked_along_the_signs_of_its_weights() -> None:
    system, attack = StarGANSystem(augment=False), Adversarial("both", steps=2, step_size=12)
    batch, D = drawn(attack, system), Linear()
    nets, x = nn.ModuleDict({"D": D}), batch["image"]
    down = perturbed_reals(system, nets, batch, attack)["fake"]
    up = perturbed_fakes(system, nets, {"fake": x.requires_grad_(True)}, batch, attack)["fake"]
    torch.testing.assert_close(down, (x.detach() - EPSILON * D.weight.sign()).clamp(-1, 1).detach())
    torch.testing.assert_close(up, (x.detach() + EPSILON * D.weight.sign()).clamp(-1, 1).detach())


@pytest.mark.parametrize("start", ["uniform", "jitter"])
def test_perturbed_inputs_stay_in_the_ball_and_move_the_output_more_than_noise_does(start: str) -> None:
    system, attack = StarGANSystem(), Adversarial("generator", start=start)
    state, batch = fresh(system), drawn(attack, StarGANSystem())
    perturbed, clean = perturbed_inputs(system, state.nets.G, batch, attack)
    eta = perturbed["fake"] - batch["image"]
    assert eta.abs().max() <= EPSILON + 1e-12
    assert perturbed["fake"].abs().max() <= 1
    noise = batch["image"] + EPSILON * (torch.randint(0, 2, eta.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1)

    def apart(x_BCHW: Tensor) -> Tensor:
        return (system.translate(state.nets.G, {"fake": x_BCHW}, batch)["fake"] - clean["fake"]).square().mean((1, 2, 3))

    with torch.no_grad():
        assert (apart(perturbed["fake"]) > 2 * apart(noise.clamp(-1, 1))).all()


def test_crafting_leaves_no_gradient_on_weights_and_lets_them_learn_afterwards() -> None:
    system, attack = StarGANSystem(), Adversarial("both", steps=1)
    state, batch = fresh(system), drawn(attack, StarGANSystem())
    perturbed, clean = perturbed_inputs(system, state.nets.G, batch, attack)
    crafted = [perturbed, clean, perturbed_reals(system, state.nets.D, batch, attack)]
    crafted.append(perturbed_fakes(system, state.nets.D, perturbed, batch, attack))
    assert not any(image.requires_grad for images in crafted for image in images.values())
    for net in (state.nets.G, state.nets.D):
        assert all(p.grad is None and p.requires_grad for p in net.parameters())


def test_each_image_is_perturbed_as_if_it_were_alone() -> None:
    system, attack = StarGANSystem(), Adversarial("both")
    state, batch = fresh(system), drawn(attack, StarGANSystem())
    together, _ = perturbed_inputs(system, state.nets.G, batch, attack)
    reals = perturbed_reals(system, state.nets.D, batch, attack)
    third = {name: tensor[2:3] for name, tensor in batch.items()}
    alone, _ = perturbed_inputs(system, state.nets.G, third, attack)
    alone_real = perturbed_reals(system, state.nets.D, third, attack)
    torch.testing.assert_close(alone["fake"], together["fake"][2:3])
    torch.testing.assert_close(alone_real["fake"], reals["fake"][2:3])


def test_without_hardening_nothing_is_drawn() -> None:
    batch, rng = batch_of(), torch.Generator().manual_seed(0)
    before = rng.get_state()
    assert Adversarial().draw(batch, rng) is batch
    assert torch.equal(rng.get_state(), before)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"mode": "discriminator"}, "none, generator or both"),
        ({"start": "clean"}, "gradient is zero"),
        ({"start": "middle"}, "expected one of clean"),
        ({"reference": "red"}, "expected one of output"),
        ({"steps": 0}, "at least 1 step"),
        ({"epsilon": 0.0}, "epsilon"),
        ({"consistency": -1.0}, "0 or more"),
    ],
)
def test_an_attack_that_cannot_be_is_refused_with_what_was_expected(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(TrainError, match=said):
        Adversarial(**wrong)


def test_a_clean_start_is_fine_with_another_reference_than_the_output() -> None:
    system, attack = StarGANSystem(), Adversarial("generator", start="clean", reference="black", steps=1)
    state, batch = fresh(system), drawn(attack, StarGANSystem())
    perturbed, _ = perturbed_inputs(system, state.nets.G, batch, attack)
    assert ((perturbed["fake"] - batch["image"]).abs().amax((1, 2, 3)) > 0).all()


def test_a_blur_before_the_generator_is_part_of_it_for_translation_and_attack() -> None:
    system = StarGANSystem()
    state, batch = fresh(system), drawn(Adversarial("generator"), system)
    sharp = state.nets.G["G"](gaussian_blur(batch["image"], sigma=1.5), batch["c"])
    names = list(state.nets.G.state_dict())
    blur_before(state.nets.G, 1.5)
    torch.testing.assert_close(system.translate(state.nets.G, {"fake": batch["image"]}, batch)["fake"], sharp)
    _, clean = perturbed_inputs(system, state.nets.G, batch, Adversarial("generator", steps=1))
    torch.testing.assert_close(clean["fake"], sharp.detach())
    assert list(state.nets.G.state_dict()) == names
    with pytest.raises(TrainError, match="expected 0"):
        blur_before(state.nets.G, -1)
