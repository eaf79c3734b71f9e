"""The options of all tables as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from pipeline.jobs.options import ConfigError, within

SIGNALS = "table-signals"
Bundles = Annotated[tuple[Path, ...], tyro.conf.arg(metavar="BUNDLE [...]")]
Names = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME [...]")]


class TableError(ValueError):
    """A table that cannot be made as asked; the message says what is missing or wrong."""


@dataclass(frozen=True)
class TablesConfig:
    """Make a table of docs/tables: a CSV, a page and a plot, measured on files that are protected in a work folder.

    Example: python -m pipeline.tables table1 --faces faces

    Run the same command again to go on after a stop. A net that is not at hand has a row that says so.
    """

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TABLE")]
    """table1, table4, table5, table-references, table-features, table-robust, table-transfer, table-red-team, table-hardening,
    table-signals."""
    faces: Path
    """Folder of faces. With labels.csv (columns file, split) its rows of split test are measured; without, all photos in it."""

    photos: int | None = None
    """How many photos; without it a number that takes some minutes on two CPU cores."""
    out: Path = Path("docs/tables")
    """Folder for the CSV, page and plot."""
    work: Path = Path("build/tables")
    """Folder for protected files and measured rows, which tables share."""
    horses: Path | None = None
    """Photos that CycleGAN translates, for --weights-cyclegan."""
    paintings: Path | None = None
    """Photos that CycleGAN (Monet) translates, for --weights-monet."""
    scenes: Path | None = None
    """Folder of label maps (test_label, test_inst and the train folders), for --weights-pix2pixhd."""
    weights_cyclegan: Path | None = None
    """CycleGAN that translates --horses."""
    weights_monet: Path | None = None
    """CycleGAN that translates --paintings."""
    weights_pix2pixhd: Path | None = None
    """pix2pixHD generator that translates --scenes."""
    weights_ganimation: Path | None = None
    """GANimation instead of the shipped one."""
    weights_plain: Path | None = None
    """table-hardening: the StarGAN without adversarial training, instead of the shipped one."""
    weights_generator: Path | None = None
    """table-hardening: the StarGAN of which G alone was hardened."""
    weights_both: Path | None = None
    """table-hardening: the StarGAN of which G and D were hardened, instead of the shipped one."""
    weights_blur: Path | None = None
    """table-hardening: the same with a blur before G; the blur is read from the file."""
    adapter_photos: int = 48
    """table-red-team: protected faces of split train on which the generator is fine-tuned, 1 to 1000."""
    active: Bundles = ()
    """table-signals: bundles with signals, one for each seed (disrupt train FACES OUT --system signals)."""
    passive: Bundles = ()
    """table-signals: bundles of no signals, one for each seed (the same with --signals 0)."""
    seen: Names = ("stargan-faces", "ganimation-faces")
    """table-signals: generators that the detectors were trained on, each a name or name=weights."""
    unseen: Names = ("stargan-faces-hardened",)
    """table-signals: generators that they were not trained on."""
    channels: Names = ("jpeg-95", "jpeg-85", "jpeg-75", "half-size", "gaussian-1", "noise-2")
    """table-signals: what happens to pictures before the detector sees them, besides nothing."""

    jobs: int = 1
    """Processes that work on different rows at the same time; CPU threads for table-signals."""
    gpu: bool = False
    """Compute on a GPU instead of the CPU."""
    bootstrap: int | None = None
    """Times that the photos are drawn anew for the 95 % intervals; without it 2000, and 300 for table-signals."""
    seed: int = 0
    """Seed of the random starts, of that drawing and of the fine-tuning."""
    tracking: bool = True
    """Keep a record in MLflow (MLFLOW_TRACKING_URI, else mlflow.db in this folder)."""

    @property
    def draws(self) -> int:
        """How many times the photos are drawn anew."""
        return self.bootstrap or (300 if self.name == SIGNALS else 2000)

    def check(self) -> None:
        """Raise ConfigError for a value that cannot be, saying what was expected."""
        signals = self.name == SIGNALS
        if self.photos is not None:
            within("--photos", self.photos, 20 if signals else 2, 10**6, "photos; an interval needs some")
        if signals and not self.active:
            raise ConfigError("--active needs at least one bundle")
        within("--adapter-photos", self.adapter_photos, 1, 1000, "photos")
        within("--jobs", self.jobs, 1, 1024, "processes")
        within("--bootstrap", self.draws, 1, 100_000, "drawings")
        within("--seed", self.seed, 0, 2**62, "a whole number")
