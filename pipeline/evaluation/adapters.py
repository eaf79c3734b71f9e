"""Fine-tuning as an attacker does it: low-rank adapters on a generator's convolutions that learn to ignore a protection.

Given pairs of a photo and its protected file, G'(protected) is to become what the frozen G makes of the photo. The attacker needs
both for that: photos that he protects himself, with the tool that everybody has.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from pipeline.generators.generator import Generator, fingerprint_of

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)


class AdapterError(ValueError):
    """A generator that cannot be adapted, or too little to learn from; the message says what is missing."""


@dataclass(frozen=True)
class Views:
    """What the generator sees of a photo and of its protected file, (1, 3, S, S) in [-1, 1]."""

    photo: Tensor
    protected: Tensor


@dataclass(frozen=True)
class Tuned:
    """The generator with the adapters merged into its weights, and the loss of each step before it was taken."""

    generator: Generator
    losses: tuple[float, ...]


class LowRank(nn.Module):
    """A weight (a, b, ...) plus the product of (a, rank) and (rank, b * ...): zero at first. Source: Hu et al. 2022, LoRA."""

    def __init__(self, weight: Tensor, rank: int, rng: torch.Generator) -> None:
        super().__init__()
        rows, columns = weight.shape[0], weight[0].numel()
        rank = min(rank, rows, columns)
        self.up = nn.Parameter(torch.zeros(rows, rank, dtype=weight.dtype, device=weight.device))
        noise = torch.randn(rank, columns, generator=rng).to(weight) / columns**0.5
        self.down = nn.Parameter(noise)

    def forward(self, weight: Tensor) -> Tensor:
        """The adapted weight, of the same shape."""
        return weight + (self.up @ self.down).view_as(weight)


def with_adapters(net: nn.Module, *, rank: int, seed: int) -> tuple[nn.Module, list[nn.Parameter]]:
    """A copy of ``net`` with an adapter on each convolution, and the adapters' parameters: all else in it is frozen.

    Its output is that of ``net`` at first. Raises AdapterError for a net without convolutions.
    """
    net = copy.deepcopy(net).requires_grad_(False)
    rng = torch.Generator().manual_seed(seed)
    adapters = []
    for module in [module for module in net.modules() if isinstance(module, CONVOLUTIONS)]:
        adapter = LowRank(module.weight, rank, rng)
        parametrize.register_parametrization(module, "weight", adapter)
        adapters += [adapter.up, adapter.down]
    if not adapters:
        raise AdapterError(f"{type(net).__name__} has no convolutions to adapt")
    return net, adapters


def merged(net: nn.Module) -> nn.Module:
    """``net`` with its adapters added to the weights, under the names that it had before; changed in place."""
    for module in net.modules():
        if isinstance(module, CONVOLUTIONS) and parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
    return net.requires_grad_(False)


def fine_tuned(
    generator: Generator, views: Sequence[Views], *, rank: int = 4, batch: int = 4, lr: float = 5e-3, seed: int = 0
) -> Tuned:
    """The generator after one pass over the pairs: mean (G'(protected, c) - G(photo, c))^2, a class drawn for each step.

    Adam without decay; ``seed`` decides the order, the classes and the first adapters. ``generator`` stays as it is. Raises
    AdapterError without pairs or convolutions.
    """
    if not views:
        raise AdapterError("no protected photos to learn from")
    net, adapters = with_adapters(generator.net, rank=rank, seed=seed)
    rng = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(views), generator=rng).tolist()
    optimiser = torch.optim.Adam(adapters, lr=lr)
    losses = []
    for chosen in (order[i : i + batch] for i in range(0, len(order), batch)):
        photo_BCHW, protected_BCHW = (torch.cat([getattr(views[i], part) for i in chosen]) for part in ("photo", "protected"))
        name = list(generator.classes)[int(torch.randint(len(generator.classes), (), generator=rng))]
        with torch.no_grad():
            wanted_BCHW = generator(photo_BCHW, name)
        c_BK = torch.tensor([generator.classes[name]]).to(photo_BCHW).expand(len(chosen), -1)
        loss = (generator.translate(net, protected_BCHW, c_BK) - wanted_BCHW).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    net = merged(net)
    tuned = dataclasses.replace(generator, net=net, fingerprint=fingerprint_of(net), origin=f"{generator.origin}, fine-tuned")
    return Tuned(tuned, tuple(losses))
