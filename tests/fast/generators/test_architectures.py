"""The nets have the published keys, sizes and behaviour; big ones are counted on the meta device, never allocated."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.generators.cyclegan import CycleGANGenerator, PatchDiscriminator
from pipeline.generators.ganimation import GANimationGenerator, paint
from pipeline.generators.pix2pixhd import MultiscaleDiscriminator, Pix2PixHDGenerator, Pix2PixHDLocalEnhancer, halve
from pipeline.generators.stargan import StarGANDiscriminator, StarGANGenerator

CRITIC = 3 * 64 + sum(w * 2 * w for w in (64, 128, 256, 512, 1024))  # input and output channels of its 4x4 convolutions
PATCH = 3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512


def on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return build()


@pytest.mark.parametrize(
    ("build", "parameters", "tensors"),
    [
        (StarGANGenerator, 8_430_528, 103 - 17 * 3),  # 103 with three running statistics for each of its 17 norms
        (GANimationGenerator, 8_430_528 + 12 * 64 * 49 + 1 * 64 * 49, 103 - 17 * 3 + 1),  # 12 more planes in, 1 more out
        (Pix2PixHDGenerator, 182_546_755, 56),
        (Pix2PixHDLocalEnhancer, 182_857_059, 74),
        (CycleGANGenerator, 11_378_179, 48),
        (StarGANDiscriminator, 16 * CRITIC + 64 * 63 + 2048 * 9 + 5 * 2048 * 4, 14),
        (PatchDiscriminator, 2_764_737, 10),
        (MultiscaleDiscriminator, 2 * (16 * (PATCH + 36 * 64) + 64 + 128 + 256 + 512 + 1), 20),
    ],
)
def test_the_default_nets_are_the_published_ones(build: Callable[[], nn.Module], parameters: int, tensors: int) -> None:
    net = on_meta(build)
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert len(net.state_dict()) == tensors


@pytest.mark.parametrize(
    ("build", "layers"),
    [
        (StarGANGenerator, "main.0 main.3 main.6 main.9.main.0 main.9.main.3 main.14.main.3 main.15 main.18 main.21"),
        (GANimationGenerator, "main.0 main.14.main.0 main.18 im_reg.0 im_att.0"),
        (Pix2PixHDGenerator, "model.1 model.4 model.13 model.16.conv_block.1 model.24.conv_block.5 model.25 model.34 model.38"),
        (
            Pix2PixHDLocalEnhancer,
            "model.1 model.34 model1_1.1 model1_1.4 model1_2.0.conv_block.1 model1_2.2.conv_block.5 model1_2.3 model1_2.7",
        ),
        (CycleGANGenerator, "model.1 model.4 model.7 model.10.conv_block.1 model.18.conv_block.5 model.19 model.22 model.26"),
        (StarGANDiscriminator, "main.0 main.2 main.4 main.6 main.8 main.10 conv1 conv2"),
        (PatchDiscriminator, "model.0 model.2 model.5 model.8 model.11"),
        (MultiscaleDiscriminator, "scale0_layer0.0 scale0_layer4.0 scale1_layer0.0 scale1_layer3.0 scale1_layer4.0"),
    ],
)
def test_convolutions_have_their_released_names(build: Callable[[], nn.Module], layers: str) -> None:
    weights = {name: weight for name, weight in on_meta(build).state_dict().items() if weight.ndim == 4}
    assert {f"{layer}.weight" for layer in layers.split()} <= weights.keys()


def test_the_critic_of_ganimation_is_that_of_stargan_with_17_outputs() -> None:
    D = on_meta(lambda: StarGANDiscriminator(128, 64, 17))
    assert D.state_dict()["conv2.weight"].shape == (17, 2048, 2, 2)


@pytest.mark.parametrize(
    ("net", "channels", "multiple"),
    [
        (Pix2PixHDGenerator(2, in_channels=5, downs=4, blocks=1), 5, 16),
        (Pix2PixHDLocalEnhancer(2, in_channels=5, downs=2, blocks=1, local_blocks=1), 5, 8),
        (Pix2PixHDLocalEnhancer(1, in_channels=5, downs=1, blocks=1, enhancers=2, local_blocks=1), 5, 8),
        (CycleGANGenerator(2, blocks=1), 3, 4),
        (CycleGANGenerator(2, blocks=1, affine=True), 3, 4),
    ],
)
def test_images_keep_their_size_and_range(net: nn.Module, channels: int, multiple: int) -> None:
    for height, width in ((2 * multiple, 3 * multiple), (5 * multiple, 2 * multiple)):
        y_BCHW = net(torch.rand(2, channels, height, width))
        assert y_BCHW.shape == (2, 3, height, width)
        assert y_BCHW.abs().max() <= 1


@pytest.mark.parametrize(("height", "width"), [(8, 12), (20, 8), (36, 28)])
def test_conditional_images_keep_their_size_and_range(height: int, width: int) -> None:
    x_BCHW, c_BK = torch.rand(2, 3, height, width) * 2 - 1, torch.eye(2, 4)
    attention, regression = GANimationGenerator(2, 4, 1)(x_BCHW, c_BK)
    assert attention.shape == (2, 1, height, width)
    assert 0 <= attention.min() <= attention.max() <= 1
    assert regression.shape == StarGANGenerator(2, 4, 1)(x_BCHW, c_BK).shape == x_BCHW.shape
    assert regression.abs().max() <= 1


def test_attention_is_the_share_of_the_input_that_stays() -> None:
    x, painted = torch.full((1, 3, 2, 2), 0.8), torch.full((1, 3, 2, 2), -0.4)
    attention = torch.tensor([[1.0, 0.0], [0.25, 0.5]])[None, None]
    expected = torch.tensor([[0.8, -0.4], [-0.1, 0.2]]).expand(1, 3, 2, 2)
    torch.testing.assert_close(paint(x, attention, painted), expected)


def test_ganimation_translates_by_painting_under_its_own_attention() -> None:
    net, x, c = GANimationGenerator(2, 4, 1), torch.rand(2, 3, 8, 8), torch.rand(2, 4)
    attention, regression = net(x, c)
    torch.testing.assert_close(net.translate(x, c), (1 - attention) * regression + attention * x)


SMALL: dict[str, Callable[[], nn.Module]] = {
    "stargan": lambda: StarGANGenerator(4, 2, 1),
    "ganimation": lambda: GANimationGenerator(4, 2, 1),
    "cyclegan": lambda: CycleGANGenerator(4, blocks=1),
    "pix2pixhd": lambda: Pix2PixHDGenerator(4, in_channels=3, downs=2, blocks=1),
}


@pytest.mark.parametrize("system", SMALL)
def test_every_image_is_normalised_by_itself_alone_in_training_and_in_use(system: str) -> None:
    def run(net: nn.Module, x: Tensor) -> Tensor:
        y = net(x, torch.ones(len(x), 2, dtype=x.dtype)) if system in {"stargan", "ganimation"} else net(x)
        return torch.cat(y, dim=1) if isinstance(y, tuple) else y

    net = SMALL[system]().double()
    x = torch.rand(3, 3, 16, 16, dtype=torch.float64) * torch.tensor([1.0, 5.0, 0.2])[:, None, None, None]
    together = run(net.train(), x)
    alone = torch.cat([run(net.eval(), image[None]) for image in x])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-10)


def test_the_local_enhancer_adds_the_pooled_coarse_features_to_its_own() -> None:
    net, x = Pix2PixHDLocalEnhancer(2, in_channels=3, downs=2, blocks=1, local_blocks=1), torch.rand(1, 3, 16, 24)
    down, up = net.get_submodule("model1_1"), net.get_submodule("model1_2")
    pool = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)
    torch.testing.assert_close(net(x), up(down(x) + net.model(pool(x))))


def test_pooling_ignores_what_is_outside_the_image() -> None:
    torch.testing.assert_close(halve(torch.ones(1, 1, 7, 8)), torch.ones(1, 1, 4, 4))


def test_each_score_of_the_patch_discriminator_sees_70_by_70_pixels() -> None:
    net = PatchDiscriminator(2).double()
    for index, layer in enumerate(net.model):
        if isinstance(layer, nn.InstanceNorm2d):  # a norm sees the whole image; the patch is what convolutions see
            net.model[index] = nn.Identity()
    x = torch.rand(1, 3, 256, 256, dtype=torch.float64, requires_grad=True)
    scores = net(x)
    assert scores.shape == (1, 1, 30, 30)
    (gradient,) = torch.autograd.grad(scores[0, 0, 15, 15], x)
    rows, columns = gradient[0].abs().sum(0).nonzero().unbind(1)
    assert [int(v.max() - v.min()) + 1 for v in (rows, columns)] == [70, 70]


def patch_scores(convolutions: list[tuple[Tensor, Tensor]], x: Tensor, *, padding: int) -> Tensor:
    """A patch discriminator in plain functions: strides 2, 2, 2, 1, 1; norms in all but the first and the last."""
    for index, ((weight, bias), stride) in enumerate(zip(convolutions, (2, 2, 2, 1, 1), strict=True)):
        x = F.conv2d(x, weight, bias, stride=stride, padding=padding)
        x = F.instance_norm(x) if index in (1, 2, 3) else x
        x = F.leaky_relu(x, 0.2) if index < 4 else x
    return x


@torch.no_grad()
def test_the_patch_discriminators_compute_the_published_layers() -> None:
    x = torch.rand(2, 3, 48, 64, dtype=torch.float64)
    patch, several = PatchDiscriminator(2).double(), MultiscaleDiscriminator(2, in_channels=3, num_d=1).double()
    for net, padding, scores in ((patch, 1, patch(x)), (several, 2, several(x)[0][-1])):
        weights = list(net.state_dict().values())
        expected = patch_scores(list(zip(weights[::2], weights[1::2], strict=True)), x, padding=padding)
        torch.testing.assert_close(scores, expected, rtol=0, atol=1e-10)


@torch.no_grad()
def test_the_multiscale_discriminator_gives_features_of_every_layer_finest_scale_first() -> None:
    net, x = MultiscaleDiscriminator(2, in_channels=4, num_d=3), torch.rand(1, 4, 64, 64)
    results = net(x)
    assert [[feature.shape[1] for feature in scale] for scale in results] == [[2, 4, 8, 16, 1]] * 3
    assert [scale[0].shape[-1] for scale in results] == [33, 17, 9]
    net.get_submodule("scale2_layer4").get_parameter("0.bias").add_(1)
    shift = [float((after[-1] - before[-1]).abs().max()) for before, after in zip(results, net(x), strict=True)]
    assert shift == pytest.approx([1, 0, 0], abs=1e-5)
