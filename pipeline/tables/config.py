"""The options of a table as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from pipeline.jobs.options import within


class TableError(ValueError):
    """A table that cannot be made as asked; the message says what is missing or wrong."""


@dataclass(frozen=True)
class TablesConfig:
    """Make a table of the method: CSV, page and plot, measured on files that are protected in a work folder.

    Example: python -m pipeline.tables table1 --faces faces

    The same command goes on where it was stopped. A net that is not at hand has a row that says so.
    """

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TABLE")]
    """table1, table4, table5, table-references, table-features, table-robust, table-transfer, table-red-team, table-hardening."""
    faces: Path
    """Folder of faces. With labels.csv (columns file, split) its rows of split test are measured; without, all photos in it."""

    photos: int | None = None
    """How many photos; without it a number that takes about five minutes on two CPU cores."""
    out: Path = Path("docs/tables")
    """Folder for the CSV, page and plot."""
    work: Path = Path("build/tables")
    """Folder for protected files and measurements; tables share what they have in common."""
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
    """GANimation, when none is shipped or another is wanted."""
    weights_plain: Path | None = None
    """table-hardening: the StarGAN without adversarial training, when it is not the shipped one."""
    weights_generator: Path | None = None
    """table-hardening: the StarGAN of which G alone was hardened."""
    weights_both: Path | None = None
    """table-hardening: the StarGAN of which G and D were hardened, when it is not the shipped one."""
    weights_blur: Path | None = None
    """table-hardening: the same with a blur before G; the blur is read from the file."""
    adapter_photos: int = 48
    """table-red-team: protected faces of split train on which the generator is fine-tuned, 1 to 1000."""

    jobs: int = 1
    """Processes that work on different rows at the same time."""
    gpu: bool = False
    """Compute on a GPU instead of the CPU."""
    bootstrap: int = 2000
    """Times that the photos are drawn anew for the 95 % intervals."""
    seed: int = 0
    """Seed of the random starts, of that drawing and of the fine-tuning."""
    tracking: bool = True
    """Keep a record in MLflow (MLFLOW_TRACKING_URI, else mlflow.db in this folder)."""

    def check(self) -> None:
        """Raise ConfigError for a number that cannot be, saying what was expected."""
        if self.photos is not None:
            within("--photos", self.photos, 2, 10**6, "photos; an interval needs two")
        within("--adapter-photos", self.adapter_photos, 1, 1000, "photos")
        within("--jobs", self.jobs, 1, 1024, "processes")
        within("--bootstrap", self.bootstrap, 1, 100_000, "drawings")
        within("--seed", self.seed, 0, 2**62, "a whole number")
