"""What a system gives to be trained: its networks, what it translates, its two losses; and small parts that systems share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.training.options import TrainError

Batch = Mapping[str, Tensor]
"""Images and labels of one step. The first axis of every tensor is the batch, so that workers can share it out."""

Images = dict[str, Tensor]
"""Images (B, C, H, W) by the name of their translation: {"fake": ...}, or {"A2B": ..., "B2A": ...}."""

ETA3 = "eta3 "
"""A batch's entry of this and the name of a translation: what an attack adds to the translated images before D, (B, C, H, W)."""

Parts = dict[str, Tensor]
"""Single losses by name, detached: what is logged."""


@dataclass(frozen=True)
class Nets:
    """The networks that a system trains: one optimiser moves all of ``G``, another all of ``D``."""

    G: nn.ModuleDict
    D: nn.ModuleDict


@dataclass(frozen=True)
class Sizes:
    """How large the networks are: the side of the images in pixels, and the widths of the first layers of G and D."""

    image: int
    conv_dim: int
    d_conv_dim: int

    def __str__(self) -> str:
        return f"{self.image} px, widths {self.conv_dim} and {self.d_conv_dim}"


class System(ABC):
    """One image-translation network with its recipe. The fields of a subclass are the weights of its losses.

    A step calls ``draw``, ``inputs``, ``translate``, ``d_loss`` and ``g_loss`` in this order. All losses are means over images
    that do not look at each other, so the mean over workers of equal shares is the loss of the whole batch.
    """

    name: str

    @abstractmethod
    def build(self, sizes: Sizes) -> Nets:
        """Fresh networks from torch's global random state; raises TrainError for a side that they cannot take."""

    @abstractmethod
    def inputs(self, batch: Batch) -> Images:
        """What G gets, by translation: the photos that a disruption may perturb."""

    def reals(self, batch: Batch) -> Images:
        """What D sees as real, by translation; here the inputs."""
        return self.inputs(batch)

    @abstractmethod
    def translate(self, G: nn.ModuleDict, inputs: Images, batch: Batch) -> Images:
        """G's output for each input, with gradients."""

    @abstractmethod
    def score(self, D: nn.ModuleDict, name: str, images_BCHW: Tensor, batch: Batch) -> Tensor:
        """How real D finds images of a translation, (B,); higher is more real."""

    @abstractmethod
    def d_loss(self, nets: Nets, batch: Batch, real: Images, fake: Images, step: int) -> tuple[Tensor, Parts]:
        """What D minimises; ``real`` and ``fake`` carry no gradient and may be perturbed."""

    @abstractmethod
    def g_loss(self, nets: Nets, batch: Batch, inputs: Images, fake: Images, step: int) -> tuple[Tensor, Parts]:
        """What G minimises; ``inputs`` may be perturbed, ``fake`` is ``translate(nets.G, inputs, batch)`` with its graph.

        The cycle starts from ``fake``, so its gradient reaches the first translation. It leads back to the untouched photo.
        """

    def draw(self, batch: Batch, step: int, rng: torch.Generator) -> Batch:
        """The batch with every random number that this step's losses need, drawn per image from ``rng``; here none.

        Every worker calls it with the whole batch, before that is shared out: what it draws for an image does not depend on how
        many workers there are.
        """
        return batch

    def classes(self) -> dict[str, list[float]]:
        """The condition of each class by name, written beside the weights; none for a system without conditions."""
        return {}

    def samples(self, G: nn.ModuleDict, batch: Batch) -> list[Tensor]:
        """The columns (B, 3, H, W) of a sample picture; here the inputs that are pictures, and their translations."""
        batch = self.draw(batch, 0, torch.Generator().manual_seed(0))
        inputs = self.inputs(batch)
        columns = [column for name, fake in self.translate(G, inputs, batch).items() for column in (inputs[name], fake)]
        return [column for column in columns if column.shape[1] == 3]


def check_side(side: int, *, multiple: int, least: int) -> None:
    """Raise TrainError unless the side of the images is a multiple of ``multiple`` and at least ``least`` pixels."""
    if side < least or side % multiple:
        least = -(-least // multiple) * multiple
        nearest = max(round(side / multiple) * multiple, least)
        raise TrainError(f"--size must be a multiple of {multiple} and at least {least} pixels, not {side}; take {nearest}")


def small_normal(*nets: nn.Module) -> None:
    """Start every convolution with weights N(0, 0.02) and no bias, in place. Source: [Z17] and [W18], their released code."""
    for layer in nn.ModuleList(nets).modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def weigh(parts: Parts, weights: Mapping[str, float]) -> tuple[Tensor, Parts]:
    """The sum of the losses, each times its weight (1 where none is named), and the losses without their graphs."""
    loss, *others = (weights.get(name, 1) * part for name, part in parts.items())
    for other in others:
        loss = loss + other
    return loss, {name: part.detach() for name, part in parts.items()}


def match_nets(nets: nn.ModuleDict, batch: Batch) -> Batch:
    """The batch on the device of the nets, its images in their precision."""
    own = next(nets.parameters())
    return {name: tensor.to(own if tensor.dim() == 4 else own.device, non_blocking=True) for name, tensor in batch.items()}
