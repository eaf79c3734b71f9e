"""How nets of the image-to-image family start."""

from __future__ import annotations

from torch import nn


def small_normal(nets: nn.Module) -> None:
    """Every convolution starts with weights N(0, 0.02) and no bias, in place. Source: [Z17] and [W18], their released code."""
    for layer in nets.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
