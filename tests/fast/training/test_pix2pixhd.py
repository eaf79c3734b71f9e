"""pix2pixHD's losses against a second derivation, with and without a perceptual net."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.generators.checkpoint import CheckpointError, read_state_dict, save_weights
from pipeline.generators.pix2pixhd import label_planes, pix2pixhd_from_state
from pipeline.training.adversarial import Adversarial
from pipeline.training.options import TrainError
from pipeline.training.state import TrainState
from pipeline.training.step import StepSettings, split, train_step
from pipeline.training.systems.losses import VGGFeatures, vgg_from_state
from pipeline.training.systems.pix2pixhd import Pix2PixHDSystem, colour_labels
from pipeline.training.systems.system import Batch, Nets, Sizes

SIZES = Sizes(32, 1, 2)
SYSTEM = Pix2PixHDSystem()
VGG16 = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
VGG19 = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)


def scenes(count: int = 4, dtype: torch.dtype = torch.float64) -> Batch:
    rng = torch.Generator().manual_seed(2)
    labels = torch.randint(0, 35, (count, 4, 8), generator=rng).repeat_interleave(8, 1).repeat_interleave(8, 2)
    image = torch.rand(count, 3, 32, 64, generator=rng, dtype=dtype) * 2 - 1
    return SYSTEM.draw({"planes": label_planes(labels, labels * 1000).to(dtype), "image": image}, 0, rng)


@pytest.fixture(scope="module")
def nets() -> Nets:
    torch.manual_seed(1)
    nets = SYSTEM.build(SIZES)
    for net in (nets.G, nets.D):
        net.double()
    return nets


def judged(D: nn.Module, planes: Tensor, image: Tensor) -> list[list[Tensor]]:
    """D layer by layer: the net of the highest number sees the full size, the other 3x3 means of it."""
    x = torch.cat([planes, image], 1)
    coarse = F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 2) / F.avg_pool2d(F.pad(torch.ones_like(x), (1, 1, 1, 1)), 3, 2)
    found = []
    for scale, given in ((1, x), (0, coarse)):
        features = [given]
        for j in range(5):
            features.append(D.get_submodule(f"scale{scale}_layer{j}")(features[-1]))
        found.append(features[1:])
    return found


def assert_same_with_gradients(got: Tensor, expected: Tensor, net: nn.Module) -> None:
    assert got.item() == pytest.approx(expected.item(), rel=1e-11)
    parameters = list(net.parameters())
    for g, e in zip(torch.autograd.grad(got, parameters), torch.autograd.grad(expected, parameters), strict=True):
        torch.testing.assert_close(g, e, rtol=1e-8, atol=1e-12)


def test_d_minimises_half_the_squares_of_both_scales_and_sees_the_planes(nets: Nets) -> None:
    batch = scenes()
    real, fake = batch["image"] * 0.9, batch["image"].flip(0)
    D, planes = nets.D["D"], batch["planes"]
    total = torch.zeros((), dtype=torch.float64)
    for r, f in zip(judged(D, planes, real), judged(D, planes, fake), strict=True):
        total = total + ((r[-1] - 1) ** 2).mean() / 2 + (f[-1] ** 2).mean() / 2
    loss, _ = SYSTEM.d_loss(nets, batch, {"fake": real}, {"fake": fake}, 0)
    assert_same_with_gradients(loss, total, nets.D)
    scores = SYSTEM.score(nets.D, "fake", real, batch)
    for i in range(4):
        fine, coarse = judged(D, planes[i : i + 1], real[i : i + 1])
        assert scores[i].item() == pytest.approx((fine[-1].mean() + coarse[-1].mean()).item() / 2)


def test_g_minimises_squares_and_the_distance_of_features_of_d_to_the_untouched_photo(nets: Nets) -> None:
    batch = scenes()
    planes = batch["planes"]
    seen = (planes + 0.02).clamp(-1, 1)
    D = nets.D["D"]
    y = nets.G["G"](seen)
    fakes, reals = judged(D, planes, y), judged(D, planes, batch["image"])
    total = torch.zeros((), dtype=torch.float64)
    for f, r in zip(fakes, reals, strict=True):
        total = total + ((f[4] - 1) ** 2).mean()
        total = total + 10 * sum((f[j] - r[j].detach()).abs().mean() for j in range(4)) / 2
    fake = SYSTEM.translate(nets.G, {"fake": seen}, batch)
    loss, parts = SYSTEM.g_loss(nets, batch, {"fake": seen}, fake, 0)
    assert_same_with_gradients(loss, total, nets.G)
    assert set(parts) == {"g_adv", "g_features"}


def test_the_loss_of_a_batch_is_the_mean_of_the_losses_of_its_halves(nets: Nets) -> None:
    def losses(part: Batch) -> Tensor:
        inputs = SYSTEM.inputs(part)
        fake = SYSTEM.translate(nets.G, inputs, part)
        d, _ = SYSTEM.d_loss(nets, part, SYSTEM.reals(part), {"fake": fake["fake"].detach()}, 0)
        g, _ = SYSTEM.g_loss(nets, part, inputs, fake, 0)
        return torch.stack([d, g]).detach()

    batch = scenes()
    halves = torch.stack([losses(half) for half in split(batch, 2, what="halves")]).mean(0)
    torch.testing.assert_close(losses(batch), halves, rtol=1e-11, atol=0)


def vgg_file(path: Path, layers: tuple[int, ...], width: int = 2) -> dict[str, Tensor]:
    """A whole VGG in the names of the released files, random and narrow."""
    rng = torch.Generator().manual_seed(3)
    blocks = {16: (2, 2, 4, 4, 4), 13: (2, 2, 3, 3, 3)}[len(layers)]
    widths = [width * min(2**b, 8) for b, count in enumerate(blocks) for _ in range(count)]
    state = {}
    for layer, before, after in zip(layers, [3, *widths], widths, strict=False):
        state[f"features.{layer}.weight"] = torch.randn(after, before, 3, 3, generator=rng) * (2 / (9 * before)) ** 0.5
        state[f"features.{layer}.bias"] = torch.randn(after, generator=rng) * 0.1
    state["classifier.0.weight"] = torch.zeros(2, 2)
    torch.save(state, path)
    return state


@pytest.mark.parametrize(("layers", "taps"), [(VGG19, (0, 5, 10, 19, 28)), (VGG16, (0, 5, 10, 17, 24))], ids=["VGG-19", "VGG-16"])
def test_vgg_weights_of_the_user_add_the_perceptual_distance(
    nets: Nets, tmp_path: Path, layers: tuple[int, ...], taps: tuple[int, ...]
) -> None:
    state = vgg_file(tmp_path / "vgg.pth", layers)
    system = replace(SYSTEM, vgg=tmp_path / "vgg.pth")
    batch = scenes()

    def features(x: Tensor) -> list[Tensor]:
        mean, std = (torch.tensor(v, dtype=x.dtype)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        h, found = (x * 0.5 + 0.5 - mean) / std, []
        for index in range(max(taps) + 1):
            if index in layers:
                h = F.conv2d(h, state[f"features.{index}.weight"].double(), state[f"features.{index}.bias"].double(), padding=1)
                h = h.clamp(min=0)
                found += [h] if index in taps else []
            elif index - 1 not in layers:
                h = F.max_pool2d(h, 2, 2)
        return found

    fake = SYSTEM.translate(nets.G, SYSTEM.inputs(batch), batch)
    plain, _ = SYSTEM.g_loss(nets, batch, {}, fake, 0)
    pairs = zip((1 / 32, 1 / 16, 1 / 8, 1 / 4, 1), features(fake["fake"]), features(batch["image"]), strict=True)
    distance = sum((w * (a - b).abs().mean() for w, a, b in pairs), torch.zeros((), dtype=torch.float64))
    loss, parts = system.g_loss(nets, batch, {}, fake, 0)
    assert distance.item() > 1e-3
    assert parts["g_perceptual"].item() == pytest.approx(distance.item(), rel=1e-9)
    assert loss.item() == pytest.approx((plain + 10 * distance).item(), rel=1e-9)
    (got,) = torch.autograd.grad(loss, fake["fake"], retain_graph=True)
    (expected,) = torch.autograd.grad(plain + 10 * distance, fake["fake"])
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-12)


def test_a_file_that_is_no_vgg_is_refused(tmp_path: Path) -> None:
    state = vgg_file(tmp_path / "vgg.pth", VGG16)
    with pytest.raises(CheckpointError, match=r"VGG-16 or VGG-19.*found 12"):
        vgg_from_state({k: v for k, v in state.items() if not k.startswith("features.28")}, source="vgg.pth")
    with pytest.raises(CheckpointError, match="missing"):
        vgg_from_state({k.replace("features.28", "features.29"): v for k, v in state.items() if "24" not in k} | {
            "features.31.weight": torch.zeros(1)}, source="vgg.pth")  # fmt: skip


def test_the_released_vgg19_would_fit() -> None:
    with torch.device("meta"):
        shapes = {name: tuple(t.shape) for name, t in VGGFeatures().state_dict().items()}
    assert shapes["features.28.weight"] == (512, 512, 3, 3)
    assert len(shapes) == 2 * 13


def test_a_hardening_step_moves_every_weight_and_the_trained_net_loads_again(tmp_path: Path) -> None:
    state = TrainState.fresh(SYSTEM, SIZES, seed=0)
    before = {name: p.clone() for net in (state.nets.G, state.nets.D) for name, p in net.named_parameters()}
    batch = scenes(2, torch.float32)
    train_step(state, SYSTEM, batch, StepSettings(adversarial=Adversarial(mode="both", steps=1)))
    after = {name: p for net in (state.nets.G, state.nets.D) for name, p in net.named_parameters()}
    assert [name for name, p in after.items() if torch.equal(p, before[name])] == []
    save_weights(state.nets.G["G"], tmp_path / "generator.safetensors", metadata={})
    again = pix2pixhd_from_state(read_state_dict(tmp_path / "generator.safetensors"))
    torch.testing.assert_close(again(batch["planes"]), state.nets.G["G"](batch["planes"]))


def test_a_sample_grid_shows_labels_in_colours_edges_black_and_the_photo(nets: Nets) -> None:
    batch = scenes()
    with torch.no_grad():
        columns = SYSTEM.samples(nets.G, batch)
    assert [column.shape for column in columns] == [(4, 3, 32, 64)] * 3
    colours = colour_labels(batch["planes"])
    edge = batch["planes"][:, 35:].expand_as(colours) > 0
    assert (colours[edge] == -1).all()
    assert (colours[~edge] > -1).all()


@pytest.mark.parametrize("side", [16, 40])
def test_a_height_that_g_cannot_halve_four_times_is_refused(side: int) -> None:
    with pytest.raises(TrainError, match="multiple of 16 and at least 32"):
        SYSTEM.build(Sizes(side, 1, 1))
