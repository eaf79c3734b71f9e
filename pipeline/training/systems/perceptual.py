"""A perceptual distance by the features of a VGG net, whose weights the user gives. Source: Johnson et al. 2016, [W18]."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.generators.checkpoint import CheckpointError, load_weights, read_state_dict
from pipeline.generators.state_names import block_indices, dimension

CONVOLUTIONS = {13: (2, 2, 3, 3, 3), 16: (2, 2, 4, 4, 4)}
"""Convolutions of each block by their number: VGG-16 and VGG-19, whose files number layers ``features.0``, ``features.2``, ..."""
LAYER_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, in 0..1


class VGGFeatures(nn.Module):
    """The features after the first ReLU of each of the five blocks, for images (B, 3, H, W) in [-1, 1] of at least 16 pixels."""

    def __init__(self, blocks: tuple[int, ...] = CONVOLUTIONS[16], width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels, self.taps = 3, []
        for number, convolutions in enumerate(blocks):
            out = width * min(2**number, 8)
            for j in range(convolutions if number < len(blocks) - 1 else 1):
                layers += [nn.Conv2d(channels, out, 3, padding=1), nn.ReLU()]
                channels = out
                if j == 0:
                    self.taps.append(len(layers) - 1)
            if number < len(blocks) - 1:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        """The five features, finest first."""
        mean, std = (x_BCHW.new_tensor(values)[:, None, None] for values in (_MEAN, _STD))
        h_BCHW = ((x_BCHW + 1) / 2 - mean) / std
        features = []
        for number, layer in enumerate(self.features):
            h_BCHW = layer(h_BCHW)
            if number in self.taps:
                features.append(h_BCHW)
        return features


def vgg_from_state(state: Mapping[str, Tensor], *, source: str) -> VGGFeatures:
    """The frozen feature net from a whole VGG-16 or VGG-19 in torchvision's names; raises CheckpointError for anything else."""
    count = len(block_indices(state, r"features\.(\d+)\.weight"))
    if count not in CONVOLUTIONS:
        raise CheckpointError(
            f"{source}: expected VGG-16 or VGG-19 (13 or 16 features.*.weight, without batch norm), found {count}"
        )
    net = VGGFeatures(CONVOLUTIONS[count], dimension(state, "features.0.weight", 0, 64))
    load_weights(net, {name: state[name] for name in net.state_dict() if name in state}, source=source)
    return net.requires_grad_(False).eval()


@cache
def vgg_from_file(path: Path, device: torch.device, dtype: torch.dtype) -> VGGFeatures:
    """``vgg_from_state`` of a file, read once per process and never run as code."""
    return vgg_from_state(read_state_dict(path), source=str(path)).to(device=device, dtype=dtype)


def perceptual(vgg: VGGFeatures, x_BCHW: Tensor, y_BCHW: Tensor) -> Tensor:
    """The weighted sum over layers of the mean absolute difference of the features; ``y`` is held fixed."""
    with torch.no_grad():
        targets = vgg(y_BCHW)
    distances = [w * F.l1_loss(a, b) for w, a, b in zip(LAYER_WEIGHTS, vgg(x_BCHW), targets, strict=True)]
    return torch.stack(distances).sum()
