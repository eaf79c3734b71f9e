"""The one ascent loop, the balls that it stays in, and its starts.

FGSM, I-FGSM, PGD, APGD, targeted, joint, iterative and robust disruptions are values handed to `ascend`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pipeline.disruption.apgd import Apgd
from pipeline.disruption.recipes import StepRule
from pipeline.disruption.streams import Stream

Objective = Callable[[Tensor, int], Tensor]
"""(images (B, C, H, W) in [-1, 1], step number) -> one value per image (B,), to be made large."""

Rest = tuple[Objective, "Ball", "float | Tensor"]
"""What some photos of a batch climb with: their objective, ball and step size."""


@dataclass(frozen=True)
class Leaving:
    """How images leave an ascent before its last step.

    ``stay`` is asked before each step: (rows (N,) of the batch that are still in it, their images (N, C, H, W), the objective's
    values there (N,), steps taken) -> bool (N,). ``rest`` gives what the rows (N,) that stay go on with.
    """

    stay: Callable[[Tensor, Tensor, Tensor, int], Tensor]
    rest: Callable[[Tensor], Rest]


def ascend(
    objective: Objective,
    x_BCHW: Tensor,
    ball: Ball,
    *,
    start_BCHW: Tensor,
    steps: int,
    step_size: float | Tensor,
    last_step: float = 1.0,
    momentum: float = 0.0,
    step_rule: StepRule = "fixed",
    leaving: Leaving | None = None,
) -> Tensor:
    """Climb ``objective`` from ``start`` without leaving ``ball`` around ``x``; returns images (B, C, H, W).

    ``step_size`` is in the units of the ball, one for all or one per image (B, 1, 1, 1); steps shrink evenly to the share
    ``last_step`` of it. With ``momentum`` a step follows the sum of all gradients so far, each at an L1 norm of 1 and
    shrunk by this factor in every step since: where classes take turns, that is nearly the gradient of them all.
    With the rule ``apgd``, ``step_size`` is the first one, which each image halves when it gets on badly (`Apgd`), and an image
    comes back as it was where its value was highest; that takes one value more than there are steps, and an objective that is the
    same in each. Raises ValueError for that rule with ``last_step``, ``momentum`` or ``leaving``.

    The start is not projected, every later point is. An image does not move where its gradient is zero: with the reference G(x)
    that is x itself, so start elsewhere. An image that leaves early comes back as it was then, and the others go on without it; the
    last to leave costs no gradient.
    Source: [R20] section 3.2; Madry et al. 2018 for the projection; Dong et al. 2018, equation 6, for the momentum; Croce and Hein
    2020 for APGD.
    """
    apgd = Apgd(steps) if step_rule == "apgd" else None
    if apgd and (last_step != 1 or momentum or leaving):
        raise ValueError("the step rule apgd has its own step sizes and momentum, and images stay in it to the last step")
    so_far_NCHW: Tensor | None = None
    left_BCHW: Tensor | None = None  # images that have left, once there are some
    rows_N, y_NCHW = torch.arange(len(x_BCHW), device=x_BCHW.device), start_BCHW.detach()
    del start_BCHW  # a large photo's images are a hundred megabytes each
    for t in range(steps):
        y_NCHW = y_NCHW.detach().requires_grad_(True)
        with torch.enable_grad():
            value_N = objective(y_NCHW, t)
        stay_N = leaving.stay(rows_N, y_NCHW.detach(), value_N.detach(), t) if leaving else None
        if stay_N is not None and not stay_N.any():
            break
        g_NCHW, value_N = gradient(value_N, y_NCHW), value_N.detach()
        if leaving and stay_N is not None and not stay_N.all():
            left_BCHW = y_NCHW.detach() if left_BCHW is None else left_BCHW.index_copy(0, rows_N, y_NCHW.detach())
            rows_N, y_NCHW, g_NCHW, x_BCHW = rows_N[stay_N], y_NCHW[stay_N], g_NCHW[stay_N], x_BCHW[stay_N]
            so_far_NCHW = None if so_far_NCHW is None else so_far_NCHW[stay_N]
            objective, ball, step_size = leaving.rest(rows_N)
        if momentum:
            g_NCHW = _at_unit_l1(g_NCHW)
            so_far_NCHW = g_NCHW = g_NCHW if so_far_NCHW is None else momentum * so_far_NCHW + g_NCHW
        y_NCHW = y_NCHW.detach()
        share: float | Tensor = 1 - (1 - last_step) * t / max(1, steps - 1)
        if apgd:
            y_NCHW, g_NCHW, share = apgd.look(y_NCHW, value_N, g_NCHW, t)
        z_NCHW = ball.project(y_NCHW + share * step_size * ball.steepest(g_NCHW), x_BCHW)
        y_NCHW = ball.project(apgd.lean(y_NCHW, z_NCHW, t), x_BCHW) if apgd else z_NCHW
    y_NCHW = y_NCHW.detach()
    if apgd and steps:
        with torch.no_grad():
            y_NCHW = apgd.best(y_NCHW, objective(y_NCHW, steps))
    return y_NCHW if left_BCHW is None else left_BCHW.index_copy(0, rows_N, y_NCHW)


def gradient(value_B: Tensor, y_BCHW: Tensor) -> Tensor:
    """The gradient of each image's own value with respect to that image, same shape as ``y``.

    Values are summed, not averaged, so an image's gradient does not depend on its batch.
    """
    (g_BCHW,) = torch.autograd.grad(value_B, y_BCHW, torch.ones_like(value_B))
    return g_BCHW


class Ball(Protocol):
    """A ball around an image in [-1, 1]; radii are in the same units."""

    def project(self, y_BCHW: Tensor, x_BCHW: Tensor) -> Tensor:
        """The point of the ball around ``x``, cut by [-1, 1], that replaces ``y``."""
        ...

    def steepest(self, g_BCHW: Tensor) -> Tensor:
        """The unit step along which a linear objective with gradient ``g`` grows most."""
        ...

    def draw(self, x_BCHW: Tensor, streams: Sequence[Stream]) -> Tensor:
        """One random perturbation per image, drawn from its own stream."""
        ...


@dataclass(frozen=True)
class Linf:
    """|eta| <= radius at every pixel: one radius, one per image (B, 1, 1, 1) or one per pixel (B, 1, H, W).

    With one radius the ball of FGSM, I-FGSM and PGD in [R20].
    """

    radius: float | Tensor

    def project(self, y_BCHW: Tensor, x_BCHW: Tensor) -> Tensor:
        """Clip to the box, then to the pixel range; exact, since both are boxes."""
        return torch.minimum(torch.maximum(y_BCHW, x_BCHW - self.radius), x_BCHW + self.radius).clamp_(-1, 1)

    def steepest(self, g_BCHW: Tensor) -> Tensor:
        """The sign of the gradient."""
        return g_BCHW.sign()

    def draw(self, x_BCHW: Tensor, streams: Sequence[Stream]) -> Tensor:
        """Uniform in the box."""
        return _uniform(x_BCHW, streams) * self.radius


@dataclass(frozen=True)
class L2:
    """sqrt(sum eta^2) <= radius, over all pixels and channels of an image; one radius, or one per image (B, 1, 1, 1)."""

    radius: float | Tensor

    def project(self, y_BCHW: Tensor, x_BCHW: Tensor) -> Tensor:
        """Shrink the perturbation to the radius, then clip to the pixel range (which only shortens it)."""
        eta = y_BCHW - x_BCHW
        shrink: Tensor = (self.radius / _norms(eta).clamp_min(torch.finfo(eta.dtype).tiny)).clamp(max=1)
        return (x_BCHW + eta * shrink).clamp(-1, 1)

    def steepest(self, g_BCHW: Tensor) -> Tensor:
        """The gradient at unit length; zero stays zero."""
        norms = _norms(g_BCHW)
        return torch.where(norms > 0, g_BCHW / norms.clamp_min(torch.finfo(g_BCHW.dtype).tiny), torch.zeros_like(g_BCHW))

    def draw(self, x_BCHW: Tensor, streams: Sequence[Stream]) -> Tensor:
        """A random direction at a uniform share of the radius."""
        direction = self.steepest(_uniform(x_BCHW, streams))
        share_B = torch.stack([stream.uniform(()).abs() for stream in streams])
        return direction * share_B.to(x_BCHW)[:, None, None, None] * self.radius


@dataclass(frozen=True)
class L2InLinf:
    """An L2 ball whose points also keep max|eta| below a bound, as a file's promise asks."""

    l2: L2
    linf: Linf

    def project(self, y_BCHW: Tensor, x_BCHW: Tensor) -> Tensor:
        """Shrink to the L2 ball, then clip to the box: clipping only shortens, so both bounds hold."""
        return self.linf.project(self.l2.project(y_BCHW, x_BCHW), x_BCHW)

    def steepest(self, g_BCHW: Tensor) -> Tensor:
        """As in the L2 ball."""
        return self.l2.steepest(g_BCHW)

    def draw(self, x_BCHW: Tensor, streams: Sequence[Stream]) -> Tensor:
        """As in the L2 ball."""
        return self.l2.draw(x_BCHW, streams)


