"""What --signals adds: the signal of a photo. No network and no torch."""

from __future__ import annotations

import math

from pipeline.jobs.options import NOTHING, ConfigError
from pipeline.photos.photo import U8, Photo
from pipeline.protection.options import ProtectConfig
from pipeline.signals.add import with_signal
from pipeline.signals.bundle import Bundle, read_bundle
from pipeline.signals.key import fingerprint, offsets_of, read_secret


class Signer:
    """Gives each photo the signal that the secret and its tints ask for.

    The secret is not in it, so that it travels to no worker; what it decides is. No dataclass on purpose: Ray writes the fields of
    dataclasses among its own records, and the offsets are to be in none.
    """

    __slots__ = ("_key", "_offsets", "bundle")

    def __init__(self, bundle: Bundle, secret: bytes) -> None:
        self.bundle = bundle
        self._key = fingerprint(secret)
        self._offsets = offsets_of(secret, bundle.count)

    def __repr__(self) -> str:
        return f"Signer({self.bundle.id})"

    @property
    def levels(self) -> int:
        """The most that a signal moves a pixel: the budget rounded up."""
        return math.ceil(self.bundle.budget)

    def facts(self) -> dict[str, str]:
        """What tells runs with other signals or another secret apart, without giving either away."""
        return {"signals": self.bundle.id, "signal_key": self._key}

    def __call__(self, photo: Photo) -> U8:
        """The pixels of the photo with its signal; raises PhotoRefusedError for a photo that is too small."""
        return with_signal(photo, self.bundle, self._offsets)


def read_signer(config: ProtectConfig) -> Signer | None:
    """The signer of a run, None without --signals; reads the bundle and the secret.

    Raises BundleError and SecretError, and ConfigError for an epsilon that has no room for the signals.
    """
    if config.signals is None:
        return None
    signer = Signer(read_bundle(config.signals), read_secret(config.key_file))
    if not signer.bundle.count:
        raise ConfigError(f"--signals {config.signals} holds a detector without signals (n = 0): there is nothing to add")
    least = signer.levels + 1 if config.disrupts() else signer.levels
    if config.epsilon < least:
        why = f"the signals of {config.signals} take {signer.levels} levels (budget {signer.bundle.budget:g})"
        alone = f", or --recipe {NOTHING} for the signal alone" if least - 1 <= config.epsilon and config.disrupts() else ""
        left = "leaves nothing for the disruption" if config.disrupts() else "is too small"
        raise ConfigError(f"--epsilon {config.epsilon} {left}: {why}; give --epsilon {least} or more{alone}")
    return signer
