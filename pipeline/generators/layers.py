"""Building blocks that the systems share, under the state_dict names of the released files."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

Norm = Callable[[int], nn.Module]
"""Channels -> a layer that normalises them."""


def instance_norm(channels: int, *, affine: bool = True) -> nn.InstanceNorm2d:
    """Instance norm that always uses the statistics of the image at hand.

    Released files also hold running statistics; the released evaluation never uses them (FACTS: running statistics give
    garbage), so none are kept here.
    """
    return nn.InstanceNorm2d(channels, affine=affine, track_running_stats=False)


plain_norm: Norm = partial(instance_norm, affine=False)


class ResidualBlock(nn.Module):
    """x + f(x), f = conv3, norm, ReLU, conv3, norm (keys ``main.0``, ``main.1``, ``main.3``, ``main.4``)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            instance_norm(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            instance_norm(channels),
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """The sum, of the shape of ``x``."""
        y_BCHW: Tensor = self.main(x_BCHW)
        return x_BCHW + y_BCHW


def translation_trunk(in_channels: int, conv_dim: int, repeat: int) -> list[nn.Module]:
    """Layers 0..20 of StarGAN's ``main`` (with repeat 6): encode to a quarter of the size, transform, decode.

    Source: [C18] appendix, FACTS section 3. Zero padding, no convolution bias.
    """
    layers: list[nn.Module] = [nn.Conv2d(in_channels, conv_dim, 7, padding=3, bias=False)]
    layers += [instance_norm(conv_dim), nn.ReLU(inplace=True)]
    width = conv_dim
    for _ in range(2):
        layers += [nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=False)]
        layers += [instance_norm(2 * width), nn.ReLU(inplace=True)]
        width *= 2
    layers += [ResidualBlock(width) for _ in range(repeat)]
    for _ in range(2):
        layers += [nn.ConvTranspose2d(width, width // 2, 4, stride=2, padding=1, bias=False)]
        layers += [instance_norm(width // 2), nn.ReLU(inplace=True)]
        width //= 2
    return layers


class ReflectionBlock(nn.Module):
    """x + f(x), f = pad, conv3, norm, ReLU, pad, conv3, norm (keys ``conv_block.1`` and ``.5``), padded by reflection."""

    def __init__(self, channels: int, *, norm: Norm, bias: bool) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            norm(channels),
            nn.ReLU(inplace=True),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            norm(channels),
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """The sum, of the shape of ``x``."""
        y_BCHW: Tensor = self.conv_block(x_BCHW)
        return x_BCHW + y_BCHW


def reflection_translator(
    in_channels: int, out_channels: int, *, width: int, downs: int, blocks: int, norm: Norm = plain_norm, bias: bool = True
) -> list[nn.Module]:
    """The layers of CycleGAN's and pix2pixHD's generators: encode to 1 / 2 ** downs of the size, transform, decode, Tanh.

    ``bias`` is that of the convolutions before a norm; the last always has one. Source: [Z17] appendix, [W18] appendix, FACTS
    section 3.
    """
    layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(in_channels, width, 7, bias=bias)]
    layers += [norm(width), nn.ReLU(inplace=True)]
    for _ in range(downs):
        layers += [nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=bias)]
        layers += [norm(2 * width), nn.ReLU(inplace=True)]
        width *= 2
    layers += [ReflectionBlock(width, norm=norm, bias=bias) for _ in range(blocks)]
    for _ in range(downs):
        layers += [nn.ConvTranspose2d(width, width // 2, 3, stride=2, padding=1, output_padding=1, bias=bias)]
        layers += [norm(width // 2), nn.ReLU(inplace=True)]
        width //= 2
    return [*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, out_channels, 7), nn.Tanh()]


def with_condition(x_BCHW: Tensor, c_BK: Tensor) -> Tensor:
    """The image with its condition repeated over space as further channels, (B, C + K, H, W)."""
    planes = c_BK.to(x_BCHW.dtype)[:, :, None, None].expand(-1, -1, *x_BCHW.shape[2:])
    return torch.cat([x_BCHW, planes], dim=1)
