"""From a trained state to what other verbs take: the averaged generators as weights, or the signals as a bundle."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from pipeline.generators.checkpoint import save_weights
from pipeline.images.levels import unit_to_level
from pipeline.jobs.versions import versions
from pipeline.signals.bundle import Signals, write_bundle
from pipeline.signals.detector import Detector
from pipeline.signals.judge import CALIBRATION, Judge, calibration_scores
from pipeline.signals.key import offsets_of
from pipeline.training.data.faces import Faces
from pipeline.training.state import TrainState
from pipeline.training.systems.signals import SignalSystem, signal_set
from pipeline.training.systems.system import System

BUNDLE_FILE = "bundle.safetensors"


def export(system: System, G: nn.ModuleDict, out: Path, *, size: int, blur: float = 0.0) -> list[Path]:
    """Write each generator in half precision to ``out/generator.safetensors``, of several to ``generator-NAME.safetensors``.

    ``disrupt protect --generator ROW --weights FILE`` takes them. The file names the system, its classes, its ``size`` in pixels
    and the ``blur`` that the network expects before it, the sigma in pixels of a Gaussian.
    """
    metadata = {"system": system.name, "size": str(size)}
    metadata |= {"classes": json.dumps(system.classes())} if system.classes() else {}
    metadata |= {"blur": str(blur)} if blur else {}
    paths = [out / ("generator.safetensors" if len(G) == 1 else f"generator-{name}.safetensors") for name in G]
    for net, path in zip(G.values(), paths, strict=True):
        save_weights(net, path, metadata=metadata, half=True)
    return paths


def export_bundle(system: SignalSystem, state: TrainState, held_out: Faces, out: Path, *, config: dict[str, Any]) -> Path:
    """Write ``out/bundle.safetensors`` with the scores of held-out photos; returns its path.

    A set of no signals is written too: its detector is the passive one.
    """
    detector = state.nets.D["detector"]
    if not isinstance(detector, Detector):
        raise TypeError(f"a training of signals has a Detector, not a {type(detector).__name__}")
    signals_nCHW = signal_set(state.nets.G).signals().detach()
    signals = Signals(unit_to_level(signals_nCHW.float().cpu()).numpy(), system.budget)
    power = max(float(np.square(signals.signals_nCHW).mean((1, 2, 3)).max(initial=0)), 1e-12)
    offsets = offsets_of(CALIBRATION, signals.count)
    photos = list(held_out.in_memory.permute(0, 2, 3, 1).contiguous().numpy())
    return write_bundle(
        out / BUNDLE_FILE,
        signals_nCHW=signals.signals_nCHW,
        budget=signals.budget,
        detector={name: tensor.float().cpu().numpy() for name, tensor in detector.state_dict().items()},
        width=state.sizes.d_conv_dim,
        scores=calibration_scores(signals, offsets, Judge(detector, signals_nCHW, offsets), photos, held_out.people),
        card={
            "system": {name: _plain(value) for name, value in dataclasses.asdict(system).items()},
            "config": {name: _plain(value) for name, value in config.items()},
            "steps": state.step,
            "held_out_people": len(set(held_out.people)),
            # What the strongest signal costs a mid-grey photo before rounding and clipping, in dB.
            "metrics": {"psnr_flat": float(10 * np.log10(255**2 / power))} if signals.count else {},
            "versions": versions(),
        },
    )


def _plain(value: Any) -> Any:
    """A value for the card: of a path on this machine only its last name."""
    if isinstance(value, list | tuple | dict):
        return [_plain(one) for one in (value.values() if isinstance(value, dict) else value)]
    is_path = isinstance(value, Path) or (isinstance(value, str) and Path(value).is_absolute())
    return Path(value).name if is_path else value
