"""Whole StarGAN steps, gradients included, against a second implementation written out by hand (float64)."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from pipeline.training.adversarial import Adversarial
from pipeline.training.state import TrainState
from pipeline.training.step import StepSettings, train_step
from pipeline.training.systems.stargan import REGIMES, StarGANSystem
from pipeline.training.systems.system import Batch
from tests.fast.training import by_hand
from tests.fast.training.small import batch_of, fresh

FEW = by_hand.Weights(cls=1, rec=10, keep=2, gp=0, r1=5)
PUBLISHED = by_hand.Weights(cls=1, rec=10, keep=0, gp=10, r1=0)


def drawn_as_in_the_step(state: TrainState, system: StarGANSystem, attack: Adversarial) -> Batch:
    rng = torch.Generator()
    rng.set_state(state.rng.get_state())
    return attack.draw(system.draw(batch_of(), state.step, rng), rng)


def assert_moved_as(net: nn.Module, before: nn.Module, gradients: Sequence[Tensor], lr: float) -> None:
    for p, old, g in zip(net.parameters(), before.parameters(), gradients, strict=True):
        assert p.grad is not None
        torch.testing.assert_close(p.grad, g, rtol=1e-9, atol=1e-12)
        sure = g.abs() > 1e-9  # below, Adam's first step divides rounding by itself
        torch.testing.assert_close(p[sure], by_hand.adam_first(old, g, lr)[sure], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("regime", "weights", "step"), [("few-images", FEW, 0), ("few-images", FEW, 1), ("published", PUBLISHED, 4)]
)
def test_a_plain_step_moves_both_nets_as_the_second_implementation(regime: str, weights: by_hand.Weights, step: int) -> None:
    system = REGIMES[regime]
    state = fresh(system)
    state.step = step
    batch = drawn_as_in_the_step(state, system, Adversarial())
    G, D = deepcopy(state.nets.G["G"]), deepcopy(state.nets.D["D"])
    d_steps = 5 if regime == "published" else 1
    train_step(state, system, batch_of(), StepSettings(lr=1e-3, d_steps=d_steps))

    fake = G(batch["image"], batch["c"]).detach()
    d = by_hand.d_gradients(D, batch, batch["image"], fake, weights, hinge=regime == "few-images", lazy=step == 0)
    assert_moved_as(state.nets.D["D"], D, d, 1e-3)
    cycled = [0, 2] if regime == "few-images" else [0, 1, 2, 3]
    g = by_hand.g_gradients(G, state.nets.D["D"], batch, batch["image"], clean=None, w=weights, cycled=cycled)
    assert_moved_as(state.nets.G["G"], G, g, 1e-3)


@pytest.mark.parametrize("mode", ["generator", "both"])
def test_an_adversarial_step_moves_both_nets_as_the_second_implementation(mode: str) -> None:
    attack = Adversarial(mode, epsilon=6, steps=3, step_size=2, consistency=7)  # type: ignore[arg-type]
    system = StarGANSystem()
    state = fresh(system)
    batch = drawn_as_in_the_step(state, system, attack)
    G, D = deepcopy(state.nets.G["G"]), deepcopy(state.nets.D["D"])
    train_step(state, system, batch_of(), StepSettings(lr=1e-3, adversarial=attack))

    given, clean, real, fake = by_hand.adversary(G, D, batch, epsilon=6 / 127.5, size=2 / 127.5, steps=3, both=mode == "both")
    weights = by_hand.Weights(cls=1, rec=10, keep=2, gp=0, r1=5, consistency=7)
    d = by_hand.d_gradients(D, batch, real, fake, weights, hinge=True, lazy=True)
    assert_moved_as(state.nets.D["D"], D, d, 1e-3)
    g = by_hand.g_gradients(G, state.nets.D["D"], batch, given, clean=clean, w=weights, cycled=[0, 2])
    assert_moved_as(state.nets.G["G"], G, g, 1e-3)


def test_the_gradient_of_the_cycle_reaches_the_first_translation() -> None:
    system = StarGANSystem(cls=0, keep=0)
    state = fresh(system)
    for p in state.nets.D.parameters():
        p.data.zero_()  # D has no opinion: what is left is the cycle
    batch = system.draw(batch_of(), 0, state.rng)
    inputs = system.inputs(batch)
    fake = {name: image.detach().requires_grad_(True) for name, image in system.translate(state.nets.G, inputs, batch).items()}
    loss, _ = system.g_loss(state.nets, batch, inputs, fake, 0)
    loss.backward()
    grad = fake["fake"].grad
    assert grad is not None
    assert (grad.abs().amax((1, 2, 3)) > 0).tolist() == [True, False, True, False]


def test_the_cycle_leads_back_to_the_untouched_photo_and_not_to_the_perturbed_one() -> None:
    system = StarGANSystem()
    state = fresh(system)
    batch = system.draw(batch_of(), 0, state.rng)
    fake = system.translate(state.nets.G, system.inputs(batch), batch)
    whole, parts = system.g_loss(state.nets, batch, {"fake": batch["image"] + 0.1}, fake, 0)
    same, same_parts = system.g_loss(state.nets, batch, system.inputs(batch), fake, 0)
    assert whole.item() == same.item()
    assert parts["g_rec"].item() == same_parts["g_rec"].item()


def test_the_moving_average_follows_the_generator_only() -> None:
    state = fresh()
    before = deepcopy(state.G_ema)
    train_step(state, StarGANSystem(), batch_of(), StepSettings(ema_decay=0.998))
    decay = 1 / 10  # at the first step the average forgets quickly
    for a, old, p in zip(state.G_ema.parameters(), before.parameters(), state.nets.G.parameters(), strict=True):
        torch.testing.assert_close(a, decay * old + (1 - decay) * p)


def test_without_averaging_the_written_generator_is_the_trained_one() -> None:
    state = fresh()
    train_step(state, StarGANSystem(), batch_of(), StepSettings(ema_decay=0))
    for a, p in zip(state.G_ema.parameters(), state.nets.G.parameters(), strict=True):
        assert torch.equal(a, p)


def test_published_targets_are_the_labels_of_other_images_of_the_batch() -> None:
    batch = REGIMES["published"].draw(batch_of(), 0, torch.Generator().manual_seed(1))
    assert sorted(batch["target"].tolist()) == sorted(batch["labels"].tolist())
    assert torch.equal(batch["c"], batch["target"])
    assert torch.equal(batch["back"], batch["labels"])
