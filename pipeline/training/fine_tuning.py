"""A generator that somebody fine-tunes on protected photos: low-rank adapters that start as nothing and become plain weights."""

from __future__ import annotations

import copy
import dataclasses

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from pipeline.generators.generator import Generator, fingerprint_of
from pipeline.training.options import TrainError


class LowRank(nn.Module):
    """A weight (a, b, ...) plus the product of (a, rank) and (rank, b * ...): zero at first. Source: Hu et al. 2022, LoRA."""

    def __init__(self, weight: Tensor, rank: int, rng: torch.Generator) -> None:
        super().__init__()
        rows, columns = weight.shape[0], weight[0].numel()
        rank = min(rank, rows, columns)
        self.up = nn.Parameter(weight.new_zeros(rows, rank))
        self.down = nn.Parameter(torch.randn(rank, columns, generator=rng).to(weight) / columns**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        """The adapted weight, of the same shape."""
        return weight + (self.up @ self.down).view_as(weight)


def fine_tune(
    generator: Generator, photo_NCHW: Tensor, protected_NCHW: Tensor, *, rank: int, batch: int = 4, lr: float = 5e-3, seed: int = 0
) -> tuple[Generator, list[float]]:
    """The generator after one pass over the pairs, and the loss of each step: mean (G'(protected, c) - G(photo, c))^2.

    The pairs are what the generator sees of photos and of their protected files, (N, 3, S, S) in [-1, 1]. Only low-rank adapters on
    the convolutions learn; they are added to the weights at the end. ``seed`` decides order, classes and first adapters.
    ``generator`` stays as it is. Raises TrainError for a net without convolutions.
    """
    net = copy.deepcopy(generator.net).requires_grad_(False)
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]
    if not convolutions:
        raise TrainError(f"{generator.name} has no convolutions to adapt")
    rng = torch.Generator().manual_seed(seed)
    for module in convolutions:
        parametrize.register_parametrization(module, "weight", LowRank(module.weight, rank, rng))
    optimiser = torch.optim.Adam([weight for weight in net.parameters() if weight.requires_grad], lr=lr)
    losses, rng = [], torch.Generator().manual_seed(seed)
    for index_B in torch.randperm(len(photo_NCHW), generator=rng).split(batch):
        name = list(generator.classes)[int(torch.randint(len(generator.classes), (), generator=rng))]
        with torch.no_grad():
            wanted_BCHW = generator(photo_NCHW[index_B], name)
        c_BK = photo_NCHW.new_tensor([generator.classes[name]]).expand(len(index_B), -1)
        loss = (generator.translate(net, protected_NCHW[index_B], c_BK) - wanted_BCHW).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    for module in convolutions:
        parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
    return dataclasses.replace(generator, net=net, fingerprint=fingerprint_of(net)), losses
