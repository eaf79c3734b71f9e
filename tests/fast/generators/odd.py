"""Generators that cannot be disrupted or measured, each in its own way; `--generator tests.fast.generators.odd:constant`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pipeline.generators.generator import Generator


def _odd(name: str, translate: Callable[[nn.Module, Tensor, Tensor], Tensor], net: nn.Module | None = None) -> Generator:
    return Generator(name, net or nn.Identity(), {"plain": (), "other": ()}, 16, name, translate=translate)


def constant() -> Generator:
    """The same picture of everything."""
    return _odd("constant", lambda net, x, c: torch.full_like(x, 0.25) + 0 * x)


def larger() -> Generator:
    """Twice the size."""
    return _odd("larger", lambda net, x, c: nn.functional.interpolate(x.flip(3), scale_factor=2))


def grey() -> Generator:
    """One channel."""
    return _odd("grey", lambda net, x, c: -x.mean(1, keepdim=True))


def of_grey() -> Generator:
    """Takes one channel."""
    return _odd("of_grey", lambda net, x, c: net(x), nn.Conv2d(1, 3, 3, padding=1))


def half() -> Generator:
    """Takes float16 alone."""
    return _odd("half", lambda net, x, c: net(x), nn.Conv2d(3, 3, 3, padding=1).half())


def pair() -> Generator:
    """Two results."""
    return _odd("pair", lambda net, x, c: (x, x))  # type: ignore[arg-type, return-value]


def flat_vector() -> Generator:
    """No picture."""
    return _odd("flat_vector", lambda net, x, c: x.flatten(1))
