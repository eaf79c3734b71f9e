"""The options of a search as one frozen value; command line, YAML file, signature and record derive from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from pipeline.jobs.options import (
    FILE_OR_SHIPPED,
    FLAT,
    Address,
    ConfigError,
    PathOption,
    Record,
    SettingsFile,
    check_limits,
    check_weights,
    flat,
    own_default,
    signature_of,
)
from pipeline.storage import is_uri
from pipeline.training.options import SAMPLES, Manipulations, TrainConfig
from tune.space import Range, read_space

RESULT_FORMAT = 1
"""Raised when the same options give other trials than before; part of the signature."""


@dataclass(frozen=True)
class SearchConfig:
    """Search the weights of the signals' loss, their number and their budget, and train the best set of signals found.

    Example: disrupt tune faces searched --trials 24

    DATA is photos as for disrupt train --system signals: a folder, with or without labels.csv, or containers. Each trial learns a
    set of signals for a few steps. Its score is the average precision with which the detector tells untouched from manipulated
    photos: photos that are not trained on, manipulated by generators that are not trained on, after JPEG of quality 85. A trial
    whose signals cost a photo more than --least-psnr allows scores 0.

    Writes trials.csv, trials.parquet, report.html and best.yaml into OUT (disrupt train takes best.yaml as --config), and the best
    set, trained on, into OUT/best. Run the same command again to go on after a stop. Exit code: 0 when done, 1 when no trial has a
    score or the last training broke off, 2 for a wrong call, 130 after Ctrl-C.
    """

    data: Annotated[str, PathOption((SAMPLES,)), tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """Folder with the photos, containers of them, or the word samples."""
    output: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """Folder for what is written; new, empty, or of the same search to be continued. On a cluster: seen by all its machines."""

    range: Annotated[tuple[str, ...], own_default("NAME=LOW:HIGH [NAME=LOW:HIGH ...]", "see docs/signals.md")] = ()
    """Where to search, e.g. magnitude=1:1000 signals=2:8; NAME=VALUE fixes one. Names: detection (l1, fixed at 1), magnitude (l2),
    spectrum (l3), separation (l4), pairwise (l5), recovery, k, signals, budget (in levels)."""
    trials: int = 24
    """Sets of values to try; the first is the one that disrupt train starts with."""
    steps: int = 150
    """Steps of a trial that is not stopped early."""
    grace: int = 40
    """Steps that each trial gets. From there on, at each doubling, the worse half is stopped."""
    every: Annotated[int | None, own_default("INT", "half of --grace")] = None
    """Steps between two scores of a trial, and between its checkpoints."""
    minutes: Annotated[float | None, own_default("MINUTES", "no limit")] = None
    """End the search after so many minutes with what it has found by then."""
    photos: int = 64
    """Photos of split val that the score is measured on, at most."""
    held_out_generator: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME [NAME ...]")] = ("stargan-faces-hardened",)
    """Networks that manipulate them; none of those that are trained on. The score is the mean over them."""
    held_out_weights: Annotated[tuple[Path, ...], FILE_OR_SHIPPED, own_default("FILE [FILE ...]", "none")] = ()
    """Weights for these networks, one each in their order; the word shipped for those that come with the package."""
    least_psnr: Annotated[float, tyro.conf.arg(metavar="DB")] = 38.0
    """PSNR that each photo with a signal must have, from its 8-bit pixels; 0 allows anything."""
    final_steps: int = 600
    """Steps for which the best values are trained anew, into OUT/best; 0 leaves that out."""

    size: Annotated[int | None, own_default("PIXELS", "64")] = None
    """Side of the signals and of the photos in training, a multiple of 4."""
    d_conv_dim: Annotated[int | None, own_default("CHANNELS", "32")] = None
    """Width of the detector's first layer, a multiple of 8."""
    batch: Annotated[int | None, own_default("INT", "16")] = None
    """Photos a step."""
    lr: Annotated[float | None, own_default("RATE", "0.001")] = None
    """Learning rate of Adam at the start."""
    licence: Annotated[tuple[str, ...], own_default("LICENCE [LICENCE ...]", "all")] = ()
    """Only photos with one of these words in the column licence of labels.csv."""
    image: Annotated[str | None, own_default("COLUMN|SUFFIX", "the only one")] = None
    """Column of a Parquet file that holds the photos; or the suffix of the photo where samples of a tar have several."""
    memory_mb: Annotated[float, tyro.conf.arg(metavar="MB")] = 500.0
    """Decoded photos of a split that each trial holds in memory; more are decoded once into OUT and read from there."""
    manipulations: Annotated[Manipulations, FLAT] = Manipulations()
    seed: int = 0
    """Seed of the search and of every trial: trials differ by their values alone."""

    threads: int = 1
    """CPU threads of each trial."""
    gpus_per_trial: float = 0.0
    """GPUs of each trial, fractions allowed; 0 trains on the CPU."""
    concurrency: Annotated[int | None, own_default("INT", "as many as the cluster has cores for")] = None
    """Trials at the same time, at most; a search that goes on keeps its first value."""
    address: Address = "auto"
    record: Annotated[Record, FLAT] = Record(experiment="tune")
    register: Annotated[str | None, own_default("NAME", "disrupt-signals")] = None
    """Name under which the best set is registered in MLflow."""
    config: SettingsFile = None

    @property
    def steps_between_scores(self) -> int:
        """The value of --every, or its default."""
        return max(self.grace // 2, 1) if self.every is None else self.every

    def space(self) -> dict[str, Range]:
        """The ranges of --range; raises ConfigError for a wrong one."""
        return read_space(self.range)

    def check(self) -> None:
        """Raise ConfigError for a wrong value, with what was expected; `plan` checks the options of a training."""
        if self.output.exists() and not self.output.is_dir():
            raise ConfigError(f"OUT {self.output} is a file; it has to be a folder")
        self.space()
        check_limits(self, LIMITS)
        for name in ("grace", "every"):
            if (getattr(self, name) or 0) > self.steps:
                raise ConfigError(f"--{name} {getattr(self, name)} is more than the {self.steps} --steps of a trial")
        if not self.held_out_generator:
            raise ConfigError("--held-out-generator needs at least one name, e.g. stargan-faces-hardened")
        check_weights("--held-out-weights", self.held_out_weights, self.held_out_generator)

    def what_changes_results(self) -> dict[str, Any]:
        """The options that decide the trials, as plain values."""
        facts = {name: value for name, value in flat(self).items() if name not in HOW_IT_RUNS}
        facts |= {name: [str(path) for path in facts[name]] for name in ("weights", "held_out_weights")}
        if self.image is None:
            del facts["image"]  # searches before it had none
        ranges = {name: [float(each.low), float(each.high)] for name, each in self.space().items()}
        data = self.data if self.data == SAMPLES or is_uri(self.data) else str(Path(self.data).absolute())
        return facts | {"data": data, "range": ranges, "every": self.steps_between_scores}


LIMITS: dict[str, tuple[float, float, str]] = {
    "trials": (1, 100_000, "sets of values"),
    "steps": (1, 10**8, "steps"),
    "grace": (1, 10**8, "steps"),
    "every": (1, 10**8, "steps"),
    "minutes": (0.01, 10**6, "minutes"),
    "photos": (2, 100_000, "photos"),
    "least_psnr": (0, 100, "dB"),
    "final_steps": (0, 10**8, "steps"),
    "threads": (1, 1024, "CPU threads of a trial"),
    "gpus_per_trial": (0, 64, "GPUs"),
    "concurrency": (1, 100_000, "trials at the same time"),
}
"""From, to and unit of each option that is a number and no option of a training."""

HOW_IT_RUNS = {
    "output", "minutes", "memory_mb", "final_steps", "threads", "gpus_per_trial", "concurrency", "address", "tracking",
    "experiment", "register", "config",
}  # fmt: skip
"""Options that leave the trials as they are."""
OF_TRAINING = ("size", "d_conv_dim", "batch", "lr", "licence", "image", "memory_mb", "manipulations", "seed")
"""Options that a training has under the same name."""


def signature(config: SearchConfig) -> str:
    """16 hex digits that two searches share exactly when their options give the same trials."""
    return signature_of(config.what_changes_results() | {"format_version": RESULT_FORMAT})


def training_options(config: SearchConfig, values: Mapping[str, float]) -> dict[str, Any]:
    """The options of ``disrupt train`` that learn signals with these values, by name, without those at their defaults."""
    shared = {name: getattr(config, name) for name in OF_TRAINING}
    defaults = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
    return signal_options(values) | {name: value for name, value in shared.items() if value != defaults[name]}


def signal_options(values: Mapping[str, float]) -> dict[str, Any]:
    """The options of ``disrupt train`` that follow from the values of a trial, by name.

    Values are rounded to 6 digits, as they are written, so that a file with these options gives the same training.
    """
    loss = tuple(f"{name}={value:.6g}" for name, value in values.items() if name not in ("signals", "budget"))
    return {"system": "signals", "signals": round(values["signals"]), "budget": float(f"{values['budget']:.6g}"), "loss": loss}


def trial_options(config: SearchConfig, values: Mapping[str, float], folder: Path) -> TrainConfig:
    """The training of a trial in a folder of its own."""
    return TrainConfig(
        data=config.data,
        output=folder,
        steps=config.steps,
        every=config.steps_between_scores,
        grid_every=0,
        threads=config.threads,
        gpus_per_worker=config.gpus_per_trial,
        record=Record(tracking=False),
        **training_options(config, values),
    )
