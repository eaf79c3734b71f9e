"""What generators make of photos and of their files: the outputs on untouched photos, once, and the effect of a disruption."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.disruption.view import Region
from pipeline.generators.generator import Generator
from pipeline.images import share_of_goal
from pipeline.images.effect import as_pictures, breakage, l1, l2, structure_lost
from pipeline.photos.identity import Person, distance, find_person
from pipeline.protection.row import Measured
from pipeline.protection.stages.shown import batch_view


class UnusableError(ValueError):
    """The generator cannot be used on this photo."""


@dataclass(frozen=True)
class Clean:
    """What one generator sees in a box of the untouched regions of a batch (B, 3, S, S), and its outputs (K, B, 3, S, S), in fp32.

    ``which`` is the number of the box in each region; ``labels`` name the K classes as the manifest does; ``people`` are those in
    the boxes, None where nobody looked for them.
    """

    generator: Generator
    which: int
    classes: tuple[str, ...]
    labels: tuple[str, ...]
    seen_BCHW: Tensor
    outputs_KBCHW: Tensor
    people: tuple[Person | None, ...] | None = None

    def by_class(self) -> dict[str, Tensor]:
        """The outputs (B, 3, S, S) by the generator's own class names."""
        return dict(zip(self.classes, self.outputs_KBCHW, strict=True))


@torch.no_grad()
def look(
    generators: Sequence[Generator],
    classes: Sequence[str],
    x_BCHW: Tensor,
    regions: Sequence[Region],
    *,
    one_by_one: bool = False,
    identity: bool = False,
) -> list[Clean]:
    """What each generator makes of each box of padded untouched regions (B, C, H, W), box after box.

    ``one_by_one`` translates to one class at a time, as the ascent does: then the distance from the reference is exactly zero at
    the photo itself. With ``identity`` people are looked for in the boxes. Raises UnusableError where an output is not a number.
    """
    found = []
    for which in range(len(regions[0].boxes)):
        for generator in generators:
            names = generator.select_classes(classes)
            seen_BCHW = batch_view(regions, generator.size, which)(x_BCHW)
            if one_by_one:
                outputs_KBCHW = torch.stack([generator(seen_BCHW, name) for name in names])
            else:
                outputs_KBCHW = generator.each(seen_BCHW, names)
            for name, output_BCHW in zip(names, outputs_KBCHW, strict=True):
                if not output_BCHW.isfinite().all():
                    raise UnusableError(f"{generator.name} gives values that are not numbers for class {name}")
            labels = names if len(generators) == 1 else tuple(f"{generator.name}/{name}" for name in names)
            people = tuple(map(find_person, as_pictures(seen_BCHW))) if identity else None
            found.append(Clean(generator, which, names, labels, seen_BCHW, outputs_KBCHW, people))
    return found


Boxes = list[list[Measured]]
"""Of one file: each of its boxes and each class."""


def measure(clean: Sequence[Clean], rows: Sequence[int], protected_NCHW: Tensor, regions: Sequence[Region]) -> list[Boxes]:
    """What the files of these rows of the batch do to every output, in fp32.

    ``protected_NCHW`` holds the padded ``regions`` of the files.
    """
    files = Files(clean, rows, protected_NCHW, regions)
    files.translate([(m, n) for m in range(len(files.outputs)) for n in range(len(rows))])
    return files.measured(range(len(rows)))


@dataclass(frozen=True)
class Checked:
    """A file against the goal: the least share that outputs looked at reach, which one it is, all numbers if none fell short."""

    least: float
    weakest: int
    boxes: Boxes | None


CHUNKS = (1, 2)
"""Outputs that a check translates first, and then, before it translates all others together."""


def check(
    clean: Sequence[Clean],
    rows: Sequence[int],
    protected_NCHW: Tensor,
    regions: Sequence[Region],
    *,
    factor: float,
    first: Sequence[int],
) -> list[Checked]:
    """`measure` for files whose outputs must all be broken (`share_of_goal`): a file that falls short is left there, not measured.

    Outputs are looked at from number ``first`` of each file on, in turn; those of a file do not depend on the others.
    """
    files = Files(clean, rows, protected_NCHW, regions)
    M = len(files.outputs)
    ahead = {n: [(start + i) % M for i in range(M)] for n, start in enumerate(first)}
    least, weakest = [math.inf] * len(rows), list(first)
    for size in (*CHUNKS, M):
        pairs = sorted((m, n) for n, numbers in ahead.items() for m in numbers[:size])
        files.translate(pairs)
        for (m, n), value in zip(pairs, files.shares(pairs, factor), strict=True):
            if value < least[n]:
                least[n], weakest[n] = value, m
        ahead = {n: numbers[size:] for n, numbers in ahead.items() if least[n] >= 1}
    boxes = dict(zip(ahead, files.measured(list(ahead)), strict=True))
    return [Checked(least[n], weakest[n], boxes.get(n)) for n in range(len(rows))]


