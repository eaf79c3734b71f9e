"""One training step of any system: D, then G, on this worker's share of the batch.

All randomness is drawn for the whole batch before it is shared out, and gradients are averaged over workers before an optimiser
moves, so the number of workers changes nothing but rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from pipeline.training.adversarial import Adversarial, frozen, perturbed_fakes, perturbed_inputs, perturbed_reals
from pipeline.training.errors import TrainError
from pipeline.training.state import TrainState, move_average
from pipeline.training.systems.system import Batch, Images, Parts, System

Average = Callable[[Sequence[Tensor]], None]
"""Replaces each tensor, in place, by its mean over all workers; called by all of them in the same order."""


@dataclass(frozen=True)
class Share:
    """Which part of each batch this worker takes: rows ``rank * B / world`` to ``(rank + 1) * B / world``."""

    rank: int
    world: int
    average: Average

    def rows(self, batch: Batch) -> Batch:
        """This worker's rows of the whole batch; raises TrainError when they cannot be shared out evenly."""
        return split(batch, self.world, what="workers")[self.rank]


ALONE = Share(rank=0, world=1, average=lambda tensors: None)


@dataclass(frozen=True)
class StepSettings:
    """How a step is taken, whatever the system. The learning rate is ``lr`` at first and falls in a straight line later."""

    lr: float = 2e-4
    steps: int = 4000
    """Steps of the whole training: where the learning rate ends."""
    decay_from: float = 0.5
    """Share of the training after which the learning rate falls."""
    final_lr: float = 0.05
    """Learning rate at the end, as a share of ``lr``."""
    d_steps: int = 1
    """D moves in every step, G in every ``d_steps``-th."""
    ema_decay: float = 0.998
    precision: Literal["fp32", "bf16"] = "fp32"
    accumulate: int = 1
    """Into how many parts a worker cuts its rows, one after the other, to need less memory."""
    adversarial: Adversarial = field(default_factory=Adversarial)

    def __post_init__(self) -> None:
        if min(self.steps, self.d_steps, self.accumulate) < 1:
            raise TrainError("steps, d_steps and accumulate are whole numbers of at least 1")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise TrainError(f"the learning rate is {self.lr}; expected a number above 0")


def train_step(state: TrainState, system: System, batch: Batch, settings: StepSettings, share: Share = ALONE) -> dict[str, float]:
    """Move D, and G in every ``d_steps``-th step, by one step; returns the losses by name, averaged over workers.

    ``batch`` is the whole batch, the same on all workers. Raises TrainError when a loss is not a finite number; the state is then
    of no more use, but no checkpoint of it has been written.
    """
    drawn = settings.adversarial.draw(system.draw(batch, state.step, state.rng), state.rng)
    micros = [_on(state.device, micro) for micro in split(share.rows(drawn), settings.accumulate, what="accumulated parts")]
    moves_G = (state.step + 1) % settings.d_steps == 0
    learner = _Learner(state, system, settings)
    learner.set_learning_rate()
    works = [learner.translated(micro, with_graph=moves_G and len(micros) == 1) for micro in micros]
    parts = [learner.d_backward(work, len(works)) for work in works]
    _move(state.opt_D, share)
    if moves_G:
        with frozen(state.nets.D):
            parts += [learner.g_backward(work, len(works)) for work in works]
        _move(state.opt_G, share)
        move_average(state.G_ema, state.nets.G, decay=min(settings.ema_decay, (1 + state.step) / (10 + state.step)))
    state.step += 1
    return _reported(parts, state.step, share)


def learning_rate(step: int, settings: StepSettings) -> float:
    """``lr`` until ``decay_from`` of the steps, then a straight line down to ``final_lr`` of it."""
    done = min(step / settings.steps, 1.0)
    falling = max(0.0, done - settings.decay_from) / max(1 - settings.decay_from, 1e-9)
    return settings.lr * (1.0 - (1.0 - settings.final_lr) * falling)


