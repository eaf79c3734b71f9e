"""Learning universal perturbations: sign ascent with momentum over batches of photos, networks and classes in turn.

A perturbation has twice the side of the network, and so have the photos here: what resizing to the network takes away of a larger
file is then mostly taken away here too, and learned against. Source: Moosavi-Dezfooli et al., CVPR 2017 (universal perturbations);
Dong et al., CVPR 2018 (signs of a momentum).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.disruption.ascent import Objective, gradient
from pipeline.disruption.objectives import DISTANCES, away_from, mean_over, through, weakest_of
from pipeline.disruption.recipes import Classes
from pipeline.disruption.recipes import Objective as ObjectiveName
from pipeline.disruption.robust import robust_variants
from pipeline.disruption.streams import streams_for
from pipeline.generators.generator import Generator
from pipeline.images.blur import Transform
from pipeline.images.levels import level_to_unit, pixels_to_unit
from pipeline.images.resize import resize
from pipeline.signals.signal_set import turn_grey
from pipeline.universal.bundle import COLOURS, PLANES

SIDES = 2
"""Side of a perturbation, in sides of the largest network. At once the side, it breaks half as much through a resized file."""
MOMENTUM = 0.9


@dataclass(frozen=True)
class Plan:
    """How perturbations are learned; sizes are in 8-bit levels, ``steps`` those of each."""

    epsilon: int = 6
    steps: int = 120
    batch: int = 8
    step_size: float = 2.0
    last_step: float = 0.1
    """The last step as a share of the first; steps shrink evenly."""
    objective: ObjectiveName = "l2"
    classes: Classes = "iterative"
    robust_to: tuple[str, ...] = ()
    apart: float = 4.0
    """Weight of the likeness to earlier perturbations of the set, against the climb itself."""
    seed: int = 0

    @property
    def all_steps(self) -> int:
        """The steps of a perturbation with those of its plane for grey photos, half as many."""
        return self.steps + -(-self.steps // 2)


@dataclass(frozen=True)
class State:
    """Perturbations (n, 4, S, S) in levels; ``member`` is being learned and has taken ``step`` steps, those before it are done.

    ``velocity_CHW`` is its momentum. The planes for colour photos are learned first, then the one for grey photos.
    """

    perturbations_nCHW: Tensor
    velocity_CHW: Tensor
    member: int = 0
    step: int = 0

    @property
    def is_done(self) -> bool:
        """Whether all perturbations are learned."""
        return self.member == len(self.perturbations_nCHW)


def fresh(count: int, size: int, plan: Plan) -> State:
    """Perturbations at random in the ball, each from a stream of its own."""
    streams = streams_for([f"perturbation {i}" for i in range(count)], plan.seed)
    start_nCHW = torch.stack([stream.uniform((PLANES, size, size)).float() for stream in streams]) * plan.epsilon
    return State(start_nCHW, torch.zeros(PLANES, size, size))


def pairs_in_turn(generators: Sequence[Generator], classes: Sequence[str]) -> list[tuple[Generator, str]]:
    """Each network with each of its classes, the networks taking turns."""
    rows = [[(generator, name) for name in generator.select_classes(classes)] for generator in generators]
    return [row[i] for i in range(max(map(len, rows))) for row in rows if i < len(row)]


def advance(state: State, plan: Plan, pairs: Sequence[tuple[Generator, str]], faces_NCHW: Tensor) -> tuple[State, float]:
    """The state after one more step, and the mean value of the objective before it.

    ``faces_NCHW`` are squares of the perturbation's side in 8 bits. Which of them a step takes depends on the seed, the
    perturbation and the step alone.
    """
    in_grey = state.step >= plan.steps
    planes = slice(COLOURS, PLANES) if in_grey else slice(COLOURS)
    at, steps = (state.step - plan.steps, plan.all_steps - plan.steps) if in_grey else (state.step, plan.steps)
    own_CHW, velocity_CHW = state.perturbations_nCHW[state.member, planes], state.velocity_CHW.clone()
    device = next(pairs[0][0].net.parameters(), torch.empty(0)).device
    x_BCHW, variant = _draw(state, plan, faces_NCHW, in_grey=in_grey, device=device)
    eta_1CHW = own_CHW[None].to(device).requires_grad_(True)
    y_BCHW = (x_BCHW + level_to_unit(eta_1CHW)).clamp(-1, 1)
    value = _objective(pairs, plan, at, x_BCHW, variant)(y_BCHW, 0).mean()
    climb_CHW = _unit(gradient(value, eta_1CHW)[0].cpu())
    climb_CHW -= plan.apart * _likeness(own_CHW, state.perturbations_nCHW[: state.member, planes])
    velocity_CHW[planes] = MOMENTUM * velocity_CHW[planes] + climb_CHW
    size = plan.step_size * (1 - (1 - plan.last_step) * at / max(1, steps - 1))
    moved_nCHW = state.perturbations_nCHW.clone()
    moved_nCHW[state.member, planes] = (own_CHW + size * velocity_CHW[planes].sign()).clamp(-plan.epsilon, plan.epsilon)
    if state.step + 1 == plan.all_steps:
        return State(moved_nCHW, torch.zeros_like(velocity_CHW), state.member + 1), float(value.detach())
    return State(moved_nCHW, velocity_CHW, state.member, state.step + 1), float(value.detach())


def _draw(state: State, plan: Plan, faces_NCHW: Tensor, *, in_grey: bool, device: torch.device) -> tuple[Tensor, Transform]:
    """The photos of a step (B, 3, S, S), and what happens to them on the way to the network."""
    key = f"perturbation {state.member} step {state.step}"
    (stream,) = streams_for([key], plan.seed)
    index_B = torch.randint(0, len(faces_NCHW), (plan.batch,), generator=stream.rng)
    x_BCHW = turn_grey(pixels_to_unit(faces_NCHW[index_B].float()), torch.full((plan.batch,), in_grey)).to(device)
    streams = streams_for([f"{key} photo {b}" for b in range(plan.batch)], plan.seed)
    variants = robust_variants(plan.robust_to, streams, x_BCHW.shape[1:])
    return x_BCHW, variants[int(torch.randint(0, len(variants), (), generator=stream.rng))]


def _objective(pairs: Sequence[tuple[Generator, str]], plan: Plan, step: int, x_BCHW: Tensor, variant: Transform) -> Objective:
    """How far outputs are from those on untouched photos after the same ``variant``: of one pair in its turn, or of all."""
    chosen = [pairs[step % len(pairs)]] if plan.classes == "iterative" else pairs
    objectives = []
    for generator, name in chosen:
        view = _view(generator.size, variant)
        with torch.no_grad():
            reference_BCHW = generator(view(x_BCHW), name)
        objectives.append(through(view, away_from(generator.output(name), reference_BCHW, DISTANCES[plan.objective])))
    return weakest_of(objectives) if plan.classes == "weakest" else mean_over(objectives)


def _view(size: int, variant: Transform) -> Transform:
    return lambda y_BCHW: resize(variant(y_BCHW), (size, size))


def _likeness(own_CHW: Tensor, earlier_nCHW: Tensor) -> Tensor:
    """The direction in which a perturbation grows more like the earlier ones: of each positive cosine, times that cosine."""
    total_CHW = torch.zeros_like(own_CHW)
    for other_CHW in earlier_nCHW:
        cosine = torch.cosine_similarity(own_CHW.flatten(), other_CHW.flatten(), dim=0)
        if cosine > 0:
            total_CHW += cosine * _unit(other_CHW / other_CHW.norm() - cosine * own_CHW / own_CHW.norm())
    return total_CHW


def _unit(g_CHW: Tensor) -> Tensor:
    """At a mean absolute value of 1; zero stays zero."""
    return g_CHW / g_CHW.abs().mean().clamp_min(torch.finfo(g_CHW.dtype).tiny)
