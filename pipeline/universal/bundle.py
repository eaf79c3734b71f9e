"""The file that holds universal perturbations and the record of what they break. Reading it needs no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as safetensors_bytes

from pipeline.images.types import F32, F64
from pipeline.signals.bundle import ROUNDING, Signals
from pipeline.storage import write_uri

VERSION = 1
"""Raised when older bundles cannot be read any more."""
PERTURBATIONS, HEADER = "perturbations", "disrupt-universal"
COLOURS, PLANES = 3, 4
"""Planes of a perturbation for colour photos, and all: the last is for grey ones, which those for colours hardly protect."""
MOST_LEVELS = 64
"""The largest --epsilon."""


class UniversalError(ValueError):
    """A bundle that cannot be used; the message names the file and says why."""


@dataclass(frozen=True)
class Broken:
    """A network that perturbations were learned on: its name, fingerprint and classes."""

    generator: str
    fingerprint: str
    classes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Universal(Signals):
    """Perturbations (n, 4, S, S) in levels, held and added as a set of signals is; ``budget`` is their epsilon.

    Three planes are for colour photos, the last one is for grey photos.

    ``id`` identifies them, 16 hex digits; ``networks`` are those that they break; ``faces`` says that these work on crops of faces.
    ``card`` holds config, measured numbers and versions.
    """

    id: str
    networks: tuple[Broken, ...]
    faces: bool
    card: Mapping[str, Any]

    def planes(self, which: int, *, grey: bool) -> F32:
        """Perturbation ``which`` as colour photos get it (3, S, S), or grey ones (1, S, S)."""
        planes_CSS: F32 = self.signals_nCHW[which]
        return planes_CSS[COLOURS:] if grey else planes_CSS[:COLOURS]

    @property
    def epsilon(self) -> int:
        """The most that a perturbation moves a pixel, in levels."""
        return int(self.budget)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of all networks, each once."""
        return tuple(dict.fromkeys(name for network in self.networks for name in network.classes))


def universal_of(
    perturbations_nCHW: F32, *, epsilon: int, networks: Sequence[Broken], faces: bool, card: Mapping[str, Any]
) -> Universal:
    """Perturbations (n, 4, S, S) in levels as what a bundle holds."""
    own_nCHW = np.ascontiguousarray(perturbations_nCHW)
    return Universal(own_nCHW, float(epsilon), _id(own_nCHW), tuple(networks), faces, card)


def write_universal(path: Path, universal: Universal) -> Path:
    """Write the bundle and, beside it for people, its card as JSON; returns ``path``. Each is complete or not there.

    Raises UniversalError for perturbations that are larger than epsilon or not finite.
    """
    perturbations_nCHW = universal.signals_nCHW
    if not np.isfinite(perturbations_nCHW).all():
        raise UniversalError(f"{path} is not written: not all of its numbers are finite")
    if _largest(perturbations_nCHW) > universal.epsilon + ROUNDING:
        raise UniversalError(f"{path} is not written: a perturbation is larger than epsilon, {universal.epsilon} levels")
    about = {
        "version": VERSION,
        "id": universal.id,
        "epsilon": universal.epsilon,
        "count": universal.count,
        "size": universal.size,
        "networks": [asdict(network) for network in universal.networks],
        "faces": universal.faces,
        "card": dict(universal.card),
    }
    header = {HEADER: json.dumps(about, sort_keys=True)}
    write_uri(path, safetensors_bytes({PERTURBATIONS: perturbations_nCHW}, header))
    write_uri(path.with_suffix(".json"), (json.dumps(about, indent=2, sort_keys=True) + "\n").encode())
    return path


def read_universal(path: Path) -> Universal:
    """The perturbations in a file.

    Raises UniversalError for one that is missing, damaged, of another kind or version, or changed since its id was made.
    """
    if not path.is_file():
        raise UniversalError(f"{path}: no such bundle of universal perturbations; disrupt universal makes one")
    try:
        with safe_open(path, framework="np") as file:
            header = (file.metadata() or {}).get(HEADER)
            if header is None:
                raise UniversalError(f"{path}: holds no universal perturbation; expected what disrupt universal writes")
            perturbations_nCHW = np.asarray(file.get_tensor(PERTURBATIONS), dtype=np.float32)
    except (SafetensorError, OSError) as error:
        raise UniversalError(f"{path}: damaged or cut off, or no bundle of universal perturbations ({error})") from error
    try:
        about = json.loads(header)
        if about.get("version") != VERSION:
            version = about.get("version")
            raise UniversalError(f"{path}: is a bundle of version {version}; this program reads version {VERSION}")
        universal = Universal(
            signals_nCHW=perturbations_nCHW,
            budget=float(about["epsilon"]),
            id=str(about["id"]),
            networks=tuple(Broken(str(n["generator"]), str(n["fingerprint"]), tuple(n["classes"])) for n in about["networks"]),
            faces=bool(about["faces"]),
            card=about["card"],
        )
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise UniversalError(f"{path}: its description is damaged ({type(error).__name__}: {error})") from error
    _check(universal, path)
    return universal


def cosines(perturbations_nCHW: F32) -> F64:
    """How alike each two perturbations of a set are on colour photos: their cosines (n, n); 0 is not at all."""
    flat = perturbations_nCHW[:, :COLOURS].reshape(len(perturbations_nCHW), -1).astype(np.float64)
    unit = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    return np.asarray(unit @ unit.T)


def _check(universal: Universal, path: Path) -> None:
    shape = universal.signals_nCHW.shape
    if universal.id != _id(universal.signals_nCHW):
        raise UniversalError(f"{path}: changed since it was written: its perturbations do not fit its id {universal.id}")
    if len(shape) != 4 or shape[1] != PLANES or shape[2] != shape[3] or not shape[0] * shape[3]:
        raise UniversalError(f"{path}: expected square perturbations of {PLANES} planes, got {shape}")
    if not 1 <= universal.budget <= MOST_LEVELS or _largest(universal.signals_nCHW) > universal.budget + ROUNDING:
        raise UniversalError(f"{path}: its perturbations do not fit its epsilon, {universal.budget:g} levels")


def _largest(perturbations_nCHW: F32) -> float:
    return float(np.abs(perturbations_nCHW).max(initial=0.0))


def _id(perturbations_nCHW: F32) -> str:
    return hashlib.sha256(f"{perturbations_nCHW.shape}".encode() + perturbations_nCHW.tobytes()).hexdigest()[:16]
