"""The numbers of a run, from its sums."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.ledger.schema import STATUSES
from pipeline.protection.sums import CLASS_SUMS, OVER, WORST_FIRST, Sums
from pipeline.report.outcome import Reason, tell_reasons

EVERYTHING = "all classes"


@dataclass(frozen=True)
class ClassEffect:
    """What the disruption did to one class: how many samples, means of their measures, and three shares.

    ``edit`` is the mean L2 of the edit itself; ``disrupted`` the share of samples with L2 >= 0.05, ``disrupted_levelled`` the same
    after auto levels, ``visible`` that of samples whose lost structure reaches the threshold.
    """

    name: str
    samples: int
    l1: float
    l2: float
    levelled: float
    local: float
    lost: float
    ssim: float
    edit: float
    disrupted: float
    disrupted_levelled: float
    visible: float

    @property
    def over_edit(self) -> float:
        """The mean L2 over the mean L2 of the edit; NaN where there is no edit."""
        return self.l2 / self.edit if self.edit > 0 else math.nan


@dataclass(frozen=True)
class Identity:
    """How far the outputs of one class are from the person in the photo: how many samples show one, mean distances of disrupted and
    undisrupted outputs, and which share of each is of another person."""

    samples: int
    mean: float
    other: float
    mean_clean: float
    other_clean: float


@dataclass(frozen=True)
class Summary:
    """The numbers of a run. Means are over what was measured on written files and NaN where nothing was.

    ``everything`` counts (photo, class) samples. PSNR is in dB and leaves out the ``unchanged`` files, whose PSNR is infinite;
    ``linf_levels`` is the largest change of any pixel, ``epsilon`` the largest that any photo had, ``epsilon_mean`` the mean over
    the files, ``mask_mean`` that of what masks allowed, NaN without one. ``seconds`` is compute time summed over photos;
    ``images_per_second`` is None when the wall-clock time is not known. ``bytes_in`` are those of the inputs that were read,
    ``growth`` is how many times as large the written files are as their photos; ``as_webp`` says how many PNG files were tried as
    lossless WebP, and the bytes of both. ``steps`` are those of the ascent. ``signals`` are the ids of the bundles whose signals
    the files carry, ``universals`` those of universal perturbations. ``regions`` counts the photos measured in each region,
    ``face_pairs`` the pairs of a face that was found and a class. ``identities`` are by the names of classes, and of all together
    by EVERYTHING; empty where the run does not measure them.
    """

    total: int
    counts: dict[str, int]
    reasons: tuple[Reason, ...]
    classes: tuple[ClassEffect, ...]
    everything: ClassEffect
    psnr_mean: float
    psnr_min: float
    ssim_mean: float
    linf_levels: int | None
    epsilon: int | None
    epsilon_mean: float
    mask_mean: float
    unchanged: int
    seconds: float
    seconds_mean: float
    images_per_second: float | None
    bytes_in: int
    bytes_out: int
    growth: float
    as_webp: tuple[int, int, int] | None
    steps_mean: float
    steps_most: int | None
    regions: dict[str, int]
    faces: int
    face_pairs: int
    face_pairs_broken: int
    generators: tuple[str, ...]
    recipes: tuple[str, ...]
    signals: tuple[str, ...]
    universals: tuple[str, ...]
    signatures: tuple[str, ...]
    identities: dict[str, Identity]

    @property
    def measured(self) -> bool:
        """Whether any file was written and measured."""
        return self.linf_levels is not None

    @property
    def written(self) -> int:
        """How many files were written."""
        return self.counts["protected"] + self.counts["not_disrupted"]

    @property
    def disrupts(self) -> bool:
        """Whether any file was measured on a generator; not when signals or perturbations alone were added."""
        return self.everything.samples > 0


def summarise(sums: Sums, *, wall_seconds: float | None = None) -> Summary:
    """The summary of sums; ``wall_seconds`` is how long the run took by the clock."""
    classes = [_effect(name, [values]) for name, values in sums["classes"].items()]
    return Summary(
        total=sums["rows"],
        counts={status: sums["counts"].get(status, 0) for status in STATUSES},
        reasons=tell_reasons(sums["reasons"], WORST_FIRST),
        classes=tuple(classes),
        everything=_effect(EVERYTHING, list(sums["classes"].values())),
        psnr_mean=_mean(sums["psnr"]),
        psnr_min=math.nan if sums["psnr_min"] is None else sums["psnr_min"],
        ssim_mean=_mean(sums["ssim"]),
        linf_levels=sums["linf_levels"],
        epsilon=sums["epsilon"],
        epsilon_mean=_mean(sums["epsilons"]),
        mask_mean=_mean(sums["masks"]),
        unchanged=sums["unchanged"],
        seconds=sums["seconds"][1],
        seconds_mean=_mean(sums["seconds"]),
        images_per_second=sums["rows"] / wall_seconds if wall_seconds else None,
        bytes_in=sums["bytes_in"],
        bytes_out=sums["bytes_out"],
        growth=sums["bytes_out"] / sums["bytes_of_written"] if sums["bytes_of_written"] else math.nan,
        as_webp=tuple(sums["as_webp"]) if "as_webp" in sums else None,
        steps_mean=_mean(sums["steps"]),
        steps_most=sums["steps_most"],
        regions=dict(sorted(sums["regions"].items())),
        faces=sums["faces"][0],
        face_pairs=sums["faces"][1],
        face_pairs_broken=sums["faces"][2],
        generators=tuple(sums["names"]["generator"]),
        recipes=tuple(sums["names"]["recipe"]),
        signals=tuple(sums["names"]["signals"]),
        universals=tuple(sums["names"]["universal"]),
        signatures=tuple(sums["names"]["signature"]),
        identities=_identities(sums["identity"]) if "identity" in sums else {},
    )


def _effect(name: str, values: Sequence[Sequence[float]]) -> ClassEffect:
    """The means over some classes, from their counts and sums."""
    samples, *totals = (sum(column) for column in zip(*values, strict=True)) if values else [0] * (1 + len(CLASS_SUMS) + len(OVER))
    return ClassEffect(name, int(samples), *(_mean((samples, total)) for total in totals))


def _identities(by_class: dict[str, list[float]]) -> dict[str, Identity]:
    every = [sum(column) for column in zip(*by_class.values(), strict=True)] or [0] * 5
    named = {**by_class, EVERYTHING: every}
    return {name: Identity(int(n), *(_mean((n, total)) for total in totals)) for name, (n, *totals) in named.items()}


def _mean(moments: Sequence[float]) -> float:
    count, total = moments
    return total / count if count else math.nan
