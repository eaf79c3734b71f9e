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
from pipeline.training.systems.faces_game import Game
from pipeline.training.systems.stargan import REGIMES, StarGANSystem, bilinear_upsampling
from pipeline.training.systems.system import Batch
from tests.fast.training import by_hand
from tests.fast.training.small import batch_of, fresh

FEW = by_hand.Weights(cls=1, rec=10, keep=2, gp=0, r1=5)
PUBLISHED = by_hand.Weights(cls=1, rec=10, keep=0, gp=10, r1=0, game="wasserstein")
SHARP = by_hand.Weights(cls=1, rec=10, keep=1, gp=0, r1=1, r1_every=4, same=10, unfooled=0.5, game="log")


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
    ("regime", "weights", "step"),
    [("few-images", FEW, 0), ("few-images", FEW, 1), ("published", PUBLISHED, 4), ("sharp", SHARP, 1200), ("sharp", SHARP, 1201)],
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
    d = by_hand.d_gradients(D, batch, batch["image"], fake, weights, lazy=step in (0, 1200))
    assert_moved_as(state.nets.D["D"], D, d, 1e-3)
    cycled = {"few-images": [0, 2], "published": [0, 1, 2, 3], "sharp": [1, 2, 3]}[regime]
    same = [0] if regime == "sharp" else []
    g = by_hand.g_gradients(G, state.nets.D["D"], batch, batch["image"], clean=None, w=weights, cycled=cycled, same=same)
    assert_moved_as(state.nets.G["G"], G, g, 1e-3)


@pytest.mark.parametrize("game", ["hinge", "log"])
@pytest.mark.parametrize("mode", ["generator", "both"])
def test_an_adversarial_step_moves_both_nets_as_the_second_implementation(mode: str, game: Game) -> None:
    attack = Adversarial(mode, epsilon=6, steps=3, step_size=2, consistency=7)  # type: ignore[arg-type]
    system = StarGANSystem(game=game)
    state = fresh(system)
    batch = drawn_as_in_the_step(state, system, attack)
    G, D = deepcopy(state.nets.G["G"]), deepcopy(state.nets.D["D"])
    train_step(state, system, batch_of(), StepSettings(lr=1e-3, adversarial=attack))

    given, clean, real, fake = by_hand.adversary(G, D, batch, epsilon=6 / 127.5, size=2 / 127.5, steps=3, both=mode == "both")
    weights = by_hand.Weights(cls=1, rec=10, keep=2, gp=0, r1=5, consistency=7, game=game)
    d = by_hand.d_gradients(D, batch, real, fake, weights, lazy=True)
    assert_moved_as(state.nets.D["D"], D, d, 1e-3)
    # With the game as [R20] writes it, G meets eta3 too.
    eta3 = fake - G(given, batch["c"]).detach() if (mode, game) == ("both", "log") else None
    g = by_hand.g_gradients(G, state.nets.D["D"], batch, given, clean=clean, w=weights, cycled=[0, 2], eta3=eta3)
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


def test_in_the_warm_up_every_photo_is_given_back_and_d_only_reads_photos() -> None:
    system = StarGANSystem(warm_up=5, same=3, unfooled=0.5)
    state = fresh(system)
    batch = drawn_as_in_the_step(state, system, Adversarial())
    assert not batch["c"].any()
    G = deepcopy(state.nets.G["G"])
    losses = train_step(state, system, batch_of(), StepSettings(lr=1e-3))
    assert losses.keys() == {"d_cls", "d_r1", "d_loss", "g_same", "g_loss"}
    expected = torch.autograd.grad(3 * (G(batch["image"], batch["c"]) - batch["image"]).abs().mean(), list(G.parameters()))
    assert_moved_as(state.nets.G["G"], G, expected, 1e-3)


def test_after_the_warm_up_the_asked_share_of_a_batch_stays_as_it_is() -> None:
    system = StarGANSystem(warm_up=5, same_share=0.25, rec_share=1.0)
    batch = system.draw(batch_of(8), 5, torch.Generator().manual_seed(1))
    stays = (batch["c"] == 0).all(1)
    assert stays.tolist() == [True, False, False, False, True, False, False, False]
    assert torch.equal(batch["target"][stays], batch["labels"][stays])
    assert batch["same_weight"].tolist() == [4, 0, 0, 0, 4, 0, 0, 0]
    assert batch["cycle_weight"].tolist() == pytest.approx([0, 8 / 6, 8 / 6, 8 / 6] * 2)


def test_of_a_net_that_takes_labels_the_photos_that_stay_get_their_own() -> None:
    system = StarGANSystem(conditions="labels", same_share=0.5)
    batch = system.draw(batch_of(), 0, torch.Generator().manual_seed(1))
    assert torch.equal(batch["c"][[0, 2]], batch["labels"][[0, 2]])


def test_upsampling_that_starts_bilinear_has_no_grid() -> None:
    constant = torch.ones(1, 8, 6, 6)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = nn.ConvTranspose2d(8, 4, 4, stride=2, padding=1, bias=False)
    inside = (slice(None), slice(None), slice(2, -2), slice(2, -2))  # beyond, the padding shows
    assert layer(constant)[inside].std((2, 3)).max() > 0.01
    bilinear_upsampling(layer)
    assert layer(constant)[inside].std((2, 3)).max() < 1e-6
    ramp = torch.arange(6.0).expand(1, 8, 6, 6)
    torch.testing.assert_close(layer(ramp)[inside].diff(dim=3, n=2), torch.zeros(1, 4, 8, 6), atol=1e-5, rtol=0)
