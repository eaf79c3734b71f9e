"""A checked call of `disrupt protect`: everything that can be known before any work."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from posixpath import splitext
from typing import TYPE_CHECKING, Any

from pipeline.containers.find import CONTAINERS, walk_photos
from pipeline.jobs.doctor import check_gpu
from pipeline.jobs.options import ConfigError
from pipeline.ledger.places import check_places
from pipeline.photos.faces import INSTALL, finder_version
from pipeline.protection.options import ProtectConfig, signature
from pipeline.protection.stages.sign import Signer, read_signer
from pipeline.storage import Folder, scheme_of, split_options

if TYPE_CHECKING:
    from pipeline.generators.generator import Generator


@dataclass(frozen=True)
class Job:
    """A checked call: its generators (none for signals alone), signals and signature; ``notes`` are for people, one line each."""

    config: ProtectConfig
    generators: list[Generator]
    signer: Signer | None
    signature: str
    notes: tuple[str, ...] = ()

    @property
    def options(self) -> dict[str, Any]:
        """What the signature covers, as plain values; never the secret of the signals."""
        return self.config.what_changes_results() | (self.signer.facts() if self.signer else {})

    @property
    def about(self) -> str:
        """What is done to the photos, for people."""
        config = self.config
        parts = [f"generator {', '.join(config.generator)}, {about_region(config)}"] if config.disrupts() else []
        parts += [f"signals {self.signer.bundle.id}"] if self.signer else []
        return " and ".join(parts) + ("" if self.config.disrupts() else " alone, no disruption")


def prepare(config: ProtectConfig) -> Job:
    """Check everything that can be checked before any work; raises ValueError (of some kind) that says the fix."""
    config.check()
    check_places(config.input, config.output)
    if splitext(split_options(config.output)[0].rstrip("/"))[1].lower() in CONTAINERS and not Folder(config.output).is_folder():
        raise ConfigError(
            f"OUT is a folder, in which containers keep their names: {config.output} would be one. Give another name."
        )
    signer = read_signer(config)
    generators, notes = _generators(config)
    config = with_region(config, generators)
    if scheme_of(config.input) == "file":
        next(walk_photos(config.input, containers=True))  # a wrong place is told before anything is written
    signed = signature(config, tuple(g.fingerprint for g in generators), signer.facts() if signer else None)
    return Job(config, generators, signer, signed, notes)


def with_region(config: ProtectConfig, generators: Sequence[Generator]) -> ProtectConfig:
    """The options with their region: where none is given, faces if the finder is installed and all generators work on them.

    Raises ConfigError for --region faces without the finder.
    """
    finder = finder_version()
    takes_faces = bool(generators) and all(generator.faces for generator in generators)
    region = config.region or ("faces" if finder and takes_faces else "square")
    if region != "faces" or not config.disrupts():
        return dataclasses.replace(config, region=region, finder="")
    if finder is None:
        raise ConfigError(f"--region faces needs the extra faces, which is not installed: {INSTALL}; or give --region square")
    return dataclasses.replace(config, region=region, finder=finder)


def about_region(config: ProtectConfig) -> str:
    """The region of a run, for people."""
    jitter = ", crops jittered by up to 10 %" if config.jitter else ""
    finder = f" (found by {config.finder})" if config.region == "faces" else ""
    return f"region {config.region}{finder}{jitter}"


def _generators(config: ProtectConfig) -> tuple[list[Generator], tuple[str, ...]]:
    """The generators to disrupt, and what a user should know of them; none, and no torch, for signals alone."""
    if not config.disrupts():
        return [], ()
    from pipeline.generators.trial import notes_on
    from pipeline.protection.stages.disrupt import load_generators

    generators = load_generators(config)
    if not config.compute.on_ray(0):
        check_gpu(config.compute)
    return generators, tuple(note for generator in generators for note in notes_on(generator, config.classes))
