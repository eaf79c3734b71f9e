"""What the output is driven away from or towards, computed once from the untouched image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Reference = Callable[[Tensor, Tensor, list[torch.Generator]], Tensor]
"""(view of the photo, output of the generator on it, one random stream per image) -> reference of the output's shape."""


def _noise(x_BCHW: Tensor, output_B: Tensor, rngs: list[torch.Generator]) -> Tensor:
    return torch.stack([torch.rand(output_B.shape[1:], generator=rng) * 2 - 1 for rng in rngs]).to(output_B)


def _input(x_BCHW: Tensor, output_B: Tensor, rngs: list[torch.Generator]) -> Tensor:
    if x_BCHW.shape != output_B.shape:
        raise ValueError(f"reference 'input' needs an output shaped like the input, got {tuple(output_B.shape)} from {tuple(x_BCHW.shape)}")
    return x_BCHW


REFERENCES: dict[str, Reference] = {
    "output": lambda x_BCHW, output_B, rngs: output_B,
    "input": _input,
    "black": lambda x_BCHW, output_B, rngs: torch.full_like(output_B, -1),
    "white": lambda x_BCHW, output_B, rngs: torch.ones_like(output_B),
    "noise": _noise,
}
"""The references of [R20] section 3.1. A given image is a further choice of the recipe."""


def given_image(image_CHW: Tensor) -> Reference:
    """Any image (3, h, w) in [-1, 1] as a reference, resized to the output."""

    def reference(x_BCHW: Tensor, output_B: Tensor, rngs: list[torch.Generator]) -> Tensor:
        size = output_B.shape[2:]
        image = torch.nn.functional.interpolate(image_CHW[None].to(output_B), size=size, mode="bilinear", antialias=True)
        return image.expand_as(output_B)

    return reference
