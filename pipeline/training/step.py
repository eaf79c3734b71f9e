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
from pipeline.training.options import TrainError
from pipeline.training.state import TrainState, move_average
from pipeline.training.systems.system import ETA3, Batch, Images, Parts, System, match_nets

Average = Callable[[Sequence[Tensor]], None]
"""Replaces each tensor, in place, by its mean over all workers; called by all of them in the same order."""


@dataclass(frozen=True)
class Share:
    """Which part of each batch this worker takes: rows ``rank * B / world`` to ``(rank + 1) * B / world``."""

    rank: int
    world: int
    average: Average


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
    """Of the moving average of G's weights, which is what is written; 0 writes the last weights."""
    precision: Literal["fp32", "bf16"] = "fp32"
    accumulate: int = 1
    """Into how many parts a worker cuts its rows, one after the other, to need less memory."""
    adversarial: Adversarial = field(default_factory=Adversarial)


def train_step(state: TrainState, system: System, batch: Batch, settings: StepSettings, share: Share = ALONE) -> dict[str, float]:
    """Move D, and G in every ``d_steps``-th step, by one step; returns the losses by name, averaged over workers.

    ``batch`` is the whole batch, the same on all workers. Raises TrainError when a loss is not a finite number; the state is then
    of no more use, but no checkpoint of it has been written.
    """
    nets, attack = state.nets, settings.adversarial
    batch = attack.draw(system.draw(batch, state.step, state.rng), state.rng)
    rows = split(batch, share.world, what="workers")[share.rank]
    micros = [match_nets(nets.G, micro) for micro in split(rows, settings.accumulate, what="accumulated parts")]
    moves_G = (state.step + 1) % settings.d_steps == 0
    shares_graph = moves_G and len(micros) == 1  # D's and G's step then share one forward pass
    for optimiser in (state.opt_D, state.opt_G):
        optimiser.zero_grad(set_to_none=True)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(state.step, settings)

    def precision() -> AbstractContextManager[None]:  # one context a pass: autocast keeps converted weights, with or without graph
        return torch.autocast(state.device.type, dtype=torch.bfloat16, enabled=settings.precision == "bf16")

    parts: list[Parts] = []
    translated: list[tuple[Images, Images, Images]] = []
    for i, micro in enumerate(micros):
        with precision():
            inputs, clean = (system.inputs(micro), {}) if attack.mode == "none" else perturbed_inputs(system, nets.G, micro, attack)
        with precision(), torch.set_grad_enabled(shares_graph):
            fake = system.translate(nets.G, inputs, micro)
        translated.append((inputs, clean, fake))
        with precision():
            real, fake = system.reals(micro), {name: image.detach() for name, image in fake.items()}
            if attack.mode == "both":
                real = perturbed_reals(system, nets.D, micro, attack)
                shown = perturbed_fakes(system, nets.D, fake, micro, attack)
                micros[i] = {**micro, **{f"{ETA3}{name}": shown[name] - fake[name] for name in fake}}
                fake = shown
            loss, losses = system.d_loss(nets, micro, real, fake, state.step)
        (loss / len(micros)).backward()
        parts.append(losses | {"d_loss": loss.detach()})
    _move(state.opt_D, share)

    if moves_G:
        for micro, (inputs, clean, fake) in zip(micros, translated, strict=True):
            with frozen(nets.D), precision():
                images = fake if shares_graph else system.translate(nets.G, inputs, micro)
                loss, losses = system.g_loss(nets, micro, inputs, images, state.step)
                if clean and attack.consistency > 0:
                    apart = torch.stack([(images[name] - clean[name]).square().mean() for name in images]).mean()
                    loss, losses = loss + attack.consistency * apart, losses | {"g_consistency": apart.detach()}
            (loss / len(micros)).backward()
            parts.append(losses | {"g_loss": loss.detach()})
        _move(state.opt_G, share)
        move_average(state.G_ema, nets.G, decay=min(settings.ema_decay, (1 + state.step) / (10 + state.step)))
    state.step += 1
    return _means(parts, state.step, share)


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


def _move(optimiser: torch.optim.Adam, share: Share) -> None:
    gradients = [p.grad for group in optimiser.param_groups for p in group["params"] if p.grad is not None]
    share.average(gradients)
    optimiser.step()


def _means(parts: Sequence[Parts], step: int, share: Share) -> dict[str, float]:
    """The mean of each part over micro-batches and workers; raises TrainError when one is not a finite number."""
    names = list(dict.fromkeys(name for part in parts for name in part))
    means = torch.stack([torch.stack([part[name] for part in parts if name in part]).mean() for name in names])
    share.average([means])
    values = dict(zip(names, means.tolist(), strict=True))
    broken = [name for name, value in values.items() if not math.isfinite(value)]
    if broken:
        raise TrainError(f"{', '.join(broken)} is not a finite number at step {step}; the last checkpoint is unharmed")
    return values
