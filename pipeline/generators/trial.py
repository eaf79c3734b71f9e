"""One look at what a generator makes of two drawn pictures, before any photo: what cannot work is refused, what is odd is said."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.generators.generator import Generator

SMALL = 64
"""Side in pixels of small pictures, which a net of convolutions takes whatever its native side."""
NOTICEABLE = 1 / 255
"""Half an 8-bit level in [-1, 1]: outputs closer than this are the same picture."""


class UnusableGeneratorError(ValueError):
    """A generator whose output is no picture of the input's size; the message says what to change."""


def try_generator(generator: Generator, classes: Sequence[str] = (), *, side: int | None = None) -> list[str]:
    """What makes the numbers of this generator meaningless, one sentence for each kind; empty for one that works.

    It translates two pictures of ``side`` pixels, its native side by default, to each of the ``classes``, all by default, where its
    net is. Raises UnusableGeneratorError where it fails or gives anything but images of the same shape.
    """
    x_BCHW = drawn_pictures(side or generator.size).to(next(generator.net.parameters(), torch.empty(0)).device)
    odd: dict[str, list[str]] = {}
    for name in generator.select_classes(classes):
        if fault := _fault(x_BCHW, _translate(generator, x_BCHW, name)):
            odd.setdefault(fault, []).append(name)
    return [f"{generator.name} {fault} (class {', '.join(names)})" for fault, names in odd.items()]


def notes_on(generator: Generator, classes: Sequence[str] = ()) -> list[str]:
    """What a user should know of a generator before a run: how its weights were found, and what `try_generator` says.

    Small pictures are enough for a net that takes them and works; any other is tried at its native side.
    """
    works = generator.size > SMALL and _works_small(generator, classes)
    return [*generator.notes, *([] if works else try_generator(generator, classes))]


def _works_small(generator: Generator, classes: Sequence[str]) -> bool:
    try:
        return not try_generator(generator, classes, side=SMALL)
    except UnusableGeneratorError:
        return False


def drawn_pictures(side: int) -> Tensor:
    """Two pictures (2, 3, side, side) in [-1, 1]: soft waves of three colours, and a bright disc on a dark ramp."""
    axis = torch.linspace(-1, 1, side)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    waves = torch.stack([torch.sin(3 * x + 2 * y), torch.sin(4 * y - x), torch.cos(2 * x * y + 1)])
    disc = torch.where(x**2 + y**2 < 0.4, 0.7, -0.5 + 0.3 * x).expand(3, -1, -1) * torch.tensor([1.0, 0.8, 0.6])[:, None, None]
    return torch.stack([0.8 * waves, disc])


def _translate(generator: Generator, x_BCHW: Tensor, class_name: str) -> Tensor:
    shape = tuple(x_BCHW.shape)
    try:
        with torch.no_grad():
            y_BCHW = generator(x_BCHW, class_name)
    except (RuntimeError, TypeError, ValueError, LookupError, AttributeError, AssertionError) as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UnusableGeneratorError(
            f"{generator.name} fails on images {shape} for class {class_name}: {why}. It is given float32 images (B, 3, H, W) in "
            "[-1, 1]; a net that takes others needs a translate function that converts them (docs/protect.md, Your own network)"
        ) from error
    if not isinstance(y_BCHW, Tensor):
        raise UnusableGeneratorError(
            f"{generator.name} gives a {type(y_BCHW).__name__} for class {class_name}, not one tensor of images: "
            "give the Generator a translate function that returns the images"
        )
    if y_BCHW.shape == x_BCHW.shape:
        return y_BCHW
    fix = "translate must return (B, 3, H, W)"
    if y_BCHW.ndim == 4 and y_BCHW.shape[2:] != x_BCHW.shape[2:]:
        fix = "end translate with torch.nn.functional.interpolate(y, size=x.shape[2:])"
    elif y_BCHW.ndim == 4 and y_BCHW.shape[1] == 1:
        fix = "end translate with y.expand(-1, 3, -1, -1)"
    raise UnusableGeneratorError(
        f"{generator.name} makes {tuple(y_BCHW.shape)} of images {shape} for class {class_name}; it must keep their shape: {fix}"
    )


def _fault(x_BCHW: Tensor, y_BCHW: Tensor) -> str:
    """What makes numbers on this output meaningless; empty if nothing does."""
    if not y_BCHW.isfinite().all():
        return "gives values that are not numbers: its weights or its input range are not those that it was trained with"
    if (y_BCHW - x_BCHW).abs().max() < NOTICEABLE:
        return "gives its input back: there is no translation to break, and its numbers mean nothing"
    if (y_BCHW[0] - y_BCHW[1]).abs().max() < NOTICEABLE:
        return "gives the same picture whatever its input: nothing done to a photo changes it, and its numbers mean nothing"
    return ""
