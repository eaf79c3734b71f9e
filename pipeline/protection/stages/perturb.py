"""What --universal adds: the perturbation of a photo, on what generators see of it. No network and no torch."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.images.types import U8, Box
from pipeline.jobs.options import ConfigError
from pipeline.protection.options import ProtectConfig
from pipeline.protection.stages.sign import Signer
from pipeline.signals.key import choice_of, fingerprint, read_secret
from pipeline.universal.add import with_perturbation
from pipeline.universal.bundle import Universal, read_universal


class Perturber:
    """Gives each photo its universal perturbation; of several, the one that the secret assigns to its key.

    No dataclass on purpose: Ray writes the fields of dataclasses among its own records, and the secret is to be in none.
    """

    __slots__ = ("_secret", "universal")

    def __init__(self, universal: Universal, secret: bytes | None) -> None:
        self.universal = universal
        self._secret = secret

    def __repr__(self) -> str:
        return f"Perturber({self.universal.id})"

    def facts(self) -> dict[str, str]:
        """What tells runs with other perturbations or another secret apart."""
        key = {} if self._secret is None else {"universal_key": fingerprint(self._secret)}
        return {"universal": self.universal.id} | key

    def __call__(self, pixels_HWC: U8, key: str, *, boxes: Sequence[Box], orientation: int) -> U8:
        """Stored pixels of the photo ``key``, or of a region of it, with its perturbation in each of the upright ``boxes``."""
        which = 0 if self._secret is None else choice_of(self._secret, key, self.universal.count)
        return with_perturbation(pixels_HWC, self.universal, which, boxes=boxes, orientation=orientation)


def read_perturber(config: ProtectConfig, signer: Signer | None) -> Perturber | None:
    """The perturbations of a run, None without --universal; reads the bundle and, for several perturbations, the secret.

    Raises UniversalError and SecretError, and ConfigError for an epsilon without room for them or classes that they do not break.
    """
    if config.universal is None:
        return None
    universal = read_universal(config.universal)
    for name in config.classes:
        if name not in universal.classes:
            known = ", ".join(universal.classes)
            raise ConfigError(f"--universal {config.universal} was not learned for class {name}: it breaks {known}")
    signed = signer.levels if signer else 0
    if config.epsilon < universal.epsilon + signed:
        both = f", the signals {signed}" if signed else ""
        least = universal.epsilon + signed
        why = f"the perturbations of {config.universal} take {universal.epsilon} levels{both}"
        raise ConfigError(f"--epsilon {config.epsilon} is too small: {why}; give --epsilon {least} or more")
    if config.key_file is not None and universal.count == 1 and signer is None:
        raise ConfigError(f"--key-file chooses among several perturbations, and {config.universal} holds one: leave it out")
    return Perturber(universal, read_secret(config.key_file, of="several perturbations") if universal.count > 1 else None)


def notes_on_networks(config: ProtectConfig, perturber: Perturber, fingerprints: Sequence[str]) -> tuple[str, ...]:
    """What a user should know of perturbations beside networks with these fingerprints."""
    known = {network.fingerprint for network in perturber.universal.networks}
    others = [name for name, own in zip(config.generator, fingerprints, strict=True) if own not in known]
    if not others:
        return ()
    learned = ", ".join(network.generator for network in perturber.universal.networks)
    return (
        f"the perturbations of {config.universal} were learned on {learned}, not on {', '.join(others)}: they may do little there",
    )
