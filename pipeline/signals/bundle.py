"""The file that holds a set of signals, its detector and the record of both. Reading it needs no torch."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as safetensors_bytes

from pipeline.images.types import F32, F64
from pipeline.storage import write_uri

VERSION = 3
"""Raised when older bundles cannot be read any more."""
SHIPPED = Path(str(files("pipeline.signals"))) / "bundles" / "signals-faces.safetensors"
GREEN = 1
"""The plane of a signal that grey photos get."""
SIGNALS, DETECTOR = "signals", "detector."
"""Names of the tensors in the file: the signals, and the prefix of the detector's weights."""
HEADER = "disrupt-signals"
HANDLINGS = ("crop", "mirror", "turn", "light", "resize", "jpeg", "webp")
"""What may happen to a signed photo that still counts as untouched: this is where the line runs."""
GREY = "grey-"
"""Before the name of a score: of grey files."""
MOST_LEVELS = 64.0
"""The largest budget that makes sense, that of the largest --epsilon."""
ROUNDING = 1e-4
"""What float32 may add to the budget, in levels."""


class BundleError(ValueError):
    """A bundle that cannot be used; the message names the file and says why."""


@dataclass(frozen=True, eq=False)
class Signals:
    """A set of signals: ``signals_nCHW`` (n, 3, S, S) in levels, nowhere larger than ``budget`` levels."""

    signals_nCHW: F32
    budget: float

    @property
    def count(self) -> int:
        """How many signals there are."""
        return len(self.signals_nCHW)

    def planes(self, which: int, *, grey: bool) -> F32:
        """Signal ``which`` as colour photos get it (3, S, S), or grey ones (1, S, S)."""
        signal_CSS: F32 = self.signals_nCHW[which]
        return signal_CSS[GREEN : GREEN + 1] if grey else signal_CSS

    @property
    def size(self) -> int:
        """The reference side of the signals in pixels, at which the detector looks at any photo."""
        return int(self.signals_nCHW.shape[-1])

    @property
    def smallest(self) -> int:
        """The shorter side that a photo must have, in pixels: below it the signals' detail would be lost."""
        return self.size // 2


@dataclass(frozen=True)
class Thresholds:
    """Above these a picture counts as manipulated (a probability) and as carrying a signal (a likeness; None without signals)."""

    manipulated: float
    carries: float | None


@dataclass(frozen=True, eq=False)
class Bundle(Signals):
    """A set of signals with its detector and record, as read from ``path``.

    ``id`` identifies signals and detector together, 16 hex digits. ``width`` is the detector's. ``card`` holds config, metrics and
    versions. ``scores`` are the detector's scores of held-out people, each one's worst over honest handling: ``untouched`` the
    probability of manipulation and ``carried`` the likeness of files with a signal, ``plain`` the likeness of files without one;
    with `GREY` before the name those of grey files.
    """

    id: str
    width: int
    scores: Mapping[str, F64]
    card: Mapping[str, Any]
    path: Path

    @property
    def least_rate(self) -> float:
        """The smallest false-positive rate that so many held-out people can vouch for: 1 of n + 1."""
        return 1 / (len(self.scores["untouched"]) + 1)

    def thresholds(self, false_positive_rate: float, *, grey: bool = False) -> Thresholds:
        """Thresholds that a new person's honest file exceeds with at most this probability (0..1), if people are exchangeable.

        The score of rank ceil((n + 1) (1 - rate)) among n people. Raises BundleError for a rate below `least_rate`.
        """
        prefix = GREY if grey else ""
        untouched = self.scores[prefix + "untouched"]
        if not self.count:
            return Thresholds(self._rank(untouched, false_positive_rate), None)
        carries = self._rank(self.scores[prefix + "plain"], false_positive_rate)
        suspicion = np.where(self.scores[prefix + "carried"] > carries, untouched, 1.0)
        return Thresholds(self._rank(suspicion, false_positive_rate), carries)

    def _rank(self, scores: F64, rate: float) -> float:
        rank = math.ceil((len(scores) + 1) * (1 - rate) - 1e-9)
        if not len(scores) or rank > len(scores):
            raise BundleError(
                f"{self.path}: {len(scores)} held-out people cannot vouch for a false-positive rate of {rate:g}; "
                f"the least is {self.least_rate:.4f}"
            )
        return float(np.sort(scores)[max(rank, 1) - 1])

    def detector_weights(self) -> dict[str, F32]:
        """The detector's weights by name."""
        with _open(self.path) as file:
            names: list[str] = list(file.keys())
            return {name.removeprefix(DETECTOR): file.get_tensor(name) for name in names if name.startswith(DETECTOR)}


