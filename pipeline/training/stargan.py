"""One training step of StarGAN on few images: hinge losses, a lazy R1 penalty, cycle and attribute losses.

The published recipe (WGAN-GP, five D steps per G step) costs about five times as much per G step; this one is made for hours of
CPU. The forward pass of the generator is shared by the D and the G step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.training.attributes import draw_target, source_condition
from pipeline.training.augment import for_discriminator
from pipeline.training.losses import classification, hinge_d, hinge_g, r1_penalty
from pipeline.training.state import TrainState, move_average


@dataclass(frozen=True)
class StarGANLosses:
    """Weights of the losses; the cycle is closed on a share of each batch and the penalty taken in one step of ``r1_every``.

    ``keep`` weighs the L1 distance of the translation from the photo: a light pull that teaches few images' identity early.
    """

    cls: float = 1.0
    rec: float = 10.0
    rec_share: float = 0.5
    keep: float = 2.0
    r1: float = 5.0
    r1_every: int = 16
    ema_decay: float = 0.998
    hair: int = 2


def train_step(
    state: TrainState, real_BCHW: Tensor, labels_BK: Tensor, known_BK: Tensor, losses: StarGANLosses
) -> dict[str, float]:
    """Move D, then G, by one step each; returns the losses by name."""
    c_BK, target_BK, target_known_BK, back_BK = draw_target(labels_BK, known_BK, hair=losses.hair, rng=state.rng)
    fake_BCHW = state.G(real_BCHW, c_BK)

    state.D.requires_grad_(True)
    real_seen = for_discriminator(real_BCHW, state.rng)
    lazy = state.step % losses.r1_every == 0
    real_seen.requires_grad_(lazy)
    real_src, real_cls = state.D(real_seen)
    fake_src, _ = state.D(for_discriminator(fake_BCHW.detach(), state.rng))
    d_adv = hinge_d(real_src, fake_src)
    d_cls = classification(real_cls, labels_BK, known_BK)
    d_loss = d_adv + losses.cls * d_cls
    parts = {"d_adv": d_adv.item(), "d_cls": d_cls.item()}
    if lazy:
        penalty = r1_penalty(real_src, real_seen)
        d_loss = d_loss + 0.5 * losses.r1 * losses.r1_every * penalty
        parts["r1"] = penalty.item()
    state.opt_D.zero_grad(set_to_none=True)
    d_loss.backward()
    state.opt_D.step()

    state.D.requires_grad_(False)
    fake_src, fake_cls = state.D(for_discriminator(fake_BCHW, state.rng))
    g_adv = hinge_g(fake_src)
    g_cls = classification(fake_cls, target_BK, target_known_BK)
    cycled = max(1, round(losses.rec_share * len(real_BCHW)))
    g_rec = F.l1_loss(state.G(fake_BCHW[:cycled], back_BK[:cycled]), real_BCHW[:cycled])
    g_keep = F.l1_loss(fake_BCHW, real_BCHW)
    g_loss = g_adv + losses.cls * g_cls + losses.rec * g_rec + losses.keep * g_keep
    state.opt_G.zero_grad(set_to_none=True)
    g_loss.backward()
    state.opt_G.step()
    move_average(state.G_ema, state.G, decay=min(losses.ema_decay, (1 + state.step) / (10 + state.step)))
    state.step += 1
    if not torch.isfinite(g_loss):
        raise FloatingPointError(f"the generator's loss is {g_loss.item()} at step {state.step}; the last checkpoint is unharmed")
    return parts | {"g_adv": g_adv.item(), "g_cls": g_cls.item(), "g_rec": g_rec.item(), "g_keep": g_keep.item()}


def warm_up_step(
    state: TrainState, real_BCHW: Tensor, labels_BK: Tensor, known_BK: Tensor, losses: StarGANLosses
) -> dict[str, float]:
    """Teach G to give the photo back when asked for nothing or for what it shows, and D to tell attributes; no game yet.

    A third of the cost of a full step: few images and few hours are better spent on edits once G can draw.
    """
    as_is_BK = source_condition(labels_BK) * (torch.rand(len(labels_BK), 1, generator=state.rng) < 0.5)
    g_rec = F.l1_loss(state.G(real_BCHW, as_is_BK), real_BCHW)
    state.opt_G.zero_grad(set_to_none=True)
    g_rec.backward()
    state.opt_G.step()
    state.D.requires_grad_(True)
    _, real_cls = state.D(for_discriminator(real_BCHW, state.rng))
    d_cls = classification(real_cls, labels_BK, known_BK)
    state.opt_D.zero_grad(set_to_none=True)
    d_cls.backward()
    state.opt_D.step()
    move_average(state.G_ema, state.G, decay=min(losses.ema_decay, (1 + state.step) / (10 + state.step)))
    state.step += 1
    return {"g_rec": g_rec.item(), "d_cls": d_cls.item()}
