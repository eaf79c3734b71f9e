"""What a system must give to be trained: its nets, what it translates, and two pure loss functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

Batch = Mapping[str, Tensor]
"""Images and labels of one step. The first axis of every tensor is the batch, so that workers can share it out."""

Images = dict[str, Tensor]
"""Images (B, C, H, W) by the name of their translation: {"fake": ...}, or {"A2B": ..., "B2A": ...}."""

Parts = dict[str, Tensor]
"""Single losses by name, detached: what is logged."""


@dataclass(frozen=True)
class Nets:
    """The nets that a system trains: all of ``G`` is moved by one optimiser, all of ``D`` by another."""

    G: nn.ModuleDict
    D: nn.ModuleDict


@dataclass(frozen=True)
class Sizes:
    """How large the nets are: the side of the images in pixels, and the widths of the first layers of G and D."""

    image: int
    conv_dim: int
    d_conv_dim: int


class System(Protocol):
    """One image-translation network with its recipe; the weights of its losses are the fields of the implementing class.

    A step asks for ``draw``, ``inputs``, ``translate``, ``d_loss`` and ``g_loss`` in this order. All losses are means over images
    that do not look at each other, so that the mean over workers of equal shares is the loss of the whole batch.
    """

    @property
    def name(self) -> str:
        """The system's name in ``SYSTEMS``."""

    @property
    def published_d_steps(self) -> int:
        """How many D steps the published recipe takes for one G step."""

    def build(self, sizes: Sizes) -> Nets:
        """Fresh nets from torch's global random state; raises ValueError for a side the nets cannot take."""

    def draw(self, batch: Batch, step: int, rng: torch.Generator) -> Batch:
        """The batch with every random number that this step's losses need, drawn per image from ``rng``.

        Called with the whole batch on every worker, before it is shared out: what a worker draws for an image does not depend on
        how many workers there are.
        """

    def inputs(self, batch: Batch) -> Images:
        """What G is given, by translation: the photos that a disruption may perturb."""

    def reals(self, batch: Batch) -> Images:
        """What D is shown as real, by translation."""

    def translate(self, G: nn.ModuleDict, inputs: Images, batch: Batch) -> Images:
        """G's output for each input, with gradients."""

    def score(self, D: nn.ModuleDict, name: str, images_BCHW: Tensor, batch: Batch) -> Tensor:
        """How real D finds images of a translation, (B,); higher is more real."""

    def d_loss(self, nets: Nets, batch: Batch, real: Images, fake: Images, step: int) -> tuple[Tensor, Parts]:
        """What D minimises; ``real`` and ``fake`` carry no gradient and may be perturbed."""

    def g_loss(self, nets: Nets, batch: Batch, inputs: Images, fake: Images, step: int) -> tuple[Tensor, Parts]:
        """What G minimises; ``inputs`` may be perturbed, ``fake`` is ``translate(nets.G, inputs, batch)`` with its graph.

        The cycle starts from ``fake``, so its gradient reaches the first translation. It leads back to the untouched photo.
        """
