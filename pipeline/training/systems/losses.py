"""Losses of scores and images, one of them by the features of a VGG net whose weights the user gives.

All are means over images, so that shares of a batch can be averaged."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.generators.checkpoint import CheckpointError, load_weights, read_state_dict
from pipeline.generators.state_names import block_indices, dimension

Score = Callable[[Tensor], Tensor]
"""Images (B, C, H, W) -> scores (B, ...): D, or D behind an augmentation."""
CONVOLUTIONS = {13: (2, 2, 3, 3, 3), 16: (2, 2, 4, 4, 4)}
"""Convolutions of each block by their number: VGG-16 and VGG-19, whose files number layers ``features.0``, ``features.2``, ..."""
LAYER_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, in 0..1


def hinge_d(real: Tensor, fake: Tensor) -> Tensor:
    """max(0, 1 - D(real)) + max(0, 1 + D(fake)), averaged. Source: Lim and Ye, "Geometric GAN", 2017."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def hinge_g(fake: Tensor) -> Tensor:
    """-D(fake), averaged."""
    return -fake.mean()


def wasserstein_d(real: Tensor, fake: Tensor) -> Tensor:
    """D(fake) - D(real), averaged; to be used with `gradient_penalty`. Source: Gulrajani et al. 2017, equation 3."""
    return fake.mean() - real.mean()


wasserstein_g = hinge_g
"""-D(fake), averaged: for G both games are the same."""


def log_d(real: Tensor, fake: Tensor) -> Tensor:
    """-log D(real) - log(1 - D(fake)), averaged; D is the sigmoid of a score. Source: Goodfellow et al. 2014, [R20] section 4."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def log_g(fake: Tensor) -> Tensor:
    """-log D(fake), averaged: the fixed point of log(1 - D(fake)), with a gradient where D is sure.

    Source: Goodfellow et al. 2014, section 3.
    """
    return F.softplus(-fake).mean()


def least_squares_d(real: Tensor, fake: Tensor) -> Tensor:
    """Half of (D(real) - 1)^2 + D(fake)^2, averaged. Source: Mao et al. 2017 with the factor of [Z17]."""
    return 0.5 * ((real - 1).square().mean() + fake.square().mean())


def least_squares_g(fake: Tensor) -> Tensor:
    """(D(fake) - 1)^2, averaged."""
    return (fake - 1).square().mean()


def classification(logits_BK: Tensor, labels_BK: Tensor, known_BK: Tensor) -> Tensor:
    """Binary cross-entropy with logits, summed over the known attributes, divided by the batch.

    ``labels_BK`` and ``known_BK`` hold 0 or 1. Source: [C18] equation 3; unknown labels are left out as [C18] section 3.2 does.
    """
    losses_BK = F.binary_cross_entropy_with_logits(logits_BK, labels_BK.to(logits_BK), reduction="none")
    return (losses_BK * known_BK.to(logits_BK)).sum() / len(logits_BK)


def r1_penalty(score: Score, x_BCHW: Tensor) -> Tensor:
    """Mean squared norm of the gradient of D at real images. Source: Mescheder et al. 2018, R1.

    An image's score is the mean of its patches. Always in full precision.
    """
    g_BCHW = _gradient_at(x_BCHW, score)
    return g_BCHW.square().flatten(1).sum(1).mean()


def gradient_penalty(score: Score, real_BCHW: Tensor, fake_BCHW: Tensor, share_B: Tensor) -> Tensor:
    """Mean of (|gradient of D| - 1)^2 at ``share * real + (1 - share) * fake``. Source: Gulrajani et al. 2017, equation 3.

    An image's score is the sum of its patches, as in [C18]. ``share_B`` is uniform in [0, 1). Always in full precision.
    """
    share_B111 = share_B.to(real_BCHW)[:, None, None, None]
    between_BCHW = share_B111 * real_BCHW + (1 - share_B111) * fake_BCHW
    g_BCHW = _gradient_at(between_BCHW, score, over_patches=torch.sum)
    norms_B: Tensor = torch.linalg.vector_norm(g_BCHW.flatten(1), dim=1)
    return (norms_B - 1).square().mean()


def _gradient_at(x_BCHW: Tensor, score: Score, *, over_patches: Callable[..., Tensor] = torch.mean) -> Tensor:
    """Each image's gradient of its own score, with a graph, so that it can be minimised."""
    x_BCHW = x_BCHW.detach().requires_grad_(True)
    with _penalty_precision(x_BCHW.device):
        total = over_patches(score(x_BCHW).flatten(1), dim=1).sum()
        (g_BCHW,) = torch.autograd.grad(total, x_BCHW, create_graph=True)
    return g_BCHW


@contextmanager
def _penalty_precision(device: torch.device) -> Iterator[None]:
    """No autocast, since half precision rounds small gradients away; no compiled nets, since they cannot be derived twice."""
    # Nothing can be compiled while the compiler is not loaded, and loading it takes seconds.
    eager = torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
    with torch.autocast(device.type, enabled=False), eager:
        yield


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
    """The weighted sum over layers of the mean absolute difference of the features; ``y`` is held fixed.

    Source: Johnson et al. 2016, [W18].
    """
    with torch.no_grad():
        targets = vgg(y_BCHW)
    distances = [w * F.l1_loss(a, b) for w, a, b in zip(LAYER_WEIGHTS, vgg(x_BCHW), targets, strict=True)]
    return torch.stack(distances).sum()
