"""StarGAN: one generator for many attributes, and its discriminator. Source: [C18], FACTS section 3."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

from pipeline.generators.checkpoint import load_weights
from pipeline.generators.layers import translation_trunk, with_condition
from pipeline.generators.state_names import (
    WIDEST,
    StateDict,
    block_indices,
    count_of,
    dimension,
    standard_names,
    widest,
    with_kernel,
    without_statistics,
)

Net = TypeVar("Net", bound=nn.Module)


class StarGANGenerator(nn.Module):
    """G(x, c): image (B, 3, H, W) in [-1, 1] and attributes (B, c_dim) to an image of the same shape and range.

    conv_dim 64, c_dim 5, repeat 6 is the published net: 8,430,528 parameters in 103 released keys. H and W are multiples
    of 4. Always runs with instance statistics.
    """

    def __init__(self, conv_dim: int = 64, c_dim: int = 5, repeat: int = 6) -> None:
        super().__init__()
        trunk = translation_trunk(3 + c_dim, conv_dim, repeat)
        self.main = nn.Sequential(*trunk, nn.Conv2d(conv_dim, 3, 7, padding=3, bias=False), nn.Tanh())

    def forward(self, x_BCHW: Tensor, c_BK: Tensor) -> Tensor:
        """The translated image."""
        y_BCHW: Tensor = self.main(with_condition(x_BCHW, c_BK))
        return y_BCHW


class StarGANDiscriminator(nn.Module):
    """D(x): patch logits (B, 1, h, w) and class logits (B, c_dim). GANimation's critic is the same net with 17 outputs.

    The side of the image must be at least ``2 ** repeat`` pixels. Keys ``main.{0,2,..}``, ``conv1``, ``conv2``.
    """

    def __init__(self, image_size: int = 128, conv_dim: int = 64, c_dim: int = 5, repeat: int = 6) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, conv_dim, 4, stride=2, padding=1), nn.LeakyReLU(0.01)]
        width = conv_dim
        for _ in range(repeat - 1):
            layers += [nn.Conv2d(width, 2 * width, 4, stride=2, padding=1), nn.LeakyReLU(0.01)]
            width *= 2
        self.main = nn.Sequential(*layers)
        self.conv1 = nn.Conv2d(width, 1, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(width, c_dim, image_size // 2**repeat, bias=False)

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Patch logits and class logits."""
        h_BCHW = self.main(x_BCHW)
        return self.conv1(h_BCHW), self.conv2(h_BCHW).flatten(1)


def stargan_from_state(state: StateDict, *, source: str = "state_dict") -> StarGANGenerator:
    """The net in the width, attributes and blocks that ``state`` tells, with its weights; CheckpointError if it is none."""
    return from_state(StarGANGenerator, state, c_dim=8, source=source)


def from_state(net_class: type[Net], state: StateDict, *, c_dim: int, source: str) -> Net:
    """A net of this layout in the sizes that ``state`` tells, ``c_dim`` where it does not, with its weights."""
    state = standard_names(state)
    with torch.device("meta"):
        net = net_class(
            conv_dim=dimension(state, "main.0.weight", 0, 64),
            c_dim=max(dimension(state, "main.0.weight", 1, c_dim) - 3, 1),
            repeat=len(block_indices(state, r"main\.(\d+)\.main\.0\.weight")) or 6,
        )
    load_weights(net, state, source=source)
    return net


def stargan_by_shapes(state: StateDict) -> StarGANGenerator | None:
    """The net without weights (on the meta device) in the sizes that the shapes tell, whatever their names; None if none fits."""
    return by_shapes(StarGANGenerator, state)


def by_shapes(net_class: type[Net], state: StateDict) -> Net | None:
    """A net of this layout without weights in the sizes that the shapes of ``state`` tell; None if they tell none."""
    weights = without_statistics(state)
    conv_dim = widest(weights, kernel=3) // 4
    first = [shape for shape in with_kernel(weights, 7) if shape[0] == conv_dim and shape[1] > 3]
    repeat = count_of(weights, (4 * conv_dim, 4 * conv_dim, 3, 3)) // 2
    if not (first and repeat and first[0][1] <= WIDEST):
        return None
    with torch.device("meta"):
        return net_class(conv_dim=conv_dim, c_dim=first[0][1] - 3, repeat=repeat)
