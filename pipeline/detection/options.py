"""The options of a detection as one frozen value; command line, YAML file and record derive from it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from pipeline.jobs.options import beside, own_default
from pipeline.protection.options import Engine, within

HOW_IT_RUNS = {"engine", "address", "actors", "threads", "tracking", "experiment", "config"}
"""Options that leave the results as they are."""


@dataclass(frozen=True)
class DetectConfig:
    """Tell which pictures carry a signal of a bundle, and which were manipulated since they were signed.

    Example: disrupt detect pictures --signals bundle.safetensors

    A picture that never carried a signal reads as manipulated: the detector cannot tell it from one that lost its signal. The
    column carries, and your own list of the photos that were signed, tell the two apart.

    With the secret (--key-file, or DISRUPT_SIGNAL_KEY is set), a picture is also called out when the signal it carries is not the
    one that its name stands for: another photo under this name, or one that was renamed. Pictures must have the names under which
    the photos were signed, relative to IN and with their suffix; in a folder that disrupt protect wrote, its manifest knows them.
    The secret itself is never written.

    Writes detection.parquet (one row for each picture) and report.html. They say which signal a picture carries: keep them to
    yourself. Exit code: 0 when every picture is judged or deliberately skipped, 1 when some failed, 2 for a wrong call.
    """

    input: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="IN")]
    """Folder (searched at any depth), glob, single picture, table (.csv, .parquet), or a storage URI such as s3://bucket/pictures."""
    signals: Annotated[Path, tyro.conf.arg(metavar="BUNDLE")]
    """The bundle.safetensors with which the photos were signed, or the word shipped. On a cluster: at the same place on all of its
    machines."""

    out: Annotated[str, own_default("FOLDER", "IN-detection, beside IN")] = ""
    """Folder or storage URI for the results; a detection that is there already is replaced."""
    false_positive_rate: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.01
    """Sets the thresholds: the share of the bundle's own held-out files that is called manipulated though untouched, or said to
    carry a signal though unsigned. Other photos, and files that were compressed or cropped more, give other shares."""
    key_file: Annotated[Path | None, own_default("FILE", "DISRUPT_SIGNAL_KEY, else none")] = None
    """File with the secret with which the photos were signed; with it, each name is compared with the signal found."""
    max_megapixels: int = 100
    """Pictures with more pixels than this are skipped, in millions."""

    engine: Engine = "auto"
    """local: one process; ray: on a cluster, or on one started here; auto: ray with --actors, --address or from 1000 photos on."""
    address: Annotated[str, tyro.conf.arg(metavar="ADDRESS")] = "auto"
    """Ray cluster to use: auto (a running one, else one started here), local (always start one), or its address."""
    actors: int = 1
    """Processes that each hold the detector, with the ray engine."""
    gpus_per_actor: float = 0.0
    """GPUs each actor takes, fractions allowed; 0 computes on the CPU."""
    threads: int = 1
    """CPU threads per process."""

    limit: Annotated[int | None, own_default("INT", "all")] = None
    """Only the first so many pictures, in the order of their names."""
    tracking: bool = True
    """Keep a record in MLflow (MLFLOW_TRACKING_URI, else mlflow.db in this folder)."""
    experiment: Annotated[str, tyro.conf.arg(metavar="NAME")] = "detect"
    """Name of the MLflow experiment."""
    config: Annotated[Path | None, own_default("FILE", "none")] = None
    """YAML file with one 'option: value' a line, named as here without the dashes; options on the command line win."""

    def on_gpu(self) -> bool:
        """Whether the detector runs on a GPU."""
        return self.gpus_per_actor > 0

    def check(self) -> None:
        """Raise ConfigError for a value that cannot be, saying what was expected."""
        within("--false-positive-rate", self.false_positive_rate, 0.0001, 0.5, "share of untouched files")
        within("--max-megapixels", self.max_megapixels, 1, 10_000, "million pixels")
        within("--actors", self.actors, 1, 100_000, "processes")
        within("--gpus-per-actor", self.gpus_per_actor, 0, 64, "GPUs")
        within("--threads", self.threads, 1, 1024, "CPU threads per process")
        if self.limit is not None:
            within("--limit", self.limit, 1, 10**12, "photos")

    def out_place(self) -> str:
        """Where the results go: --out, or a folder beside IN that is named after it."""
        return self.out or beside(self.input, "-detection")

    def what_changes_results(self) -> dict[str, Any]:
        """The options that decide the results, as plain values."""
        facts = {name: value for name, value in dataclasses.asdict(self).items() if name not in HOW_IT_RUNS}
        return {name: str(value) if isinstance(value, Path) else value for name, value in facts.items()}
