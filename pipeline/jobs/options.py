"""What the option classes of several verbs share: groups of options, checks of values, errors, and where results go by default."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

import tyro

from pipeline import unknown_name
from pipeline.containers.pattern import is_pattern
from pipeline.containers.read import MAX_BYTES
from pipeline.ledger.places import base_folder
from pipeline.storage import is_uri, open_storage, scheme_of

SHIPPED = Path("shipped")
"""In --weights and --signals: what comes with the package."""
NOTHING = "none"
"""The word of an option that takes names and is to have none."""
MOST_ACTORS = 100_000
DEFAULT_GENERATOR = "stargan-sharp"
"""The network that photos are protected against unless another is named."""
RAY_FROM = 1000
"""From this many photos on, starting Ray costs less than it saves."""
FLAT = tyro.conf.arg(name="")
"""A group whose options have no prefix on the command line."""


T = TypeVar("T")


class ConfigError(ValueError):
    """An option that cannot be; the message says what was expected."""


@dataclass(frozen=True)
class PathOption:
    """Marks an option as a path or URI; one of type Path needs no mark, unless it takes ``words`` too, which are no paths.

    ``as_typed`` names the option that keeps what was typed.
    """

    words: tuple[str, ...] = ()
    as_typed: str | None = None


FILE_OR_SHIPPED = PathOption((str(SHIPPED),))
"""A file, or the word for the one that comes with the package."""


@dataclass(frozen=True, eq=False)
class StandsFor:
    """Marks an option whose values are words for values of other options, by field name; what is given for these itself wins."""

    values: Mapping[str, Mapping[str, Any]]


def implied(options: Any) -> dict[str, Any]:
    """What the words of an options' value stand for, by the names of the fields."""
    values: dict[str, Any] = {}
    for name, hint in get_type_hints(type(options), include_extras=True).items():
        for mark in (mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, StandsFor)):
            values |= mark.values.get(getattr(options, name), {})
    return values


def with_absolute_paths(options: T) -> T:
    """The options with every local path absolute: they mean the same in any process, whatever its working folder."""
    changes: dict[str, Any] = {}
    for name, hint in get_type_hints(type(options), include_extras=True).items():
        value = getattr(options, name)
        if dataclasses.is_dataclass(value):
            changes[name] = with_absolute_paths(value)
            continue
        mark = next((mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, PathOption)), None)
        if mark and mark.as_typed:
            changes[mark.as_typed] = value
        values = value if isinstance(value, tuple) else (value,)
        if mark or any(isinstance(one, Path) for one in values):
            absolute = tuple(_absolute(one, mark.words if mark else ()) for one in values)
            changes[name] = absolute if isinstance(value, tuple) else absolute[0]
    return dataclasses.replace(options, **changes)  # type: ignore[type-var]


