"""Losses of a StarGAN step as pure functions: what D and G minimise, with the parts by name."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

Parts = dict[str, Tensor]


def hinge_d(real: Tensor, fake: Tensor) -> Tensor:
    """max(0, 1 - D(real)) + max(0, 1 + D(fake)), averaged. Source: Lim and Ye, "Geometric GAN", 2017."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def hinge_g(fake: Tensor) -> Tensor:
    """-D(fake), averaged."""
    return -fake.mean()


def classification(logits_BK: Tensor, labels_BK: Tensor, known_BK: Tensor) -> Tensor:
    """Binary cross-entropy with logits, summed over the known attributes, divided by the batch.

    ``labels_BK`` and ``known_BK`` hold 0 or 1. Source: [C18] equation 3; unknown labels are left out as [C18] section 3.2 does.
    """
    losses_BK = F.binary_cross_entropy_with_logits(logits_BK, labels_BK, reduction="none")
    return (losses_BK * known_BK).sum() / len(logits_BK)


def r1_penalty(scores: Tensor, x_BCHW: Tensor) -> Tensor:
    """Mean squared norm of the gradient of D at real images. Source: Mescheder et al. 2018, R1.

    ``scores`` is D(x), averaged per image here, and must still hold the graph of ``x_BCHW``.
    """
    per_image = scores.flatten(1).mean(1).sum()
    (g_BCHW,) = torch.autograd.grad(per_image, x_BCHW, create_graph=True)
    return g_BCHW.square().flatten(1).sum(1).mean()
