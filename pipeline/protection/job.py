"""A checked call of `disrupt protect`: everything that can be known before any work."""

from __future__ import annotations

from dataclasses import dataclass
from posixpath import splitext
from typing import TYPE_CHECKING, Any

from pipeline.containers.find import CONTAINERS, walk_photos
from pipeline.jobs.doctor import check_gpu
from pipeline.jobs.options import ConfigError
from pipeline.ledger.places import check_places
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
        parts = [f"generator {', '.join(self.config.generator)}"] if self.config.disrupts() else []
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
    if scheme_of(config.input) == "file":
        next(walk_photos(config.input, containers=True))  # a wrong place is told before anything is written
    signed = signature(config, tuple(g.fingerprint for g in generators), signer.facts() if signer else None)
    return Job(config, generators, signer, signed, notes)


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