BALLS: dict[str, Callable[[float | Tensor, int | Tensor], Ball]] = {
    "linf": lambda epsilon, values: Linf(epsilon),
    "l2": lambda epsilon, values: L2InLinf(L2(0.5 * mean_radius(epsilon) * values**0.5), Linf(epsilon)),
}
"""By name: (epsilon in [-1, 1], values per image, one number or one per image (B, 1, 1, 1)) -> ball.

``epsilon`` is one number, one per image or one per pixel, as the radius of `Linf`. ``l2`` holds the root mean square at half of
epsilon, where that differs between pixels of its mean.
"""


def mean_radius(epsilon: float | Tensor) -> float | Tensor:
    """One radius per image (B, 1, 1, 1): the mean of its pixels, without those where nothing may move; a number stays."""
    if not isinstance(epsilon, Tensor):
        return epsilon
    moving = (epsilon > 0).sum(dim=(1, 2, 3), keepdim=True).clamp_min(1)
    return epsilon.sum(dim=(1, 2, 3), keepdim=True) / moving


JITTER = 1e-3
"""Half-width, in [-1, 1], of the start that only leaves the point where the gradient is zero."""

Start = Callable[[Tensor, Ball, Sequence[Stream]], Tensor]


def clean(x_BCHW: Tensor, ball: Ball, streams: Sequence[Stream]) -> Tensor:
    """The image itself. With the reference G(x) the gradient here is exactly zero."""
    return x_BCHW


