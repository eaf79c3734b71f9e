"""The options of a detection as one frozen value; command line, YAML file and record derive from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from pipeline.jobs.options import (
    FILE_OR_SHIPPED,
    FLAT,
    Compute,
    PathOption,
    Photos,
    Record,
    SettingsFile,
    beside,
    flat,
    own_default,
    within,
)
from pipeline.signals.bundle import Bundle

DEFAULT_RATE = 0.01
HOW_IT_RUNS = {"engine", "address", "actors", "threads", "tracking", "experiment", "config"}
"""Options that leave the results as they are."""


@dataclass(frozen=True)
class DetectConfig:
    """Tell which pictures carry a signal of a bundle, and which were manipulated since they were signed.

    Example: disrupt detect pictures --signals bundle.safetensors

    Each picture is untouched, manipulated, or carries no signal: it was never signed, or so much was changed that nothing is left.
    Crops of up to 20 %, mirrored and turned pictures are searched for. Of a manipulated picture the map says where.

    With the secret (--key-file, or DISRUPT_SIGNAL_KEY is set), a picture is also called out when its signal does not fit its tints:
    its colours were changed, or the signal comes from another photo. Names of files do not matter. Without the secret only a fit
    that differs from place to place is seen. The secret itself is never written.

    Writes detection.parquet (one row for each picture) and report.html. Exit code: 0 when every picture is judged or deliberately
    skipped, 1 when some failed, 2 for a wrong call.
    """

    input: Annotated[str, PathOption(), tyro.conf.Positional, tyro.conf.arg(metavar="IN")]
    """Folder (searched at any depth), glob, single picture, table (.csv, .jsonl, .txt, .parquet), or a URI such as s3://bucket/in.
    Or pictures in containers: WebDataset tars, also as shard-{000..012}.tar, and Parquet files with an image column."""
    signals: Annotated[Path, FILE_OR_SHIPPED, tyro.conf.arg(metavar="BUNDLE")]
    """The bundle.safetensors with which the photos were signed, or the word shipped. On a cluster: at the same place on all of its
    machines."""

    out: Annotated[str, PathOption(), own_default("FOLDER", "IN-detection, beside IN")] = ""
    """Folder or storage URI for the results; a detection that is there already is replaced."""
    false_positive_rate: Annotated[float | None, own_default("SHARE", "0.01, or the least that the bundle supports")] = None
    """Sets the thresholds: at most this share of new people's signed files reads as manipulated or without a signal after honest
    handling (JPEG 85, WebP 80, half size, a crop of 10 %, mirrored, turned), and of their unsigned files as carrying one. Refused
    where the bundle's held-out people are too few for the rate."""
    key_file: Annotated[Path | None, own_default("FILE", "DISRUPT_SIGNAL_KEY, else none")] = None
    """File with the secret with which the photos were signed; with it, each signal is compared with the tints of its picture."""
    image: Annotated[str | None, own_default("COLUMN|SUFFIX", "the only one")] = None
    """Column of a Parquet file that holds the pictures; or the suffix of the picture where samples of a tar have several, such as
    input.png. In a tar that disrupt protect wrote its records say which."""
    compute: Annotated[Compute, FLAT] = Compute()
    photos: Annotated[Photos, FLAT] = Photos()
    record: Annotated[Record, FLAT] = Record(experiment="detect")
    config: SettingsFile = None

    def check(self) -> None:
        """Raise ConfigError for a value that cannot be, saying what was expected."""
        if self.false_positive_rate is not None:
            within("--false-positive-rate", self.false_positive_rate, 0.0001, 0.5, "share of untouched files")
        self.compute.check()
        self.photos.check()

    def rate(self, bundle: Bundle) -> float:
        """The false-positive rate: that asked for, else 1 %, or the least that the bundle's held-out people can vouch for."""
        return max(DEFAULT_RATE, bundle.least_rate) if self.false_positive_rate is None else self.false_positive_rate

    def out_place(self) -> str:
        """Where the results go: --out, or a folder beside IN that is named after it."""
        return self.out or beside(self.input, "-detection")

    def what_changes_results(self) -> dict[str, Any]:
        """The options that decide the results, as plain values."""
        facts = {name: value for name, value in flat(self).items() if name not in HOW_IT_RUNS}
        return {name: str(value) if isinstance(value, Path) else value for name, value in facts.items()}
