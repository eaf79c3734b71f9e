"""A second way to take a StarGAN step, written out line by line: no code of the package but the nets themselves."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.training.systems.system import Batch


@dataclass
class Weights:
    cls: float
    rec: float
    keep: float
    gp: float
    r1: float
    consistency: float = 0.0
    same: float = 0.0
    unfooled: float = 0.0
    r1_every: int = 16
    game: str = "hinge"


def seen(x: Tensor, views: Tensor) -> Tensor:
    """The discriminator's augmentation, pixel by pixel of the window."""
    side = x.shape[2]
    pad, hole = side // 8, side // 3
    out = []
    for i, (light, contrast, top, left, cut, hole_top, hole_left) in enumerate(views.tolist()):
        lit = x[i] * (1 + contrast) + light

        def source(start: float) -> list[int]:
            at = [int(start) - pad + p for p in range(side)]
            return [-p if p < 0 else 2 * (side - 1) - p if p >= side else p for p in at]

        window = lit[:, source(top)][:, :, source(left)]
        mask = torch.ones(side, side, dtype=x.dtype)
        if cut:
            mask[int(hole_top) : int(hole_top) + hole, int(hole_left) : int(hole_left) + hole] = 0
        out.append(window * mask)
    return torch.stack(out)


def bce(logits: Tensor, labels: Tensor, known: Tensor) -> Tensor:
    p = 1 / (1 + torch.exp(-logits))
    return -(known * (labels * torch.log(p) + (1 - labels) * torch.log(1 - p))).sum() / logits.shape[0]


def start(batch: Batch, column: int, name: str, epsilon: float) -> Tensor:
    """The start of PGD: uniform in the box, an own stream for each image."""
    rows = []
    for seed in batch["attack_seeds"][:, column].tolist():
        rng = torch.Generator().manual_seed(seed + zlib.crc32(name.encode()))
        rows.append((2 * torch.rand(3, 64, 64, generator=rng, dtype=torch.float64) - 1) * epsilon)
    return torch.stack(rows)


def pgd(value: Any, x: Tensor, eta: Tensor, *, epsilon: float, size: float, steps: int) -> Tensor:
    y = (x + eta).clamp(-1, 1)
    for _ in range(steps):
        y = y.detach().requires_grad_(True)
        (g,) = torch.autograd.grad(value(y), y)
        y = x + (y.detach() + size * torch.sign(g) - x).clamp(-epsilon, epsilon)
        y = y.clamp(-1, 1)
    return y


def adversary(
    G: nn.Module, D: nn.Module, batch: Batch, *, epsilon: float, size: float, steps: int, both: bool
) -> tuple[Tensor, ...]:
    """(perturbed input, clean output, perturbed real, perturbed fake without its graph)."""
    x, c = batch["image"], batch["c"]
    climbed = partial(pgd, epsilon=epsilon, size=size, steps=steps)
    clean = G(x, c).detach()
    given = climbed(lambda y: ((G(y, c) - clean) ** 2).mean((1, 2, 3)).sum(), x, start(batch, 1, "fake", epsilon))
    fake = G(given, c).detach()
    if not both:
        return given, clean, x, fake

    def score(y: Tensor) -> Tensor:
        patches: Tensor = D(seen(y, batch["view_D"]))[0]
        return patches.mean((1, 2, 3)).sum()

    real = climbed(lambda y: -score(y), x, start(batch, 0, "fake", epsilon))
    return given, clean, real, climbed(score, fake, start(batch, 2, "fake", epsilon))


def d_gradients(D: nn.Module, batch: Batch, real: Tensor, fake: Tensor, w: Weights, *, lazy: bool) -> list[Tensor]:
    views = batch.get("view_D")
    real_seen, fake_seen = (real, fake) if views is None else (seen(real, views), seen(fake, views))
    real_src, real_cls = D(real_seen)
    fake_src, fake_cls = D(fake_seen)
    zero = torch.zeros((), dtype=real.dtype)
    if w.game == "hinge":
        loss = torch.maximum(zero, 1 - real_src).mean() + torch.maximum(zero, 1 + fake_src).mean()
    elif w.game == "log":
        loss = -torch.log(torch.sigmoid(real_src)).mean() - torch.log(1 - torch.sigmoid(fake_src)).mean()
    else:
        loss = fake_src.mean() - real_src.mean()
    loss = loss + w.cls * bce(real_cls, batch["labels"], batch["known"])
    if w.unfooled:
        changed = batch["known"] * (batch["target"] != batch["labels"])
        loss = loss + w.cls * w.unfooled * bce(fake_cls, batch["labels"], changed)
    if w.gp:
        a = batch["between"].to(real.dtype).view(-1, 1, 1, 1)
        middle = (a * real_seen + (1 - a) * fake_seen).requires_grad_(True)
        (g,) = torch.autograd.grad(D(middle)[0].sum(), middle, create_graph=True)
        loss = loss + w.gp * ((g.pow(2).sum((1, 2, 3)).sqrt() - 1) ** 2).mean()
    if w.r1 and lazy:
        at = real_seen.detach().requires_grad_(True)
        at_src, at_cls = D(at)
        scores = at_src.mean((1, 2, 3))
        if w.unfooled:
            scores = scores + (torch.where(batch["labels"] > 0, at_cls, -at_cls) * batch["known"]).sum(1)
        (g,) = torch.autograd.grad(scores.sum(), at, create_graph=True)
        loss = loss + w.r1 / 2 * w.r1_every * g.pow(2).sum((1, 2, 3)).mean()
    return list(torch.autograd.grad(loss, list(D.parameters())))


def g_gradients(
    G: nn.Module,
    D: nn.Module,
    batch: Batch,
    given: Tensor,
    *,
    clean: Tensor | None,
    w: Weights,
    cycled: list[int],
    same: list[int] | None = None,
    eta3: Tensor | None = None,
) -> list[Tensor]:
    fake = G(given, batch["c"])
    views = batch.get("view_G")
    shown = fake if eta3 is None else fake + eta3
    src, cls = D(shown if views is None else seen(shown, views))
    loss = -torch.log(torch.sigmoid(src)).mean() if w.game == "log" else -src.mean()
    loss = loss + w.cls * bce(cls, batch["target"], batch["target_known"])
    back = G(fake[cycled], batch["back"][cycled])
    loss = loss + w.rec * (back - batch["image"][cycled]).abs().mean() + w.keep * (fake - batch["image"]).abs().mean()
    if same:
        loss = loss + w.same * (fake[same] - batch["image"][same]).abs().mean()
    if clean is not None:
        loss = loss + w.consistency * ((fake - clean) ** 2).mean()
    return list(torch.autograd.grad(loss, list(G.parameters())))


def adam_first(p: Tensor, g: Tensor, lr: float) -> Tensor:
    """Adam's first step: the moments, corrected for their start at zero, are g and g squared."""
    return p - lr * g / (g.abs() + 1e-8)
