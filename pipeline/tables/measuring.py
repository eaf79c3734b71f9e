"""From files to samples: what a net makes of a protected file, compared as a measure's name says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipeline.containers.find import find_photos
from pipeline.evaluation.look import look
from pipeline.evaluation.options import EvaluateConfig
from pipeline.evaluation.pairs import match, read_manifest
from pipeline.generators.generator import Generator
from pipeline.images.effect import l1, l2
from pipeline.tables.cells import CLEAN, Photos, Run
from pipeline.tables.nets import load
from pipeline.tables.numbers import Sample


@dataclass(frozen=True)
class Sight:
    """What the nets see of a pair: the original, the protected file and the original with noise, each (1, 3, S, S) in [-1, 1].

    ``untouched`` is the original that went through no channel.
    """

    untouched: Tensor
    original: Tensor
    protected: Tensor
    noisy: Tensor


Difference = Callable[[Generator, Generator, Sight, str], Tensor]
"""(net, the net before an attacker changed it, what they see, class) -> a difference (1, 3, S, S)."""


def _nothing(net: Generator, x_1CHW: Tensor, name: str) -> Tensor:
    c_1K = torch.zeros(1, len(net.classes[name]), dtype=x_1CHW.dtype, device=x_1CHW.device)
    return net.translate(net.net, x_1CHW, c_1K)


MEASURES: dict[str, Difference] = {
    "output": lambda net, frozen, see, c: net(see.protected, c) - net(see.original, c),
    "noise": lambda net, frozen, see, c: net(see.noisy, c) - net(see.original, c),
    "to input": lambda net, frozen, see, c: net(see.protected, c) - see.original,
    "no disruption": lambda net, frozen, see, c: net(see.original, c) - see.original,
    "to untouched output": lambda net, frozen, see, c: net(see.protected, c) - frozen(see.untouched, c),
    "drift": lambda net, frozen, see, c: net(see.untouched, c) - frozen(see.untouched, c),
    "given back": lambda net, frozen, see, c: _nothing(net, see.untouched, c) - see.untouched,
}
"""``output`` is the measure of the method. ``given back`` is the output without any change asked for (a condition of zeros)."""


def measure(run: Run, protected: Path, photos: Photos, *, gpu: bool, seed: int) -> tuple[list[Sample], int]:
    """The samples of a run from its files, and how many photos have none: failed, or outputs that are not numbers."""
    device = torch.device("cuda" if gpu else "cpu")
    net, frozen = load(run.target).to(device), load(run.frozen or run.target).to(device)
    config = EvaluateConfig(
        str(photos.place),
        str(protected),
        generator=(run.target.generator,),
        channels=tuple(dict.fromkeys((CLEAN, run.channel))),
        region="square",
        epsilon=run.attack.epsilon,
        seed=seed,
    )
    originals = find_photos(photos.place).refs[: photos.limit]
    pairs = match(originals, find_photos(protected).refs, read_manifest(str(protected)), whole=False)
    samples: list[Sample] = []
    missing = 0
    for pair in pairs:
        seen = look([pair], config, [net.size])[0].seen
        found = []
        if (run.channel, net.size) in seen:
            untouched = torch.from_numpy(seen[CLEAN, net.size][:1])
            sight = Sight(untouched.to(device), *torch.from_numpy(seen[run.channel, net.size]).to(device).split(1))
            found = [
                _sample(pair.key, name, MEASURES[run.measure], (net, frozen, sight)) for name in net.select_classes(run.classes)
            ]
        known = [sample for sample in found if sample]
        missing += len(known) < len(found) or not found
        samples += known
    return samples, missing


@torch.no_grad()
def _sample(key: str, name: str, difference: Difference, given: tuple[Generator, Generator, Sight]) -> Sample | None:
    d = difference(*given, name).double()
    return Sample(key, name, float(l1(d)), float(l2(d))) if bool(d.isfinite().all()) else None
