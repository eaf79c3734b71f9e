"""CycleGAN: unpaired translation between two kinds of picture, and its patch discriminator. Source: [Z17], FACTS section 3."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from pipeline.generators.checkpoint import load_weights
from pipeline.generators.layers import Norm, instance_norm, reflection_translator
from pipeline.generators.state_names import (
    StateDict,
    block_indices,
    count_of,
    dimension,
    is_statistic,
    standard_names,
    widest,
    with_kernel,
    without_statistics,
)


class CycleGANGenerator(nn.Module):
    """G(x): image (B, in_channels, H, W) to (B, out_channels, H, W), both in [-1, 1].

    The defaults are the published ResNet-9: 11,378,179 parameters in 48 keys. H and W are multiples of 4. ``affine`` gives the
    variant whose instance norms have weights, ``batch_norm`` the one with batch norms, which run with their running statistics
    once the net is in evaluation mode. ``bias`` is that of the convolutions before a norm; the released code leaves it out with
    batch norm.
    """

    def __init__(
        self,
        ngf: int = 64,
        *,
        in_channels: int = 3,
        out_channels: int = 3,
        blocks: int = 9,
        affine: bool = False,
        batch_norm: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        norm: Norm = nn.BatchNorm2d if batch_norm else partial(instance_norm, affine=affine)
        layers = reflection_translator(in_channels, out_channels, width=ngf, downs=2, blocks=blocks, norm=norm, bias=bias)
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
    """The net in the width, blocks and kind of norm that ``state`` tells, with its weights; CheckpointError if it is none.

    Norms with weights and running statistics after convolutions without bias are batch norms, as the released code builds them; all
    others are instance norms.
    """
    named = standard_names(state)
    affine = "model.2.weight" in named
    bias = "model.1.weight" not in named or "model.1.bias" in named or "model.4.bias" in named
    batch_norm = affine and not bias and "model.2.running_mean" in state
    if batch_norm:
        named = standard_names(state, keep=[name for name in state if is_statistic(name)])
        norms = [name.removesuffix("running_mean") for name in named if name.endswith(".running_mean")]
        named = {f"{norm}num_batches_tracked": torch.tensor(0) for norm in norms} | named  # absent from files before torch 0.4.1
    blocks = len(block_indices(named, r"model\.(\d+)\.conv_block\.1\.weight"))
    with torch.device("meta"):
        net = CycleGANGenerator(
            ngf=dimension(named, "model.1.weight", 0, 64),
            in_channels=dimension(named, "model.1.weight", 1, 3),
            out_channels=dimension(named, f"model.{17 + blocks}.weight", 0, 3),
            blocks=blocks or 9,
            affine=affine,
            batch_norm=batch_norm,
            bias=bias,
        )
    load_weights(net, named, source=source)
    return net


def cyclegan_by_shapes(state: StateDict) -> CycleGANGenerator | None:
    """The net without weights (on the meta device) in the sizes that the shapes tell, whatever their names; None if none fits."""
    weights = without_statistics(state)
    ngf = widest(weights, kernel=3) // 4
    first = [shape for shape in with_kernel(weights, 7) if shape[0] == ngf]
    last = [shape for shape in with_kernel(weights, 7) if shape[1] == ngf]
    blocks = count_of(weights, (4 * ngf, 4 * ngf, 3, 3)) // 2
    if not (first and last and blocks):
        return None
    convolutions, vectors = sum(w.ndim == 4 for w in weights.values()), sum(w.ndim == 1 for w in weights.values())
    norms = convolutions - 1
    affine, bias = vectors >= 2 * norms, vectors not in (1, 1 + 2 * norms)
    with torch.device("meta"):
        return CycleGANGenerator(
            ngf,
            in_channels=first[0][1],
            out_channels=last[0][0],
            blocks=blocks,
            affine=affine,
            batch_norm=affine and not bias and len(weights) < len(state),
            bias=bias,
        )


def about_norms(net: CycleGANGenerator, state: StateDict) -> str:
    """What a user should know of how the norms of a file were read; empty where there is nothing to say."""
    if any(isinstance(layer, nn.BatchNorm2d) for layer in net.modules()):
        return "its batch norms run with the running statistics of their training"
    if isinstance(net.model[2], nn.InstanceNorm2d) and net.model[2].affine and any(is_statistic(name) for name in state):
        return (
            "its norms are taken as instance norms, whose running statistics are not used; if it was trained with batch norm, "
            "write a builder of your own"
        )
    return ""