def jitter(x_BCHW: Tensor, ball: Ball, streams: Sequence[Stream]) -> Tensor:
    """The image plus at most 0.001 at random: off the zero-gradient point, far below one 8-bit level (0.0078)."""
    return ball.project(x_BCHW + _uniform(x_BCHW, streams) * JITTER, x_BCHW)


def uniform(x_BCHW: Tensor, ball: Ball, streams: Sequence[Stream]) -> Tensor:
    """A uniform point of the ball, cut by the pixel range: the start of PGD."""
    return ball.project(x_BCHW + ball.draw(x_BCHW, streams), x_BCHW)


STARTS: dict[str, Start] = {"clean": clean, "jitter": jitter, "uniform": uniform}


def _at_unit_l1(g_BCHW: Tensor) -> Tensor:
    """Each image's gradient at an L1 norm of 1, so that padding changes nothing; zero stays zero."""
    return g_BCHW / g_BCHW.abs().sum(dim=(1, 2, 3), keepdim=True).clamp_min(torch.finfo(g_BCHW.dtype).tiny)


def _norms(v_BCHW: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(v_BCHW, dim=(1, 2, 3), keepdim=True)
    return norms


def _uniform(x_BCHW: Tensor, streams: Sequence[Stream]) -> Tensor:
    return torch.stack([stream.uniform_pixels(x_BCHW.shape[1:]).to(x_BCHW) for stream in streams])