class Files:
    """The files of some rows of a batch and what generators make of them, translated as far as is asked for, in fp32.

    ``outputs`` are numbered as the manifest has them: which of ``clean``, and which of its classes.
    """

    def __init__(self, clean: Sequence[Clean], rows: Sequence[int], protected_NCHW: Tensor, regions: Sequence[Region]) -> None:
        self.outputs = [(c, k) for c, one in enumerate(clean) for k in range(len(one.classes))]
        self._clean = clean
        self._rows = list(rows)
        self._seen = [batch_view(regions, one.generator.size, one.which)(protected_NCHW) for one in clean]
        self._untouched = [one.outputs_KBCHW[:, self._rows] for one in clean]
        self._broken = [torch.full_like(output, math.nan) for output in self._untouched]

    @torch.no_grad()
    def translate(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Translate these (output, file), of which the same output stands together."""
        for c, k_P, n_P in self._by_network(pairs):
            one = self._clean[c]
            with torch.autocast(self._seen[c].device.type, enabled=False):
                broken_PCHW = one.generator.of(self._seen[c][n_P], [one.classes[k] for k in k_P])
            self._broken[c][k_P, n_P] = broken_PCHW

    def shares(self, pairs: Sequence[tuple[int, int]], factor: float) -> list[float]:
        """How far these outputs are on their way to being broken, each once translated; a number that is none is no way at all."""
        found: list[float] = []
        for c, k_P, n_P in self._by_network(pairs):
            broken_PCHW, output_PCHW = (y[c][k_P, n_P].double() for y in (self._broken, self._untouched))
            values = torch.stack([l2(broken_PCHW - output_PCHW), structure_lost(broken_PCHW, output_PCHW)], 1).tolist()
            found += [-math.inf if math.isnan(pair[0]) else share_of_goal(*pair, factor=factor) for pair in values]
        return found

    def _by_network(self, pairs: Sequence[tuple[int, int]]) -> Iterator[tuple[int, list[int], list[int]]]:
        """Which of ``clean``, and for each of its pairs the class and the file."""
        for c in range(len(self._clean)):
            of = [(self.outputs[m][1], n) for m, n in pairs if self.outputs[m][0] == c]
            if of:
                yield c, [k for k, _ in of], [n for _, n in of]

    def measured(self, places: Sequence[int]) -> list[Boxes]:
        """All numbers of these files, every output of which has been translated."""
        if not places:
            return []
        measured: list[dict[int, list[Measured]]] = [{} for _ in places]
        for one, untouched, broken in zip(self._clean, self._untouched, self._broken, strict=True):
            disrupted, output = (y_KNCHW[:, list(places)].flatten(0, 1) for y_KNCHW in (broken, untouched))
            seen_NCHW = one.seen_BCHW[[self._rows[n] for n in places]]
            d = (disrupted - output).double()
            how = breakage(disrupted, output, seen_NCHW.repeat(len(one.classes), 1, 1, 1))
            values = [l1(d).cpu(), l2(d).cpu(), how.levelled, how.local, how.lost, how.ssim, how.edit]
            if one.people is not None:
                people = [one.people[self._rows[n]] for n in places] * len(one.classes)
                values += [_distances(people, y_NCHW) for y_NCHW in (disrupted, output)]
            values_VKN = torch.stack(values).unflatten(1, (len(one.classes), len(places)))
            for boxes, values_VK in zip(measured, values_VKN.unbind(2), strict=True):
                boxes.setdefault(one.which, []).extend(Measured(*values_V) for values_V in values_VK.T.tolist())
        return [list(boxes.values()) for boxes in measured]


def _distances(people: Sequence[Person | None], outputs_NCHW: Tensor) -> Tensor:
    """How far each output is from the person of its photo (N,), NaN where there is none."""
    pairs = zip(people, as_pictures(outputs_NCHW), strict=True)
    return torch.tensor([distance(*pair) for pair in pairs], dtype=torch.float64)
