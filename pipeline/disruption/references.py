"""What the output is driven away from or towards, computed once from the untouched image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pipeline.disruption.streams import Stream

Reference = Callable[[Tensor, Tensor, Sequence[Stream]], Tensor]
"""(view of the photo, output of the generator on it, one random stream per image) -> reference of the output's shape."""


def _noise(x_BCHW: Tensor, output_B: Tensor, streams: Sequence[Stream]) -> Tensor:
    return torch.stack([stream.uniform(output_B.shape[1:]) for stream in streams]).to(output_B)


def _input(x_BCHW: Tensor, output_B: Tensor, streams: Sequence[Stream]) -> Tensor:
    if x_BCHW.shape != output_B.shape:
        shapes = f"{tuple(output_B.shape)} from {tuple(x_BCHW.shape)}"
        raise ValueError(f"reference 'input' needs an output shaped like the input, got {shapes}")
    return x_BCHW


REFERENCES: dict[str, Reference] = {
    "output": lambda x_BCHW, output_B, streams: output_B,
    "input": _input,
    "black": lambda x_BCHW, output_B, streams: torch.full_like(output_B, -1),
    "white": lambda x_BCHW, output_B, streams: torch.ones_like(output_B),
    "noise": _noise,
}
"""The references of [R20] section 3.1. A given image is a further choice of the recipe."""


def given_image(image_CHW: Tensor) -> Reference:
    """Any image (3, h, w) in [-1, 1] as a reference, resized to the output."""

    def reference(x_BCHW: Tensor, output_B: Tensor, streams: Sequence[Stream]) -> Tensor:
        size = output_B.shape[2:]
        image = torch.nn.functional.interpolate(image_CHW[None].to(output_B), size=size, mode="bilinear", antialias=True)
        return image.expand_as(output_B)

    return reference
