"""From a training of signals to the bundle that protect and detect take."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.images.levels import unit_to_level
from pipeline.jobs.versions import versions
from pipeline.signals.bundle import Bundle, Signals, read_bundle, write_bundle
from pipeline.signals.detector import Detector
from pipeline.signals.judge import Judge, calibration_scores
from pipeline.training.faces import Faces
from pipeline.training.signals import SignalSystem, signal_set
from pipeline.training.state import TrainState

BUNDLE_FILE = "bundle.safetensors"


def export_bundle(system: SignalSystem, state: TrainState, held_out: Faces, out: Path, *, config: dict[str, Any]) -> Bundle:
    """Write ``out/bundle.safetensors`` with the scores of held-out photos; returns it as read.

    A set of no signals is written too: its detector is the passive one.
    """
    detector = state.nets.D["detector"]
    if not isinstance(detector, Detector):
        raise TypeError(f"a training of signals has a Detector, not a {type(detector).__name__}")
    signals_nCHW = signal_set(state.nets.G).signals().detach()
    signals = Signals(unit_to_level(signals_nCHW.float().cpu()).numpy(), system.budget)
    photos = list(held_out.u8_NCHW.permute(0, 2, 3, 1).contiguous().numpy())
    path = write_bundle(
        out / BUNDLE_FILE,
        signals_nCHW=signals.signals_nCHW,
        budget=signals.budget,
        detector={name: tensor.float().cpu().numpy() for name, tensor in detector.state_dict().items()},
        width=state.sizes.d_conv_dim,
        scores=calibration_scores(signals, Judge(detector, signals_nCHW), photos),
        card={
            "system": {name: _plain(value) for name, value in dataclasses.asdict(system).items()},
            "config": {name: _plain(value) for name, value in config.items()},
            "steps": state.step,
            "held_out_photos": len(photos),
            "metrics": {"psnr_flat": psnr_of(signals.signals_nCHW)} if signals.count else {},
            "versions": versions(),
        },
    )
    return read_bundle(path)


def psnr_of(signals_nCHW: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> float:
    """The PSNR in dB of a mid-grey photo with the strongest of the signals: what they cost before rounding and clipping."""
    return float(10 * np.log10(255**2 / max(float(np.square(signals_nCHW).mean((1, 2, 3)).max()), 1e-12)))


def _plain(value: Any) -> Any:
    """A value for the card: places of this machine by their last name only."""
    if isinstance(value, list | tuple | dict):
        each = value.values() if isinstance(value, dict) else value
        return [_plain(one) for one in each]
    place = isinstance(value, Path) or (isinstance(value, str) and Path(value).is_absolute())
    return Path(value).name if place else value
