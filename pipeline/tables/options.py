"""The options of all tables as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from pipeline.jobs.options import ConfigError, one_of, within

SIGNALS = "table-signals"
HARDENED = ("plain", "control", "hardened_generator", "hardened", "hardened_consistency", "hardened_blur")
"""The nets of table-hardening, in its order."""
LOADED = ("cyclegan", "monet", "pix2pixhd", "ganimation", *HARDENED)
"""The nets whose weights can be given."""
Bundles = Annotated[tuple[Path, ...], tyro.conf.arg(metavar="BUNDLE [...]")]
Names = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME[=PATH] [...]")]


@dataclass(frozen=True)
class TablesConfig:
    """Make a table of docs/tables: a CSV and a page, measured on files that are protected in a work folder.

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
    """Folder for the CSV and page."""
    work: Path = Path("build/tables")
    """Folder for protected files and measured rows, which tables share."""
    weights: Names = ()
    """Weights, each NAME=FILE: cyclegan, monet, pix2pixhd; control, hardened_generator, hardened_consistency, hardened_blur for
    table-hardening; and ganimation, plain, hardened instead of the shipped ones."""
    pictures: Names = ()
    """What the first three translate, each NAME=FOLDER: horses, paintings, or label maps (test_label, test_inst ...)."""
    adapter_photos: int = 48
    """table-red-team: protected faces of split train on which the generator is fine-tuned, 1 to 1000."""
    active: Bundles = ()
    """table-signals: bundles with signals, one for each seed (disrupt train FACES OUT --system signals)."""
    passive: Bundles = ()
    """table-signals: bundles of no signals, one for each seed (the same with --signals 0)."""
    seen: Names = ("stargan-faces", "ganimation-faces")
    """table-signals: generators that the detectors were trained on, each a name or name=weights."""
    chose: Names = ("multistyle", "vintagify")
    """table-signals: generators that chose weights, recipe or step of the detectors."""
    unseen: Names = ()
    """table-signals: generators that neither trained nor chose anything."""
    channels: Names = ("jpeg-85", "webp-80", "half-size", "crop-10", "mirror", "turn", "jpeg-75")
    """table-signals: what happens to pictures before the detector sees them, besides nothing."""

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

    def paths(self, words: Names) -> dict[str, Path]:
        """The paths of words NAME=PATH, by name; raises ConfigError for a name that no net has."""
        pairs = {name: Path(path) for name, _, path in (word.partition("=") for word in words)}
        for name in pairs:
            one_of("the NAME of NAME=PATH", name, LOADED)
        return pairs

    def check(self) -> None:
        """Raise ConfigError for a value that cannot be, saying what was expected."""
        signals = self.name == SIGNALS
        if self.photos is not None:
            within("--photos", self.photos, 20 if signals else 2, 10**6, "photos; an interval needs some")
        if signals and not self.active:
            raise ConfigError("--active needs at least one bundle")
        within("--adapter-photos", self.adapter_photos, 1, 1000, "photos")
        within("--bootstrap", self.draws, 1, 100_000, "drawings")
        within("--seed", self.seed, 0, 2**62, "a whole number")
