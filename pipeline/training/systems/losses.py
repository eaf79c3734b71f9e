"""Losses as pure functions of scores and images. All are means over images, so that shares of a batch can be averaged."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor

Score = Callable[[Tensor], Tensor]
"""Images (B, C, H, W) -> scores (B, ...): D, or D behind an augmentation."""


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
