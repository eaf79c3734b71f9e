"""What the secret decides: which perturbation of a universal set a photo gets, and the offsets that mix its signals."""

from __future__ import annotations

import hashlib
import hmac
import math
import os
import posixpath
from pathlib import Path

VARIABLE = "DISRUPT_SIGNAL_KEY"
LEAST_BYTES = 16


class SecretError(ValueError):
    """A secret that is missing or too short; the message says what to do. The secret itself is never in it."""


def read_secret(file: Path | None, *, of: str = "signals") -> bytes:
    """The secret in a file, else in the environment variable DISRUPT_SIGNAL_KEY; its end of line is left off.

    Raises SecretError when there is none, one that cannot be read, or one of fewer than 16 bytes.
    """
    if file is not None:
        if not file.exists():
            raise SecretError(f"--key-file {file}: no such file; make one with: head -c 32 /dev/urandom | base64 > {file}")
        secret, origin = _read(file), f"--key-file {file}"
    elif VARIABLE in os.environ:
        secret, origin = os.fsencode(os.environ[VARIABLE]), f"the variable {VARIABLE}"
    else:
        raise SecretError(
            f"{of} need a secret: give --key-file FILE or set {VARIABLE}; make one with: head -c 32 /dev/urandom | base64 > key"
        )
    secret = secret.rstrip(b"\r\n")
    if len(secret) < LEAST_BYTES:
        raise SecretError(f"{origin} holds {len(secret)} bytes; a secret needs at least {LEAST_BYTES}")
    return secret


def choice_of(secret: bytes, photo_id: str, count: int) -> int:
    """HMAC-SHA256(secret, photo id) mod n: the index of the photo's perturbation of a set, 0 to ``count`` - 1.

    The id is a relative name; its suffix does not count, since a photo and its protected file may differ in it.
    """
    name = posixpath.splitext(photo_id)[0]
    digest = hmac.new(secret, name.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()
    return int.from_bytes(digest, "big") % count


def offsets_of(secret: bytes, count: int) -> tuple[float, ...]:
    """The offsets by which the tints of a photo mix ``count`` signals, one for each pair, in radians from 0 to 2 pi.

    HMAC-SHA256(secret, a label with the pair's number), of whose digest the first 8 bytes are a share of a turn.
    """
    labels = (b"disrupt: offset of pair %d" % pair for pair in range(count // 2))
    digests = (hmac.new(secret, label, hashlib.sha256).digest() for label in labels)
    return tuple(2 * math.pi * int.from_bytes(digest[:8], "big") / 2**64 for digest in digests)


def fingerprint(secret: bytes) -> str:
    """8 hex digits that tell one secret from another without giving it away: of HMAC-SHA256(secret, a fixed label)."""
    return hmac.new(secret, b"disrupt: fingerprint of a signal key", hashlib.sha256).hexdigest()[:8]


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise SecretError(f"--key-file {file} cannot be read: {error.strerror}") from error
