"""GANimation's losses against a second derivation, written image by image; what it draws; what it ships."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from pipeline.generators.checkpoint import save_weights
from pipeline.generators.zoo import load_generator
from pipeline.training.adversarial import Adversarial
from pipeline.training.data.batches import for_discriminator
from pipeline.training.options import TrainError
from pipeline.training.state import TrainState
from pipeline.training.step import StepSettings, split, train_step
from pipeline.training.systems.ganimation import EXPRESSIONS, REGIMES, GANimationSystem, Painted, roughness, saturation
from pipeline.training.systems.stargan import REGIMES as STARGAN
from pipeline.training.systems.system import Batch, Nets, Sizes

SIZES = Sizes(64, 2, 2)
PUBLISHED, FEW = REGIMES["published"], REGIMES["few-images"]


def nets_of(system: GANimationSystem, seed: int = 1) -> Nets:
    torch.manual_seed(seed)
    nets = system.build(SIZES)
    for net in (nets.G, nets.D):
        net.double()
        for p in net.parameters():
            p.data.mul_(2)  # far from the flat start, where adversarial gradients are all but zero
    return nets


def drawn(system: GANimationSystem, *, count: int = 4, step: int = 0) -> Batch:
    rng = torch.Generator().manual_seed(2)
    image = torch.rand(count, 3, 64, 64, generator=rng, dtype=torch.float64) * 2 - 1
    labels = torch.rand(count, 7, generator=rng, dtype=torch.float64)
    return system.draw({"image": image, "labels": labels}, step, rng)


def gradients(loss: Tensor, net: torch.nn.Module) -> list[Tensor]:
    """In the order of the parameters; zeros for one that the loss does not reach."""
    parameters = list(net.parameters())
    found = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


def assert_same_with_gradients(got: Tensor, expected: Tensor, net: torch.nn.Module) -> None:
    assert got.item() == pytest.approx(expected.item(), rel=1e-11)
    pairs = list(zip(gradients(got, net), gradients(expected, net), strict=True))
    assert sum(float(e.abs().sum()) for _, e in pairs) > 1e-3
    for g, e in pairs:
        torch.testing.assert_close(g, e, rtol=1e-9, atol=1e-12)


def rows(batch: Batch, i: int) -> Batch:
    return {name: tensor[i : i + 1] for name, tensor in batch.items()}


def slope(D: torch.nn.Module, x: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    (g,) = torch.autograd.grad(D(x)[0].sum(), x, create_graph=True)
    return g


def test_d_minimises_wgan_gp_and_the_error_of_the_expressions_as_published() -> None:
    nets, batch = nets_of(PUBLISHED), drawn(PUBLISHED)
    D = nets.D["D"]
    fake = torch.rand(4, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(5)) * 2 - 1
    total = torch.zeros((), dtype=torch.float64)
    for i in range(4):
        x, y, share = batch["image"][i : i + 1], fake[i : i + 1], batch["between"][i].double()
        critic = D(y)[0].mean() - D(x)[0].mean()
        error = sum((D(x)[1][0, k] - batch["labels"][i, k]) ** 2 for k in range(7)) / 7
        norm = slope(D, share * x + (1 - share) * y).pow(2).sum().sqrt()
        total = total + (critic + 160 * error + 10 * (norm - 1) ** 2) / 4
    loss, parts = PUBLISHED.d_loss(nets, batch, PUBLISHED.reals(batch), {"fake": fake}, 3)
    assert_same_with_gradients(loss, total, nets.D)
    assert set(parts) == {"d_adv", "d_cls", "d_gp"}


@pytest.mark.parametrize("step", [16, 17])
def test_d_of_few_images_plays_the_hinge_game_on_views_with_a_lazy_r1(step: int) -> None:
    nets, batch = nets_of(FEW), drawn(FEW)
    D = nets.D["D"]
    fake = batch["image"].flip(0) * 0.7
    total = torch.zeros((), dtype=torch.float64)
    for i in range(4):
        view = batch["view_D"][i : i + 1]
        x, y = (for_discriminator(image[i : i + 1], view) for image in (batch["image"], fake))
        hinge = (1 - D(x)[0]).clamp(min=0).mean() + (1 + D(y)[0]).clamp(min=0).mean()
        error = (D(x)[1] - batch["labels"][i]).pow(2).mean()
        r1 = slope(D, x).pow(2).sum() if step == 16 else 0  # one patch: the mean over patches is the sum
        total = total + (hinge + 20 * error + 0.5 * 5 * 16 * r1) / 4
    loss, _ = FEW.d_loss(nets, batch, FEW.reals(batch), {"fake": fake}, step)
    assert_same_with_gradients(loss, total, nets.D)


@pytest.mark.parametrize(
    "system", [PUBLISHED, replace(FEW, rec_every=1), replace(FEW, rec_every=1, keep=3.0)], ids=["published", "few-images", "keep"]
)
def test_g_minimises_game_expressions_cycle_and_masks_and_the_cycle_reaches_the_first_translation(system: GANimationSystem) -> None:
    nets, batch = nets_of(system), drawn(system)
    G, D = nets.G["G"], nets.D["D"]
    x = batch["image"]
    perturbed = (x + 0.03).clamp(-1, 1)
    total = torch.zeros((), dtype=torch.float64)
    for i in range(4):
        there, paint = G(perturbed[i : i + 1], batch["target"][i : i + 1])
        y = there * perturbed[i] + (1 - there) * paint
        back, paint_back = G(y, batch["labels"][i : i + 1])
        z = back * y + (1 - back) * paint_back
        src, read = D(for_discriminator(y, batch["view_G"][i : i + 1]) if system.augment else y)
        masks = sum(0.1 * m.sum() / 64**2 + 1e-4 * (m.diff(dim=2).pow(2).sum() + m.diff(dim=3).pow(2).sum()) for m in (there, back))
        error = system.cls * (read[0] - batch["target"][i]).pow(2).sum() / 7
        total = total + (-src.mean() + error + 10 * (z - x[i]).abs().mean() + masks) / 4
        total = total + system.keep * (y - x[i]).abs().mean() / 4
    fake = system.translate(nets.G, {"fake": perturbed}, batch)
    loss, _ = system.g_loss(nets, batch, {"fake": perturbed}, fake, 0)
    assert_same_with_gradients(loss, total, nets.G)
    rarer, parts = replace(system, rec_every=4).g_loss(nets, batch, {"fake": perturbed}, fake, 0)
    assert rarer.item() == pytest.approx((loss + 3 * 10 * parts["g_rec"]).item(), rel=1e-12)
    again, _ = system.g_loss(nets, batch, {"fake": perturbed}, dict(fake), 0)  # without its masks they are made again
    assert again.item() == pytest.approx(loss.item(), rel=1e-12)


@pytest.mark.parametrize("system", REGIMES.values(), ids=REGIMES)
def test_the_loss_of_a_batch_is_the_mean_of_the_losses_of_its_halves(system: GANimationSystem) -> None:
    nets, batch = nets_of(system), drawn(system)

    def losses(part: Batch) -> Tensor:
        inputs = system.inputs(part)
        fake = system.translate(nets.G, inputs, part)
        d, _ = system.d_loss(nets, part, system.reals(part), {"fake": fake["fake"].detach()}, 0)
        g, _ = system.g_loss(nets, part, inputs, fake, 0)
        return torch.stack([d, g])

    halves = torch.stack([losses(half) for half in split(batch, 2, what="halves")]).mean(0)
    torch.testing.assert_close(losses(batch), halves, rtol=1e-11, atol=0)


def test_a_cycle_closed_in_one_step_of_many_weighs_on_average_as_if_it_were_closed_in_all() -> None:
    rng = torch.Generator().manual_seed(0)
    batch = {"image": torch.zeros(2, 3, 64, 64), "labels": torch.rand(2, 7)}
    flags = torch.stack([replace(FEW, rec_every=4).draw(batch, s, rng)["cycled"] for s in range(800)])
    assert (flags.float().mean(1) == flags[:, 0].float()).all()
    assert flags[:, 0].float().mean().item() == pytest.approx(0.25, abs=0.06)


def test_most_of_few_images_are_asked_for_pure_expressions_and_published_ones_for_those_of_others() -> None:
    rng = torch.Generator().manual_seed(0)
    labels = torch.rand(400, 7, generator=rng)
    batch = {"image": torch.zeros(400, 3, 64, 64), "labels": labels}
    target = FEW.draw(batch, 0, rng)["target"]
    pure = (target.sort(1).values == torch.tensor([0.0] * 6 + [1.0])).all(1)
    assert pure.float().mean().item() == pytest.approx(0.75, abs=0.08)
    assert (target[pure].mean(0) - 1 / 7).abs().max() < 0.08
    published = PUBLISHED.draw(batch, 0, rng)["target"]
    assert torch.equal(published.sort(0).values, labels.sort(0).values)
    assert (published != labels).any(1).float().mean() > 0.9


def test_a_mask_that_is_full_is_saturated_and_one_that_is_even_is_smooth() -> None:
    full, half = torch.ones(2, 1, 8, 8), torch.zeros(2, 1, 8, 8)
    half[:, :, :4] = 1
    assert saturation(full) == 1
    assert saturation(half) == 0.5
    assert roughness(full) == 0
    assert roughness(half) == 8  # one border of eight pixels


@pytest.mark.parametrize(("regime", "mode"), [("few-images", "both"), ("published", "generator")])
def test_a_step_of_training_moves_every_weight_of_g_and_d(regime: str, mode: str) -> None:
    system = replace(REGIMES[regime], rec_every=1)
    attack = Adversarial(mode="both" if mode == "both" else "generator", steps=1)
    state = TrainState.fresh(system, SIZES, seed=0)
    before = {name: p.clone() for net in (state.nets.G, state.nets.D) for name, p in net.named_parameters()}
    rng = torch.Generator().manual_seed(1)
    batch = {"image": torch.rand(2, 3, 64, 64, generator=rng) * 2 - 1, "labels": torch.rand(2, 7, generator=rng)}
    train_step(state, system, batch, StepSettings(adversarial=attack))
    after = {name: p for net in (state.nets.G, state.nets.D) for name, p in net.named_parameters()}
    still = [name for name, p in after.items() if torch.equal(p, before[name])]
    assert still == []


def test_the_trained_net_is_taken_by_the_table_of_generators_with_its_expressions_as_classes(tmp_path: Path) -> None:
    nets = FEW.build(SIZES)
    metadata = {"system": "ganimation", "size": "64", "classes": json.dumps(FEW.classes())}
    save_weights(nets.G["G"], tmp_path / "generator.safetensors", metadata=metadata)
    generator = load_generator("ganimation", weights=tmp_path / "generator.safetensors")
    assert tuple(generator.classes) == EXPRESSIONS
    x = torch.rand(1, 3, 64, 64) * 2 - 1
    batch = {"image": x, "labels": torch.zeros(1, 7)}
    with torch.no_grad():
        columns = FEW.samples(nets.G, batch)
    assert len(columns) == 8
    torch.testing.assert_close(generator(x, "sad"), columns[1 + EXPRESSIONS.index("sad")])
    assert isinstance(FEW.translate(nets.G, {"fake": x}, {"target": torch.zeros(1, 7)}), Painted)


@pytest.mark.parametrize("side", [60, 66, 0])
def test_a_side_that_d_cannot_halve_six_times_is_refused_with_one_that_it_can(side: int) -> None:
    with pytest.raises(TrainError, match=r"take 6[48]"):
        FEW.build(Sizes(side, 2, 2))


@pytest.mark.parametrize("file", ["plain.pt", "plain.safetensors"])
def test_ganimation_may_start_from_a_stargan_and_takes_its_trunk_its_last_convolution_and_its_first_of_colours(
    tmp_path: Path, file: str
) -> None:
    plain = TrainState.fresh(STARGAN["few-images"], Sizes(64, 4, 4), seed=1)
    plain.save(tmp_path / "plain.pt")
    save_file(plain.nets.G["G"].state_dict(), tmp_path / "plain.safetensors")
    state = TrainState.fresh(GANimationSystem(), Sizes(64, 4, 4), seed=2)
    before = {name: weight.clone() for name, weight in state.nets.G.state_dict().items()}
    state.start_from(tmp_path / file)
    theirs, ours = plain.nets.G.state_dict(), state.nets.G.state_dict()
    assert torch.equal(ours["G.im_reg.0.weight"], theirs["G.main.21.weight"])
    assert torch.equal(ours["G.main.9.main.0.weight"], theirs["G.main.9.main.0.weight"])
    assert torch.equal(ours["G.main.0.weight"][:, :3], theirs["G.main.0.weight"][:, :3])
    assert torch.equal(ours["G.main.0.weight"][:, 3:], before["G.main.0.weight"][:, 3:])
    assert torch.equal(ours["G.im_att.0.weight"], before["G.im_att.0.weight"])
    from_d = torch.equal(state.nets.D.state_dict()["D.main.2.weight"], plain.nets.D.state_dict()["D.main.2.weight"])
    assert from_d == (file == "plain.pt"), "a file of weights has no discriminator"
