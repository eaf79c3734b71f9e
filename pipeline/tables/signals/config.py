"""The options of the table of signals as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from pipeline.jobs.options import ConfigError, within

CHANNELS = ("clean", "jpeg-95", "jpeg-85", "jpeg-75", "half-size", "gaussian-1", "noise-2")


@dataclass(frozen=True)
class SignalsTableConfig:
    """Measure bundles of signals on held-out faces: tell untouched from manipulated, beside the passive detector.

    Example: python -m pipeline.tables.signals --faces faces --active a0/bundle.safetensors a1/bundle.safetensors --passive
    p0/bundle.safetensors p1/bundle.safetensors

    Active and passive bundles are trainings with other seeds; `disrupt train FACES OUT --system signals` makes an active one,
    with --signals 0 a passive one. A generator is its name, or name=weights.
    """

    faces: Path
    """Folder of faces. With labels.csv (columns file, split) its rows of split test are measured; without, all photos in it."""
    active: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="BUNDLE [BUNDLE ...]")]
    """Bundles with signals, one for each seed."""
    passive: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="BUNDLE [BUNDLE ...]")] = ()
    """Bundles of no signals, one for each seed."""
    seen: Annotated[tuple[str, ...], tyro.conf.arg(metavar="GENERATOR [...]")] = ("stargan-faces", "ganimation-faces")
    """Generators that the detectors were trained on."""
    unseen: Annotated[tuple[str, ...], tyro.conf.arg(metavar="GENERATOR [...]")] = ("stargan-faces-hardened",)
    """Generators that they were not trained on."""
    channels: Annotated[tuple[str, ...], tyro.conf.arg(metavar="CHANNEL [...]")] = CHANNELS
    """What happens to pictures before they are judged; clean is always among them."""
    photos: int = 120
    """How many photos."""
    disrupted: bool = True
    """Also measure files that carry a signal and a disruption."""
    out: Path = Path("docs/tables")
    """Folder for the CSV and the page."""
    bootstrap: int = 300
    """Times that photos and seeds are drawn anew for the 95 % intervals."""
    threads: int = 1
    """CPU threads."""

    def check(self) -> None:
        """Raise ConfigError for a value that cannot be, saying what was expected."""
        if not self.active:
            raise ConfigError("--active needs at least one bundle")
        within("--photos", self.photos, 20, 10**6, "photos")
        within("--bootstrap", self.bootstrap, 10, 100_000, "drawings")
        within("--threads", self.threads, 1, 1024, "CPU threads")
