"""Perturbations of adversarial training: crafted afresh in each step against the live nets by the one ascent loop.

Source: [R20] section 4. eta1 is added to real images and eta3 to translated ones, against D; eta2 to G's input, against G.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from pipeline.disruption.ascent import STARTS, Linf, ascend
from pipeline.disruption.objectives import REFERENCES, away_from
from pipeline.disruption.streams import Stream
from pipeline.images.blur import blur_input
from pipeline.images.levels import level_to_unit
from pipeline.training.options import TrainError
from pipeline.training.systems.system import Batch, Images, System

Mode = Literal["none", "generator", "both"]

SEEDS = "attack_seeds"
"""The entry of a batch that holds one seed per image and perturbation, (B, 3) int64."""
_ETA1, _ETA2, _ETA3 = range(3)


@dataclass(frozen=True)
class Adversarial:
    """Which perturbations a training adds and how they are made; sizes are in 8-bit levels.

    ``generator`` perturbs G's input, ``both`` also D's. The losses compare with the clean photo. Raises TrainError for a start
    where the gradient is zero.
    """

    mode: Mode = "none"
    epsilon: float = 6.0
    steps: int = 3
    step_size: float | None = None
    """Nothing means 2 * epsilon / steps, so that the ascent can cross the ball."""
    reference: str = "output"
    """What eta2 drives G's output away from; ``output`` is the live net's own output for the clean photo."""
    start: str = "uniform"
    """``clean`` is refused with the reference ``output``: there the gradient is exactly zero."""
    consistency: float = 10.0
    """Weight of mean (G(x + eta2) - G(x))^2 in G's loss, G(x) held fixed: it asks directly for what a disruption breaks."""

    def __post_init__(self) -> None:
        if self.start == "clean" and self.reference == "output":
            raise TrainError("--attack-start clean is where the gradient is zero; choose another, or another --attack-reference")

    def draw(self, batch: Batch, rng: torch.Generator) -> Batch:
        """The batch with one seed per image and perturbation; as it is in the mode ``none``."""
        if self.mode == "none":
            return batch
        count = len(next(iter(batch.values())))
        return {**batch, SEEDS: torch.randint(0, 2**62, (count, 3), generator=rng)}


def perturbed_inputs(system: System, G: nn.ModuleDict, batch: Batch, settings: Adversarial) -> tuple[Images, Images]:
    """G's input plus eta2, and G's output without eta2; by translation, without gradients."""
    inputs = system.inputs(batch)

    def output(name: str, y_BCHW: Tensor) -> Tensor:
        return system.translate(G, {name: y_BCHW}, batch)[name]

    with frozen(G), torch.no_grad():
        clean = system.translate(G, inputs, batch)
        perturbed = {}
        for name, x_BCHW in inputs.items():
            streams = _streams(batch, _ETA2, name)
            reference = REFERENCES[settings.reference](x_BCHW, clean[name], streams)
            objective = away_from(partial(output, name), reference)
            perturbed[name] = _climb(objective, x_BCHW, streams, settings)
    return perturbed, clean


def perturbed_reals(system: System, D: nn.ModuleDict, batch: Batch, settings: Adversarial) -> Images:
    """What D is shown as real plus eta1, which lowers its scores."""
    return _against_scores(system, D, system.reals(batch), batch, settings, towards=-1, seed=_ETA1)


def perturbed_fakes(system: System, D: nn.ModuleDict, fake: Images, batch: Batch, settings: Adversarial) -> Images:
    """Translated images plus eta3, which raises D's scores; ``fake`` is taken without its graph."""
    detached = {name: image.detach() for name, image in fake.items()}
    return _against_scores(system, D, detached, batch, settings, towards=1, seed=_ETA3)


@contextmanager
def frozen(nets: nn.Module) -> Iterator[None]:
    """Inside, the nets' parameters take no gradients; afterwards they do as before."""
    before = [(p, p.requires_grad) for p in nets.parameters()]
    nets.requires_grad_(False)
    try:
        yield
    finally:
        for p, needed in before:
            p.requires_grad_(needed)


def blur_before(nets: nn.ModuleDict, sigma: float) -> None:
    """From now on each network blurs its input images: a Gaussian of ``sigma`` pixels, none for 0.

    A defence of [R20] section 4. It is part of the net: cycle, attacks and samples go through it, and the weights need it.
    """
    for net in nets.values():
        blur_input(net, sigma)


def _against_scores(
    system: System, D: nn.ModuleDict, images: Images, batch: Batch, settings: Adversarial, *, towards: int, seed: int
) -> Images:
    def objective(name: str, y_BCHW: Tensor, t: int) -> Tensor:
        return towards * system.score(D, name, y_BCHW, batch)

    with frozen(D), torch.no_grad():
        return {name: _climb(partial(objective, name), x, _streams(batch, seed, name), settings) for name, x in images.items()}


def _climb(objective: Callable[[Tensor, int], Tensor], x_BCHW: Tensor, streams: Sequence[Stream], settings: Adversarial) -> Tensor:
    ball = Linf(level_to_unit(settings.epsilon))
    step_size = 2 * settings.epsilon / settings.steps if settings.step_size is None else settings.step_size
    start_BCHW = STARTS[settings.start](x_BCHW, ball, streams)
    return ascend(objective, x_BCHW, ball, start_BCHW=start_BCHW, steps=settings.steps, step_size=level_to_unit(step_size))


def _streams(batch: Batch, perturbation: int, name: str) -> list[Stream]:
    """One stream per image; the translations of one image have different ones."""
    apart = zlib.crc32(name.encode())
    return [Stream(torch.Generator().manual_seed(seed + apart)) for seed in batch[SEEDS][:, perturbation].tolist()]