def _absolute(value: str | Path | None, words: tuple[str, ...]) -> str | Path | None:
    """A path from the root on. URIs, words and empty text stay, and a pattern in a folder whose own name looks like one."""
    text = str(value)
    if value is None or text in words or not text.strip() or is_uri(text):
        return value
    if is_pattern(text) and is_pattern(str(Path.cwd())):
        return value
    path = Path(value).absolute()
    return path if isinstance(value, Path) else str(path)


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
    """local: one process; ray: on a cluster, or on one started here; auto: ray with --actors, --address or from 1000 photos on
    (in containers: rows of Parquet files; for tars a guess from their first photos and their bytes)."""
    address: Address = "auto"
    actors: int | Literal["auto"] = 1
    """Processes that each hold the networks, with the ray engine; auto: as many as the cluster holds."""
    gpus_per_actor: float = 0.0
    """GPUs each actor takes, fractions allowed; 0 computes on the CPU."""
    memory_per_actor: float = 0.0
    """Memory that each actor takes of its machine, in GB, so that Ray puts no more of them there than it holds; 0: not counted.
    A cluster must tell Ray its machines' memory, as `ray start` does."""
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

    @property
    def known_actors(self) -> int:
        """How many actors there are as far as one can say without a cluster: with auto those that this machine holds."""
        return max(1, (os.cpu_count() or 1) // self.threads) if self.actors == "auto" else self.actors

    def on_ray(self, count: int) -> bool:
        """Whether a run of ``count`` photos goes to Ray."""
        if self.engine != "auto":
            return self.engine == "ray"
        return self.actors != 1 or self.address != "auto" or "RAY_ADDRESS" in os.environ or count >= RAY_FROM

    def check(self) -> None:
        """Raise ConfigError for a value out of range."""
        if self.actors != "auto":
            within("--actors", self.actors, 1, MOST_ACTORS, "processes; or auto")
        within("--gpus-per-actor", self.gpus_per_actor, 0, 64, "GPUs")
        within("--memory-per-actor", self.memory_per_actor, 0, 10_000, "GB")
        within("--threads", self.threads, 1, 1024, "CPU threads per process")


@dataclass(frozen=True)
class Photos:
    """Which of the photos are used."""

    max_megapixels: int = 100
    """Photos with more pixels than this are skipped, in millions."""
    max_megabytes: int = MAX_BYTES // 10**6
    """Files larger than this are skipped unread, in millions of bytes."""
    limit: Annotated[int | None, own_default("INT", "all")] = None
    """Only the first so many photos, folder by folder in the order of their names; in a container in its own order."""

    @property
    def max_pixels(self) -> int:
        """The most pixels of a photo."""
        return self.max_megapixels * 10**6

    @property
    def max_bytes(self) -> int:
        """The most bytes of a file."""
        return self.max_megabytes * 10**6

    def check(self) -> None:
        """Raise ConfigError for a value out of range."""
        within("--max-megapixels", self.max_megapixels, 1, 10_000, "million pixels")
        within("--max-megabytes", self.max_megabytes, 1, 1_000_000, "million bytes")
        if self.limit is not None:
            within("--limit", self.limit, 1, 10**12, "photos")


@dataclass(frozen=True)
class Record:
    """The record of a run in MLflow."""

    tracking: bool = True
    """Keep a record in MLflow (MLFLOW_TRACKING_URI, else mlflow.db in this folder)."""
    experiment: Annotated[str, tyro.conf.arg(metavar="NAME")] = "disrupt"
    """Name of the MLflow experiment."""


def signature_of(facts: Any) -> str:
    """16 hex digits that name what these plain values decide."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def flat(options: Any) -> dict[str, Any]:
    """The value of every option by its name, those of groups included."""
    values = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    groups = [name for name, value in values.items() if dataclasses.is_dataclass(value)]
    return {name: value for name, value in values.items() if name not in groups} | {
        name: value for group in groups for name, value in dataclasses.asdict(values[group]).items()
    }


def one_of(flag: str, value: str, known: Iterable[str]) -> None:
    """Raise ConfigError with the known values unless ``value`` is one."""
    if value not in (names := list(known)):
        raise ConfigError(unknown_name(flag, value, names))


def within(flag: str, value: float, low: float, high: float, unit: str) -> None:
    """Raise ConfigError unless low <= value <= high."""
    if not low <= value <= high:
        raise ConfigError(f"{flag} must be from {low:g} to {high:g} ({unit}), not {value:g}")


def check_limits(options: Any, limits: Mapping[str, tuple[float, float, str]]) -> None:
    """Raise ConfigError unless each named option is None or lies within its limits: from, to and unit."""
    for name, (low, high, unit) in limits.items():
        if (value := getattr(options, name)) is not None:
            within("--" + name.replace("_", "-"), value, low, high, unit)


def check_weights(flag: str, weights: Sequence[Path], generators: Sequence[str]) -> None:
    """Raise ConfigError unless there are no weights or one file for each generator."""
    if weights and len(weights) != len(generators):
        raise ConfigError(f"{flag} needs one file for each of the {len(generators)} generators, got {len(weights)}")


def beside(place: str, ending: str) -> str:
    """A folder beside a place that is named after it; for a glob it is named after the folder before its first wildcard."""
    base = base_folder(place)
    plain = (open_storage(base)[1] if scheme_of(base) == "file" else base.partition("?")[0]).rstrip("/")
    return f"{plain}{ending}"