def split(batch: Batch, parts: int, *, what: str) -> list[Batch]:
    """The batch cut along its first axis into equal parts; raises TrainError when it does not divide."""
    count = len(next(iter(batch.values())))
    if count % parts or count < parts:
        raise TrainError(f"a batch of {count} cannot be shared evenly by {parts} {what}; choose a multiple")
    size = count // parts
    return [{name: tensor[i * size : (i + 1) * size] for name, tensor in batch.items()} for i in range(parts)]


@dataclass(frozen=True)
class _Work:
    """Images of one micro-batch between D's and G's step; ``clean`` is G's output without eta2, where one was added."""

    batch: Batch
    inputs: Images
    fake: Images
    clean: Images | None


@dataclass(frozen=True)
class _Learner:
    """The two losses of a step, each with its perturbations, added to the gradients of the nets."""

    state: TrainState
    system: System
    settings: StepSettings

    def set_learning_rate(self) -> None:
        for optimiser in (self.state.opt_D, self.state.opt_G):
            optimiser.zero_grad(set_to_none=True)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(self.state.step, self.settings)

    def translated(self, batch: Batch, *, with_graph: bool) -> _Work:
        """G's output, perturbed or not. D's and G's step share one forward pass where its graph can be kept."""
        G, attack = self.state.nets.G, self.settings.adversarial
        with self._precision():
            if attack.mode == "none":
                inputs, clean = self.system.inputs(batch), None
            else:
                inputs, clean = perturbed_inputs(self.system, G, batch, attack)
        with self._precision(), torch.set_grad_enabled(with_graph):
            return _Work(batch, inputs, self.system.translate(G, inputs, batch), clean)

    def d_backward(self, work: _Work, works: int) -> Parts:
        """Add the gradient of D's loss; both perturbations of D are crafted against D as it is before it moves."""
        nets, attack = self.state.nets, self.settings.adversarial
        fake = {name: image.detach() for name, image in work.fake.items()}
        with self._precision():
            real = self.system.reals(work.batch)
            if attack.mode == "both":
                real = perturbed_reals(self.system, nets.D, work.batch, attack)
                fake = perturbed_fakes(self.system, nets.D, fake, work.batch, attack)
            loss, parts = self.system.d_loss(nets, work.batch, real, fake, self.state.step)
        (loss / works).backward()
        return parts | {"d_loss": loss.detach()}

    def g_backward(self, work: _Work, works: int) -> Parts:
        """Add the gradient of G's loss; with several micro-batches the images are translated again, since no graph was kept."""
        nets, attack = self.state.nets, self.settings.adversarial
        with self._precision():
            fake = work.fake if works == 1 else self.system.translate(nets.G, work.inputs, work.batch)
            loss, parts = self.system.g_loss(nets, work.batch, work.inputs, fake, self.state.step)
            if work.clean is not None and attack.consistency > 0:
                apart = torch.stack([(fake[name] - work.clean[name]).square().mean() for name in fake]).mean()
                loss, parts = loss + attack.consistency * apart, parts | {"g_consistency": apart.detach()}
        (loss / works).backward()
        return parts | {"g_loss": loss.detach()}

    def _precision(self) -> AbstractContextManager[None]:
        return torch.autocast(self.state.device.type, dtype=torch.bfloat16, enabled=self.settings.precision == "bf16")


def _move(optimiser: torch.optim.Adam, share: Share) -> None:
    gradients = [p.grad for group in optimiser.param_groups for p in group["params"] if p.grad is not None]
    share.average(gradients)
    optimiser.step()


def _on(device: torch.device, batch: Batch) -> Batch:
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}


def _reported(parts: Sequence[Parts], step: int, share: Share) -> dict[str, float]:
    """The mean of each part over micro-batches and workers; raises TrainError when one is not a finite number."""
    names = list(dict.fromkeys(name for part in parts for name in part))
    means = torch.stack([torch.stack([part[name] for part in parts if name in part]).mean() for name in names])
    share.average([means])
    values = dict(zip(names, means.tolist(), strict=True))
    broken = [name for name, value in values.items() if not math.isfinite(value)]
    if broken:
        raise TrainError(f"{', '.join(broken)} is not a finite number at step {step}; the last checkpoint is unharmed")
    return values
