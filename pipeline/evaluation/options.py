"""The options of an evaluation as one frozen value, and what the protection run of the files says where they are left out."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import tyro

from pipeline.channels.channels import find_channels
from pipeline.jobs.options import (
    DEFAULT_GENERATOR,
    FILE_OR_SHIPPED,
    FLAT,
    Compute,
    ConfigError,
    PathOption,
    Photos,
    Record,
    SettingsFile,
    beside,
    check_weights,
    own_default,
    within,
)
from pipeline.ledger.layout import CONFIG
from pipeline.storage import Folder

Region = Literal["faces", "square", "whole", "box"]
CLEAN = "clean"
RED_TEAM = "red-team"
DEFAULT_EPSILON = 6


@dataclass(frozen=True)
class EvaluateConfig:
    """Measure protected files against their originals: what generators make of them, as written and after what the web does.

    Example: disrupt evaluate photos protected --channels jpeg social

    Writes evaluation.parquet (one row for each photo, generator, class and channel), summary.csv and report.html.
    Exit code: 0 when every pair is measured, 1 when some failed or are missing, 2 for a wrong call.
    """

    originals: Annotated[str, PathOption(), tyro.conf.Positional, tyro.conf.arg(metavar="ORIGINALS")]
    """The photos before protection: folder, glob, single photo, table (.csv, .jsonl, .txt, .parquet), containers or storage URI, as
    given to protect."""
    protected: Annotated[str, PathOption(), tyro.conf.Positional, tyro.conf.arg(metavar="PROTECTED")]
    """The protected photos: the OUT of a protection run, or any folder with files or containers of the same relative names; or the
    container that was made of a single one."""

    out: Annotated[str, PathOption(), own_default("FOLDER", "PROTECTED-evaluation, beside PROTECTED")] = ""
    """Folder or storage URI for the results; an evaluation that is there already is replaced."""
    generator: Annotated[
        tuple[str, ...], own_default("NAME [NAME ...]", "those the files were protected against, else stargan-sharp")
    ] = ()
    """Networks to test, each on its own, also such as the files were not protected against (transfer). A my_module:build is always
    named here."""
    weights: Annotated[tuple[Path, ...], FILE_OR_SHIPPED, own_default("FILE [FILE ...]", "none")] = ()
    """Weights for the generators, one each in their order; the word shipped for those that come with the package."""
    classes: Annotated[tuple[str, ...], own_default("CLASS [CLASS ...]", "those that were protected, else all")] = ()
    """Translations to test, by name; each generator is tested on those of them that it has."""
    channels: Annotated[tuple[str, ...], tyro.conf.arg(metavar="CHANNEL [CHANNEL ...]")] = (CLEAN,)
    """What happens to both files on their way: names or groups (all, jpeg, social, jitter, red-team). clean is always measured."""
    red_team: bool = False
    """Also what an attacker does to remove the protection: the group red-team."""
    region: Annotated[Region | None, own_default("{faces,square,whole,box}", "as protected, else square")] = None
    """What the generator sees of each photo: the faces that were protected, or that are found where that is not on record; the
    largest centred square, all of it, or the boxes given in the table. Of several, the one where the class breaks least counts."""
    identity: bool = False
    """Also measure how far outputs are from the person in the original, by the distance of dlib's face embeddings (extra identity),
    and how often they are of another person; of the outputs for the original too. It takes 0.1 s of one core for
    each output, 1.7 s a photo with the eight classes of stargan-sharp."""
    epsilon: Annotated[int | None, own_default("LEVELS", "as protected, else 6")] = None
    """Size of the random noise that the protection is compared with, in 8-bit levels, 1 to 64."""
    image: Annotated[str | None, own_default("COLUMN|SUFFIX", "the only one")] = None
    """Column of a Parquet file that holds the photos, or the suffix of the original where samples of a tar have several, as given
    to protect."""
    bootstrap: Annotated[int, tyro.conf.arg(metavar="INT")] = 1000
    """Times that the photos are drawn anew for the 95 % intervals; 0 gives none."""
    seed: int = 0
    """Seed of that drawing, of the noise and of channels that draw; each photo's own depends on it and on the photo's key alone."""

    compute: Annotated[Compute, FLAT] = Compute()
    photos: Annotated[Photos, FLAT] = Photos()
    record: Annotated[Record, FLAT] = Record(experiment="evaluate")
    config: SettingsFile = None

    def channel_names(self) -> tuple[str, ...]:
        """The channels by name, clean first, each once; raises ValueError for an unknown one."""
        asked = [CLEAN, *self.channels, *([RED_TEAM] if self.red_team else [])]
        return tuple(channel.name for channel in find_channels(asked))

    def check(self) -> None:
        """Raise ValueError for a value that cannot be, saying what was expected."""
        self.channel_names()
        if self.epsilon is not None:
            within("--epsilon", self.epsilon, 1, 64, "levels of 255")
        within("--bootstrap", self.bootstrap, 0, 100_000, "drawings")
        within("--seed", self.seed, 0, 2**62, "a whole number")
        self.compute.check()
        self.photos.check()
        if self.generator:
            check_weights("--weights", self.weights, self.generator)

    def out_place(self) -> str:
        """Where the results go: --out, or a folder beside PROTECTED that is named after it."""
        return self.out or beside(self.protected, "-evaluation")


@dataclass(frozen=True)
class ProtectedRun:
    """What a protection run left on record of itself: the options that matter here, and its signature."""

    generators: tuple[str, ...]
    classes: tuple[str, ...]
    region: Region
    epsilon: int
    signature: str


def read_run(protected: str) -> ProtectedRun | None:
    """The protection run whose output a place is; None for any other place.

    Raises ConfigError for a record that is damaged or holds values that no protection run can have.
    """
    folder = Folder(protected)
    if not folder.is_folder() or not folder.exists(CONFIG):
        return None
    try:
        stored: dict[str, Any] = json.loads(folder.read(CONFIG))
        options = stored["config"]
        generators, classes, region, epsilon = (options[name] for name in ("generator", "classes", "region", "epsilon"))
        texts = all(isinstance(name, str) for name in (*generators, *classes))
        if not texts or region not in get_args(Region) or type(epsilon) is not int:
            raise ValueError("generator, classes, region or epsilon is of another kind")
        within("epsilon", epsilon, 1, 64, "levels of 255")
        return ProtectedRun(tuple(generators), tuple(classes), region, epsilon, str(stored["signature"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{folder.at(CONFIG)} is damaged ({error}); protect again, or copy the protected files elsewhere"
        ) from error


def fill_in(config: EvaluateConfig, run: ProtectedRun | None) -> EvaluateConfig:
    """The options with what was left out taken from the protection run, or from the defaults where there is none.

    Raises ConfigError when the generators come from the run and one is not a name of the zoo: a folder never says what is imported.
    """
    from pipeline.generators.zoo import ZOO  # with torch, which --help does without

    known = run or ProtectedRun((DEFAULT_GENERATOR,), (), "square", DEFAULT_EPSILON, "")
    foreign = [] if config.generator else [name for name in known.generators if name not in ZOO]
    if foreign:
        raise ConfigError(
            f"{config.protected} records the generator {', '.join(map(repr, foreign))}: code of its own, which runs only when you "
            f"name it. If you trust it: --generator {' '.join(known.generators)}"
        )
    return dataclasses.replace(
        config,
        generator=config.generator or known.generators or (DEFAULT_GENERATOR,),
        classes=config.classes or known.classes,
        region=config.region or known.region,
        epsilon=known.epsilon if config.epsilon is None else config.epsilon,
        channels=config.channel_names(),
        out=config.out_place(),
    )
