"""What the option classes of several verbs share: groups of options, checks of values, errors, and where results go by default."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from pipeline.ledger.places import base_folder
from pipeline.storage import open_storage, scheme_of

SHIPPED = Path("shipped")
"""In --weights and --signals: what comes with the package."""
NOTHING = "none"
"""The word of an option that takes names and is to have none."""
RAY_FROM = 1000
"""From this many photos on, starting Ray costs less than it saves."""
FLAT = tyro.conf.arg(name="")
"""A group whose options have no prefix on the command line."""


class ConfigError(ValueError):
    """An option that cannot be; the message says what was expected."""


def own_default(metavar: str, default: str, text: str | None = None) -> object:
    """How the help shows an option whose default is not a value of its own."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=f"(default: {default})", help=text)


Address = Annotated[
    str,
    tyro.conf.arg(
        metavar="ADDRESS",
        help="Ray cluster to use: auto (a running one, else one started here), local (always start one), or its address.",
    ),
]
SettingsFile = Annotated[
    Path | None,
    own_default(
        "FILE",
        "none",
        "YAML file with one 'option: value' a line, named as here without the dashes; options on the command line win.",
    ),
]


@dataclass(frozen=True)
class Compute:
    """Where a run computes: in one process or on Ray, on the CPU or a GPU."""

    engine: Literal["auto", "local", "ray"] = "auto"
    """local: one process; ray: on a cluster, or on one started here; auto: ray with --actors, --address or from 1000 photos on."""
    address: Address = "auto"
    actors: int = 1
    """Processes that each hold the networks, with the ray engine."""
    gpus_per_actor: float = 0.0
    """GPUs each actor takes, fractions allowed; 0 computes on the CPU."""
    threads: int = 1
    """CPU threads per process. Results may differ in the last digit between thread counts; --actors scales better."""

    @property
    def on_gpu(self) -> bool:
        """Whether the networks run on a GPU."""
        return self.gpus_per_actor > 0

    @property
    def device(self) -> str:
        """The name of the device in torch."""
        return "cuda" if self.on_gpu else "cpu"

    def on_ray(self, count: int) -> bool:
        """Whether a run of ``count`` photos goes to Ray."""
        if self.engine != "auto":
            return self.engine == "ray"
        return self.actors > 1 or self.address != "auto" or "RAY_ADDRESS" in os.environ or count >= RAY_FROM

    def check(self) -> None:
        """Raise ConfigError for a value out of range."""
        within("--actors", self.actors, 1, 100_000, "processes")
        within("--gpus-per-actor", self.gpus_per_actor, 0, 64, "GPUs")
        within("--threads", self.threads, 1, 1024, "CPU threads per process")


@dataclass(frozen=True)
class Photos:
    """Which of the photos are used."""

    max_megapixels: int = 100
    """Photos with more pixels than this are skipped, in millions."""
    limit: Annotated[int | None, own_default("INT", "all")] = None
    """Only the first so many photos, in the order of their names."""

    @property
    def max_pixels(self) -> int:
        """The most pixels of a photo."""
        return self.max_megapixels * 10**6

    def check(self) -> None:
        """Raise ConfigError for a value out of range."""
        within("--max-megapixels", self.max_megapixels, 1, 10_000, "million pixels")
        if self.limit is not None:
            within("--limit", self.limit, 1, 10**12, "photos")


@dataclass(frozen=True)
class Record:
    """The record of a run in MLflow."""

    tracking: bool = True
    """Keep a record in MLflow (MLFLOW_TRACKING_URI, else mlflow.db in this folder)."""
    experiment: Annotated[str, tyro.conf.arg(metavar="NAME")] = "disrupt"
    """Name of the MLflow experiment."""


def flat(options: Any) -> dict[str, Any]:
    """The value of every option by its name, those of groups included."""
    values = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    groups = [name for name, value in values.items() if isinstance(value, (Compute, Photos, Record))]
    return {name: value for name, value in values.items() if name not in groups} | {
        name: value for group in groups for name, value in dataclasses.asdict(values[group]).items()
    }


def one_of(flag: str, value: str, known: Iterable[str]) -> None:
    """Raise ConfigError with the nearest known value unless ``value`` is known."""
    names = list(known)
    if value not in names:
        near = difflib.get_close_matches(value, names, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"{flag} is one of {', '.join(names)}, not {value!r}{hint}")


def within(flag: str, value: float, low: float, high: float, unit: str) -> None:
    """Raise ConfigError unless low <= value <= high."""
    if not low <= value <= high:
        raise ConfigError(f"{flag} must be from {low:g} to {high:g} ({unit}), not {value:g}")


def check_weights(flag: str, weights: Sequence[Path], generators: Sequence[str]) -> None:
    """Raise ConfigError unless there are no weights or one file for each generator."""
    if weights and len(weights) != len(generators):
        raise ConfigError(f"{flag} needs one file for each of the {len(generators)} generators, got {len(weights)}")


def absolute_weights(paths: Sequence[Path]) -> tuple[Path, ...]:
    """The weights by names that hold in any folder."""
    return tuple(path if path == SHIPPED else path.absolute() for path in paths)


def beside(place: str, ending: str) -> str:
    """A folder beside a place that is named after it; for a glob it is named after the folder before its first wildcard."""
    base = base_folder(place)
    plain = (open_storage(base)[1] if scheme_of(base) == "file" else base.partition("?")[0]).rstrip("/")
    return f"{plain}{ending}"
