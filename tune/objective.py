"""One trial: a short training of signals that is scored every so many steps on photos and generators it does not train on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from pipeline.channels.channels import find_channels
from pipeline.images.levels import pixels_to_unit, unit_to_level, unit_to_pixels
from pipeline.images.quality import psnr
from pipeline.photos.photo import U8, Photo
from pipeline.signals.add import with_signal
from pipeline.signals.bundle import Bundle
from pipeline.signals.detector import Detector
from pipeline.signals.judge import Judge
from pipeline.signals.measures import average_precision, roc_auc
from pipeline.signals.sources import SourceName, manipulated, opened
from pipeline.training.batches import Source
from pipeline.training.errors import TrainError
from pipeline.training.session import Event, train
from pipeline.training.setup import Job, open_state
from pipeline.training.signals import SignalSystem
from pipeline.training.state import TrainState
from pipeline.training.watch import NOT_LOSSES

CHANNEL = "jpeg-85"
"""What the photos go through before the detector sees them."""
REPORTS_FILE = "reports.jsonl"
AT_A_TIME = 64


@dataclass(frozen=True)
class HeldOut:
    """What scores are measured on: photos (H, W, 3), generators, and the PSNR in dB that each photo with a signal must have."""

    photos: tuple[U8, ...]
    generators: tuple[SourceName, ...]
    least_psnr: float


@dataclass(frozen=True)
class Report:
    """What a trial says after a step. ``ap`` is its score: 0 with a ``reason`` when the signals cost too much or it broke off."""

    step: int
    ap: float
    reason: str = ""
    broken: bool = False
    """Whether the training cannot go on."""
    seconds: float = 0.0
    """How long the trial has worked so far, over all its starts."""
    measured: Mapping[str, float] = field(default_factory=dict)
    """ROC-AUC, AP for each generator, mean and lowest PSNR in dB, and the mean of each loss since the report before."""


def run_trial(job: Job, source: Source, held_out: HeldOut, tell: Callable[[Report], None]) -> None:
    """Train from wherever the trial's folder is, and tell each report, those of before a stop first.

    A training that cannot go on (a loss that is no number, a full disk) ends with a report that says so.
    """
    job.out.mkdir(parents=True, exist_ok=True)
    told = read_reports(job.out)
    for report in told:
        tell(report)
    if told and (told[-1].broken or told[-1].step >= job.settings.steps):
        return
    losses = _Losses()
    began = time.monotonic() - (told[-1].seconds if told else 0.0)

    def note(report: Report) -> None:
        report = replace(report, seconds=time.monotonic() - began)
        with (job.out / REPORTS_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(report)) + "\n")
        tell(report)

    def save(state: TrainState) -> None:
        state.save(job.state_file)
        note(score(job.system, state, held_out, losses.taken()))

    state: TrainState | None = None
    try:
        device = "cuda" if job.config.gpus_per_worker else "cpu"
        state = open_state(job, device=device, checkpoint=job.state_file if job.state_file.exists() else None)
        if state.step > (told[-1].step if told else 0):
            note(score(job.system, state, held_out, {}))
        train(job, state, source, tell=losses, save=save)
    except TrainError as error:
        note(Report(step=state.step if state else 0, ap=0.0, reason=str(error), broken=True))


def read_reports(folder: Path) -> list[Report]:
    """The reports that a trial has written down, by rising step; a line that a stop cut off is left out."""
    file = folder / REPORTS_FILE
    found: dict[tuple[int, bool], Report] = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        try:
            report = Report(**json.loads(line))
        except (json.JSONDecodeError, TypeError):
            continue
        found[report.step, report.broken] = report
    return [found[place] for place in sorted(found)]


def score(system: object, state: TrainState, held_out: HeldOut, losses: Mapping[str, float]) -> Report:
    """What the signals and the detector of a training are worth on held-out photos and generators, from 8-bit pixels.

    Nothing of the training changes by it. Raises TrainError when the detector's answers are not finite numbers.
    """
    net = state.nets.D["D"]
    if not isinstance(system, SignalSystem) or not isinstance(net, Detector):
        raise TypeError("only trainings of signals are scored")
    signals_nCHW = state.nets.G["G"]().detach()
    bundle = Bundle(
        id="",
        signals_nCHW=unit_to_level(signals_nCHW.float().cpu()).numpy(),
        budget=system.budget,
        width=state.sizes.d_conv_dim,
        scores={},
        card={},
        path=Path(),
    )
    judge = Judge.of(deepcopy(net).float(), signals_nCHW)
    signed = [with_signal(Photo(photo, None, "PNG"), bundle, i % bundle.count) for i, photo in enumerate(held_out.photos)]
    quality = [psnr(photo, pixels) for photo, pixels in zip(held_out.photos, signed, strict=True)]
    untouched = _judged(judge, signed)
    truth = [False] * len(signed) + [True] * len(signed)
    ap, auc = {}, []
    for source in held_out.generators:
        scores = np.concatenate([untouched, _judged(judge, _translated(source, signed, state.device))])
        if not np.isfinite(scores).all():
            raise TrainError(f"the detector's answers are not finite numbers at step {state.step}")
        ap[f"ap_{source.name}"] = average_precision(scores, truth)
        auc.append(roc_auc(scores, truth))
    measured = {"roc_auc": float(np.mean(auc)), "psnr": float(np.mean(quality)), "psnr_least": min(quality)} | ap | dict(losses)
    if min(quality) < held_out.least_psnr:
        costs = f"signals cost too much: PSNR {min(quality):.1f} dB, expected at least {held_out.least_psnr:g}"
        return Report(step=state.step, ap=0.0, reason=costs, measured=measured)
    return Report(step=state.step, ap=float(np.mean(list(ap.values()))), measured=measured)


def _judged(judge: Judge, pictures: Sequence[U8]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """The probability of manipulation of each picture after the channel."""
    (channel,) = find_channels((CHANNEL,))
    arrived = [channel.apply(pixels, i) for i, pixels in enumerate(pictures)]
    parts = [judge(arrived[i : i + AT_A_TIME]).manipulated_B for i in range(0, len(arrived), AT_A_TIME)]
    return np.concatenate(parts)


@torch.no_grad()
def _translated(source: SourceName, pictures: Sequence[U8], device: torch.device) -> list[U8]:
    """What a generator makes of pictures of one size, a class drawn for each, always the same ones; 8-bit pixels."""
    generator = opened(source, str(device), torch.float32)
    class_N = torch.rand(len(pictures), generator=torch.Generator().manual_seed(0))
    translated: list[U8] = []
    for i in range(0, len(pictures), AT_A_TIME):
        levels_BCHW = torch.from_numpy(np.stack(pictures[i : i + AT_A_TIME])).permute(0, 3, 1, 2).float().to(device)
        fake_BCHW = manipulated(generator, pixels_to_unit(levels_BCHW), class_N[i : i + AT_A_TIME])
        pixels_BHWC = unit_to_pixels(fake_BCHW).permute(0, 2, 3, 1).to(torch.uint8).cpu().contiguous().numpy()
        translated += list(pixels_BHWC)
    return translated


class _Losses:
    """Takes the events of a training; gives the mean of each loss since the last time it was asked."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}

    def __call__(self, event: Event) -> None:
        for name, value in (event.values or {}).items():
            if name not in NOT_LOSSES:
                self._values.setdefault(name, []).append(value)

    def taken(self) -> dict[str, float]:
        means = {name: float(np.mean(values)) for name, values in self._values.items()}
        self._values = {}
        return means
