"""CycleGAN: unpaired translation between two kinds of picture, and its patch discriminator. Source: [Z17], FACTS section 3."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.generators.checkpoint import load_weights, read_state_dict
from pipeline.generators.layers import instance_norm, reflection_translator
from pipeline.generators.state_names import StateDict, block_indices, dimension, standard_names


class CycleGANGenerator(nn.Module):
    """G(x): image (B, in_channels, H, W) to (B, out_channels, H, W), both in [-1, 1].

    The defaults are the published ResNet-9: 11,378,179 parameters in 48 keys. H and W are multiples of 4. ``affine`` gives the
    variant whose instance norms have weights.
    """

    def __init__(
        self, ngf: int = 64, *, in_channels: int = 3, out_channels: int = 3, blocks: int = 9, affine: bool = False
    ) -> None:
        super().__init__()
        layers = reflection_translator(in_channels, out_channels, width=ngf, downs=2, blocks=blocks, affine=affine)
        self.model = nn.Sequential(*layers)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """The translated image."""
        y_BCHW: Tensor = self.model(x_BCHW)
        return y_BCHW


class PatchDiscriminator(nn.Module):
    """D(x): one score per overlapping 70x70 patch, (B, 1, H/8 - 2, W/8 - 2). Keys ``model.{0,2,5,8,11}``; 2,764,737 parameters."""

    def __init__(self, ndf: int = 64, *, in_channels: int = 3, affine: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(in_channels, ndf, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for width, stride in ((ndf, 2), (2 * ndf, 2), (4 * ndf, 1)):
            layers += [nn.Conv2d(width, 2 * width, 4, stride=stride, padding=1)]
            layers += [instance_norm(2 * width, affine=affine), nn.LeakyReLU(0.2)]
        self.model = nn.Sequential(*layers, nn.Conv2d(8 * ndf, 1, 4, padding=1))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Patch scores."""
        y_BCHW: Tensor = self.model(x_BCHW)
        return y_BCHW


def cyclegan_from_state(state: StateDict, *, source: str = "state_dict") -> CycleGANGenerator:
    """The net in the width, blocks and kind of norm that ``state`` tells, with its weights; CheckpointError if it is none."""
    state = standard_names(state)
    blocks = len(block_indices(state, r"model\.(\d+)\.conv_block\.1\.weight"))
    with torch.device("meta"):
        net = CycleGANGenerator(
            ngf=dimension(state, "model.1.weight", 0, 64),
            in_channels=dimension(state, "model.1.weight", 1, 3),
            out_channels=dimension(state, f"model.{17 + blocks}.weight", 0, 3),
            blocks=blocks or 9,
            affine="model.2.weight" in state,
        )
    load_weights(net, state, source=source)
    return net


def read_vintagify(path: Path) -> dict[str, Tensor]:
    """The weights of the package vintagify (ResNet-9 with affine norms, trained at 512 pixels), blocks under the released names."""
    return {key.replace(".block.", ".conv_block."): tensor for key, tensor in read_state_dict(path).items()}
