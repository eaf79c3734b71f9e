"""Measure: what generators see of a pair in, rows out. Holds the generators."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.evaluation.look import Looked
from pipeline.evaluation.options import EvaluateConfig
from pipeline.evaluation.row import EvaluationRow
from pipeline.generators.generator import Generator
from pipeline.generators.zoo import load_generators
from pipeline.images import THRESHOLD, over_edit, share_of_goal
from pipeline.images.effect import as_pictures, breakage, l1, l2, manipulation_mask, masked_l2
from pipeline.jobs.doctor import check_gpu
from pipeline.jobs.options import SHIPPED, ConfigError, check_weights
from pipeline.photos.identity import Person, distance, find_person


@dataclass(frozen=True)
class Tested:
    """A generator under the label that its rows bear, and the classes that it is tested on."""

    label: str
    generator: Generator
    classes: tuple[str, ...]


def load_tested(config: EvaluateConfig) -> list[Tested]:
    """The generators of an evaluation on the CPU; raises ValueError with the fix for a wrong name or wrong weights.

    Each is tested on those of the chosen classes that it has, or on all where it has none of them. Two of one name are told apart
    by their weights' file name.
    """
    check_weights("--weights", config.weights, config.generator)
    loaded = load_generators(config.generator, config.weights, shipped=SHIPPED)
    return [Tested(label, one, _classes(one, config.classes)) for label, one in zip(_labels(loaded), loaded, strict=True)]


def check_classes(chosen: Sequence[str], tested: Sequence[Tested]) -> None:
    """Raise UnknownClassError for a class that no generator has."""
    for name in chosen:
        if not any(name in one.generator.classes for one in tested):
            tested[0].generator.select_classes([name])


def _labels(generators: Sequence[Generator]) -> list[str]:
    names = [generator.name for generator in generators]
    labels: list[str] = []
    for generator in generators:
        label = (
            generator.name
            if names.count(generator.name) == 1
            else f"{generator.name} ({generator.origin or generator.fingerprint})"
        )
        if label in labels:
            raise ConfigError(f"--generator names {label} twice; give each network once")
        labels.append(label)
    return labels


def _classes(generator: Generator, chosen: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in chosen if name in generator.classes) or tuple(generator.classes)


class Measure:
    """A callable stage: what is seen of pairs -> rows. One is made per process; ``threads`` are its CPU threads."""

    def __init__(self, config: EvaluateConfig, *, threads: int) -> None:
        torch.set_num_threads(threads)
        check_gpu(config.compute)
        self._device = torch.device(config.compute.device)
        self._channels = config.channels
        self._identity = config.identity
        self._tested = load_tested(config)
        for tested in self._tested:
            tested.generator.to(self._device)

    def __call__(self, looked: Sequence[Looked]) -> list[EvaluationRow]:
        """All rows of these pairs."""
        return [row for one in looked for row in self._rows(one)]

    def _rows(self, looked: Looked) -> Iterator[EvaluationRow]:
        if looked.row.status != "measured":
            yield looked.row
            return
        for tested in self._tested:
            for channel in self._channels:
                row = dataclasses.replace(looked.row, generator=tested.label, channel=channel)
                if channel in looked.problems:
                    yield dataclasses.replace(row, status="failed", stage="channel", reason=looked.problems[channel])
                    continue
                seen = torch.from_numpy(looked.seen[channel, tested.generator.size]).to(self._device)
                people = [find_person(as_pictures(one[:1])[0]) if self._identity else None for one in seen]
                for name in tested.classes:
                    yield self._weakest(dataclasses.replace(row, class_name=name), tested, seen, people)

    def _weakest(self, row: EvaluationRow, tested: Tested, seen: Tensor, people: Sequence[Person | None]) -> EvaluationRow:
        """The row of the box in which a class breaks least, or that cannot be measured."""
        rows = [self._measure_class(row, tested, *one) for one in zip(seen, people, strict=True)]
        failed = next((one for one in rows if one.status == "failed"), None)
        if failed or row.faces is None:
            return failed or rows[0]
        number = min(range(len(rows)), key=lambda i: share_of_goal(rows[i].l2 or 0.0, rows[i].lost or 0.0))
        return dataclasses.replace(rows[number], face=number + 1)

    @torch.no_grad()
    def _measure_class(self, row: EvaluationRow, tested: Tested, seen: Tensor, person: Person | None) -> EvaluationRow:
        """The row with the numbers of one class; a batch is always these three, so that nothing else changes a digit."""
        name = row.class_name or ""
        try:
            output, disrupted, noisy = tested.generator(seen, name).double().split(1)
        except (torch.OutOfMemoryError, MemoryError):
            reason = f"not enough memory on {self._device} for {tested.label}"
            return dataclasses.replace(row, status="failed", stage="generator", reason=reason)
        if not all(y.isfinite().all() for y in (output, disrupted, noisy)):
            reason = f"{tested.label} gives values that are not numbers for class {name}"
            return dataclasses.replace(row, status="failed", stage="generator", reason=reason)
        x = seen[:1].double()
        d = disrupted - output
        value, masked, share = float(l2(d)), float(masked_l2(disrupted, output, x)), float(manipulation_mask(output, x).mean())
        broken = breakage(disrupted, output, x)
        identity, identity_clean = (_distance(person, y) for y in (disrupted, output))
        return dataclasses.replace(
            row,
            l1=float(l1(d)),
            l2=value,
            disrupted=value >= THRESHOLD,
            levelled=float(broken.levelled),
            local=float(broken.local),
            lost=float(broken.lost),
            output_ssim=float(broken.ssim),
            edit=float(broken.edit),
            over_edit=over_edit(value, float(broken.edit)),
            identity=identity,
            identity_clean=identity_clean,
            l2_mask=masked,
            mask_share=share,
            success_mask=share > 0 and masked >= THRESHOLD,
            floor_l2=float(l2(noisy - output)),
        )


def _distance(person: Person | None, output_1CHW: Tensor) -> float | None:
    return distance(person, as_pictures(output_1CHW)[0]) if person else None