def write_bundle(
    path: Path,
    *,
    signals_nCHW: F32,
    budget: float,
    detector: Mapping[str, F32],
    width: int,
    scores: Mapping[str, F64],
    card: Mapping[str, Any],
) -> Path:
    """Write the bundle and, beside it for people, its card as JSON; returns ``path``. Complete or not at all.

    ``signals_nCHW`` is in levels. Raises BundleError for signals outside the budget or numbers that are not finite.
    """
    if not all(np.isfinite(array).all() for array in (signals_nCHW, *detector.values())):
        raise BundleError(f"{path} is not written: not all of its numbers are finite")
    if _largest(signals_nCHW) > budget + ROUNDING:
        raise BundleError(f"{path} is not written: a signal is larger than the budget of {budget:g} levels")
    tensors = {SIGNALS: signals_nCHW} | {DETECTOR + name: array for name, array in sorted(detector.items())}
    tensors = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    about = {
        "version": VERSION,
        "id": _id(tensors),
        "budget": budget,
        "width": width,
        "scores": {kind: [float(v) for v in values] for kind, values in scores.items()},
        "card": dict(card),
    }
    data = safetensors_bytes(tensors, {HEADER: json.dumps(about, sort_keys=True)})
    write_uri(path, data)
    card_file = {name: value for name, value in about.items() if name != "scores"}
    write_uri(path.with_suffix(".json"), (json.dumps(card_file, indent=2, sort_keys=True) + "\n").encode())
    return path


def bundle_path(path: Path) -> Path:
    """The file of a bundle; the word ``shipped`` means the one that comes with the package."""
    return SHIPPED if path == Path("shipped") else path


def read_bundle(path: Path) -> Bundle:
    """The bundle in a file, or the shipped one for the word ``shipped``.

    Raises BundleError for one that is missing, damaged, of another kind or version, or changed since its id was made.
    """
    path = bundle_path(path)
    if not path.is_file():
        raise BundleError(f"{path}: no such bundle of signals; the word shipped means the one that comes with the package")
    with _open(path) as file:
        header = (file.metadata() or {}).get(HEADER)
        if header is None:
            raise BundleError(f"{path}: holds no signals; expected what a training of signals writes (bundle.safetensors)")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    try:
        about = json.loads(header)
        version = about.get("version")
        if version != VERSION:
            raise BundleError(f"{path}: is a bundle of version {version}; this program reads version {VERSION}")
        bundle = Bundle(
            id=str(about["id"]),
            signals_nCHW=np.asarray(tensors[SIGNALS], dtype=np.float32),
            budget=float(about["budget"]),
            width=int(about["width"]),
            scores={kind: np.asarray(values, dtype=np.float64) for kind, values in about["scores"].items()},
            card=about["card"],
            path=path,
        )
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise BundleError(f"{path}: its description is damaged ({type(error).__name__}: {error})") from error
    _check(bundle, tensors)
    return bundle


def _check(bundle: Bundle, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Raise BundleError unless the numbers are those that were written and fit together."""
    signals = bundle.signals_nCHW
    if bundle.id != _id(tensors):
        raise BundleError(f"{bundle.path}: changed since it was written: its signals or its detector do not fit its id {bundle.id}")
    if signals.ndim != 4 or signals.shape[1] != 3 or signals.shape[2] != signals.shape[3] or signals.shape[3] < 1:
        raise BundleError(f"{bundle.path}: expected square signals of 3 planes, got {signals.shape}")
    if bundle.count % 2:
        raise BundleError(f"{bundle.path}: expected an even number of signals, which come in pairs, got {bundle.count}")
    if not 0 <= bundle.budget <= MOST_LEVELS or _largest(signals) > bundle.budget + ROUNDING:
        raise BundleError(f"{bundle.path}: its signals of {_largest(signals):.3g} levels do not fit its budget {bundle.budget:g}")


def _largest(signals_nCHW: F32) -> float:
    return float(np.abs(signals_nCHW).max(initial=0.0))


def _open(path: Path) -> Any:
    try:
        return safe_open(path, framework="np")
    except (SafetensorError, OSError) as error:
        raise BundleError(f"{path}: damaged or cut off, or no bundle of signals ({error})") from error


def _id(tensors: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]
