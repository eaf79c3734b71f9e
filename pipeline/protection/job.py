"""A checked call of `disrupt protect`: everything that can be known before any work."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from posixpath import splitext
from typing import TYPE_CHECKING, Any

from pipeline.containers.find import CONTAINERS, walk_photos
from pipeline.jobs.doctor import check_gpu
from pipeline.jobs.options import ConfigError
from pipeline.ledger.places import check_places
from pipeline.photos import identity
from pipeline.photos.faces import INSTALL, finder_version
from pipeline.protection.options import ProtectConfig, signature
from pipeline.protection.stages.perturb import Perturber, notes_on_networks, read_perturber
from pipeline.protection.stages.sign import Signer, read_signer
from pipeline.protection.stages.strength import Floors
from pipeline.storage import Folder, scheme_of, split_options

if TYPE_CHECKING:
    from pipeline.generators.generator import Generator


@dataclass(frozen=True)
class Job:
    """A checked call: its generators (none with --recipe none), what it adds, and its signature; ``notes`` are for people."""

    config: ProtectConfig
    generators: list[Generator]
    signer: Signer | None
    signature: str
    notes: tuple[str, ...] = ()
    perturber: Perturber | None = None

    @property
    def options(self) -> dict[str, Any]:
        """What the signature covers, as plain values; never the secret of the signals."""
        return self.config.what_changes_results() | facts_of(self.signer, self.perturber)

    @property
    def about(self) -> str:
        """What is done to the photos, for people."""
        config = self.config
        region = f", {about_region(config)}{about_limits(config)}"
        parts = [f"generator {', '.join(config.generator)}{region}"] if config.disrupts() else []
        if self.perturber:
            parts.append(f"universal {self.perturber.universal.id}{'' if parts else region}")
        parts += [f"signals {self.signer.bundle.id}"] if self.signer else []
        share = f"{100 * config.measured_share():g} % measured on {', '.join(config.generator)}"
        if config.disrupts():
            return " and ".join(parts) + ("" if config.measured_share() == 1 else f", {share}")
        measured = share if config.measures() else "no network"
        return " and ".join(parts) + (f" alone, {measured}" if self.perturber else " alone, no disruption")


def prepare(config: ProtectConfig) -> Job:
    """Check everything that can be checked before any work; raises ValueError (of some kind) that says the fix."""
    config.check()
    if config.identity and identity.recogniser_version() is None:
        raise ConfigError(f"--identity needs the extra identity, which is not installed: {identity.INSTALL}; or leave it out")
    check_places(config.input, config.output)
    if splitext(split_options(config.output)[0].rstrip("/"))[1].lower() in CONTAINERS and not Folder(config.output).is_folder():
        raise ConfigError(
            f"OUT is a folder, in which containers keep their names: {config.output} would be one. Give another name."
        )
    signer = read_signer(config)
    perturber = read_perturber(config, signer)
    generators, notes = _generators(config)
    config, chosen = _with_precision(config, generators)
    notes += chosen
    fingerprints = tuple(generator.fingerprint for generator in generators)
    if perturber and generators:
        notes += notes_on_networks(config, perturber, fingerprints)
    on_faces = [generator.faces for generator in generators] or [bool(perturber and perturber.universal.faces)]
    config = with_region(config, takes_faces=all(on_faces))
    if scheme_of(config.input) == "file":
        next(walk_photos(config.input, containers=True))  # a wrong place is told before anything is written
    signed = signature(config, fingerprints, facts_of(signer, perturber))
    return Job(config, generators, signer, signed, notes, perturber)


def facts_of(signer: Signer | None, perturber: Perturber | None) -> dict[str, str]:
    """What tells runs apart that add other signals or perturbations, or choose them with another secret."""
    return (signer.facts() if signer else {}) | (perturber.facts() if perturber else {})


def with_region(config: ProtectConfig, *, takes_faces: bool) -> ProtectConfig:
    """The options with their region: where none is given, faces if the finder is installed and all generators work on them.

    Raises ConfigError for --region faces without the finder.
    """
    finder = finder_version()
    region = config.region or ("faces" if finder and takes_faces else "square")
    if region != "faces" or not config.changes_region():
        return dataclasses.replace(config, region=region, finder="")
    if finder is None:
        raise ConfigError(f"--region faces needs the extra faces, which is not installed: {INSTALL}; or give --region square")
    return dataclasses.replace(config, region=region, finder=finder)


def _with_precision(config: ProtectConfig, generators: list[Generator]) -> tuple[ProtectConfig, tuple[str, ...]]:
    """The options with the precision that --precision auto chooses here, and a note of it; the signature covers what was chosen."""
    if config.precision != "auto":
        return config, ()
    if not config.disrupts():
        return dataclasses.replace(config, precision="fp32"), ()
    import torch

    from pipeline.generators.precision import choose_precision

    device = torch.device(config.compute.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        return dataclasses.replace(config, precision="fp32"), ("--precision auto is fp32: torch sees no GPU where the run starts",)
    torch.set_num_threads(config.compute.threads)
    precision, why = choose_precision([generator.to(device) for generator in generators], device)
    for generator in generators:
        generator.to(torch.device("cpu"))
    return dataclasses.replace(config, precision=precision), (f"--precision auto is {precision}: {why}",)


def about_region(config: ProtectConfig) -> str:
    """The region of a run, for people."""
    jitter = ", crops jittered by up to 10 %" if config.jitter else ""
    finder = f" (found by {config.finder})" if config.region == "faces" else ""
    return f"region {config.region}{finder}{jitter}"


def about_limits(config: ProtectConfig) -> str:
    """How far photos may be changed, where that is not the same for all pixels of all photos; for people."""
    mask = ["less where the eye sees more"] if config.mask else []
    floors = [str(Floors(config.min_psnr, config.min_ssim))] if config.has_floors() else []
    return "".join(f", {limit}" for limit in [f"epsilon {config.epsilon}", *mask, *floors]) if mask or floors else ""


def _generators(config: ProtectConfig) -> tuple[list[Generator], tuple[str, ...]]:
    """The generators to disrupt or measure on, and what a user should know of them; none, and no torch, where none is needed."""
    if not config.measures():
        return [], ()
    from pipeline.generators.trial import notes_on
    from pipeline.protection.stages.disrupt import load_generators

    generators = load_generators(config)
    if not config.compute.on_ray(0):
        check_gpu(config.compute)
    return generators, tuple(note for generator in generators for note in notes_on(generator, config.classes))
