"""One trial: a short training of signals, scored every few steps on photos and generators that it is not trained on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.channels.channels import find_channels
from pipeline.images.levels import pixels_to_unit, unit_to_level, unit_to_pixels
from pipeline.images.quality import psnr
from pipeline.photos.photo import U8, Photo
from pipeline.signals.add import with_signal
from pipeline.signals.bundle import Signals
from pipeline.signals.detector import Detector
from pipeline.signals.judge import CALIBRATION, Judge
from pipeline.signals.judgement import Judgement
from pipeline.signals.key import offsets_of
from pipeline.signals.manipulation import SourceName, load_source, manipulate
from pipeline.signals.measures import average_precision, roc_auc
from pipeline.training.data.batches import Source
from pipeline.training.job import Job, open_state
from pipeline.training.loop import Losses, SaveDue, train
from pipeline.training.options import TrainError
from pipeline.training.report import NOT_LOSSES
from pipeline.training.state import TrainState
from pipeline.training.systems.signals import SignalSystem, signal_set

CHANNEL = "jpeg-85"
"""What the photos go through before the detector sees them."""
CARRIES = 0.99
"""Share of photos without a signal that are told as such."""
REPORTS_FILE = "reports.jsonl"
BATCH = 64


@dataclass(frozen=True)
class HeldOut:
    """What scores are measured on: photos (H, W, 3), generators, and the PSNR in dB that each photo with a signal must have."""

    photos: tuple[U8, ...]
    generators: tuple[SourceName, ...]
    least_psnr: float


@dataclass(frozen=True)
class Report:
    """A trial after a step. ``ap`` is its score: 0 with a ``reason`` when the signals cost too much or the training broke off."""

    step: int
    ap: float
    reason: str = ""
    broken: bool = False
    """Whether the training cannot go on."""
    seconds: float = 0.0
    """Time at work so far, over all starts of the trial."""
    measured: Mapping[str, float] = field(default_factory=dict)
    """ROC-AUC, AP for each generator, mean and lowest PSNR in dB, and the mean of each loss since the report before."""


def run_trial(job: Job, source: Source, held_out: HeldOut, send: Callable[[Report], None]) -> None:
    """Train from the checkpoint in the trial's folder, if there is one, and send each report, those of earlier starts first.

    A training that cannot go on (a loss that is no number, a full disk) ends with a report that says so.
    """
    job.out.mkdir(parents=True, exist_ok=True)
    earlier = read_reports(job.out)
    for report in earlier:
        send(report)
    last = earlier[-1] if earlier else Report(step=0, ap=0.0)
    if last.broken or last.step >= job.settings.steps:
        return
    losses: dict[str, list[float]] = {}
    began = time.monotonic() - last.seconds

    def publish(report: Report) -> None:
        report = replace(report, seconds=time.monotonic() - began)
        with (job.out / REPORTS_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(report)) + "\n")
        send(report)

    state: TrainState | None = None
    try:
        device = "cuda" if job.config.gpus_per_worker else "cpu"
        state = open_state(job, device=device, checkpoint=job.state_file if job.state_file.exists() else None)
        if state.step > last.step:
            publish(score(job.system, state, held_out, {}))
        for event in train(state, job.system, source, job.settings, job.schedule):
            if isinstance(event, Losses):
                for name, value in event.values.items():
                    if name not in NOT_LOSSES:
                        losses.setdefault(name, []).append(value)
            elif isinstance(event, SaveDue):
                state.save(job.state_file)
                publish(score(job.system, state, held_out, {name: float(np.mean(values)) for name, values in losses.items()}))
                losses.clear()
    except TrainError as error:
        publish(Report(step=state.step if state else 0, ap=0.0, reason=str(error), broken=True))


def read_reports(folder: Path) -> list[Report]:
    """The reports in a trial's folder by rising step; a line that a stop cut off is left out."""
    file = folder / REPORTS_FILE
    reports: dict[tuple[int, bool], Report] = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        try:
            report = Report(**json.loads(line))
        except (json.JSONDecodeError, TypeError):
            continue
        reports[report.step, report.broken] = report
    return [reports[key] for key in sorted(reports)]


def score(system: object, state: TrainState, held_out: HeldOut, losses: Mapping[str, float]) -> Report:
    """The score of signals and detector on held-out photos and generators, from 8-bit pixels, with what it is made of.

    Nothing of the training changes by it. Raises TrainError when the detector's answers are not finite numbers.
    """
    net = state.nets.D["detector"]
    if not isinstance(system, SignalSystem) or not isinstance(net, Detector):
        raise TypeError("only trainings of signals are scored")
    signals_nCHW = signal_set(state.nets.G).signals().detach()
    signals = Signals(unit_to_level(signals_nCHW.float().cpu()).numpy(), system.budget)
    offsets = offsets_of(CALIBRATION, signals.count)
    judge = Judge(deepcopy(net).float(), signals_nCHW, offsets)
    signed = [with_signal(Photo(photo, None, "PNG"), signals, offsets) for photo in held_out.photos]
    quality = [psnr(photo, pixels) for photo, pixels in zip(held_out.photos, signed, strict=True)]
    limit = float(np.quantile(np.concatenate([each.likeness_B for each in _judgements(judge, held_out.photos)]), CARRIES))
    untouched = _suspicions(judge, signed, limit)
    truth = [False] * len(signed) + [True] * len(signed)
    ap, auc = {}, []
    for source in held_out.generators:
        scores = np.concatenate([untouched, _suspicions(judge, _translated(signed, source, state.device), limit)])
        if not np.isfinite(scores).all():
            raise TrainError(f"the detector's answers are not finite numbers at step {state.step}")
        ap[f"ap_{source.name}"] = average_precision(scores, truth)
        auc.append(roc_auc(scores, truth))
    measured = {"roc_auc": float(np.mean(auc)), "psnr": float(np.mean(quality)), "psnr_least": min(quality)} | ap | dict(losses)
    if min(quality) < held_out.least_psnr:
        reason = f"signals cost too much: PSNR {min(quality):.1f} dB, expected at least {held_out.least_psnr:g}"
        return Report(step=state.step, ap=0.0, reason=reason, measured=measured)
    return Report(step=state.step, ap=float(np.mean(list(ap.values()))), measured=measured)


def _suspicions(judge: Judge, pictures: Sequence[U8], limit: float) -> NDArray[np.float64]:
    """How likely each picture is manipulated after the channel, 1 where no signal is left, (N,)."""
    return np.concatenate([each.suspicion(limit) for each in _judgements(judge, pictures)])


def _judgements(judge: Judge, pictures: Sequence[U8]) -> list[Judgement]:
    """What the detector says of pictures after the channel, batch by batch."""
    (channel,) = find_channels((CHANNEL,))
    sent = [channel.apply(pixels, i) for i, pixels in enumerate(pictures)]
    return [judge(batch) for batch in _batches(sent)]


@torch.no_grad()
def _translated(pictures: Sequence[U8], source: SourceName, device: torch.device) -> list[U8]:
    """What a generator makes of pictures of one size, a class drawn for each, always the same ones; 8-bit pixels."""
    generator = load_source(source, str(device), torch.float32)
    class_N = torch.rand(len(pictures), generator=torch.Generator().manual_seed(0))
    translated: list[U8] = []
    for i in range(0, len(pictures), BATCH):
        levels_BCHW = torch.from_numpy(np.stack(pictures[i : i + BATCH])).permute(0, 3, 1, 2).float().to(device)
        fake_BCHW = manipulate(generator, pixels_to_unit(levels_BCHW), class_N[i : i + BATCH])
        pixels_BHWC = unit_to_pixels(fake_BCHW).permute(0, 2, 3, 1).to(torch.uint8).cpu().contiguous().numpy()
        translated += list(pixels_BHWC)
    return translated


def _batches(pictures: Sequence[U8]) -> Iterator[Sequence[U8]]:
    return (pictures[i : i + BATCH] for i in range(0, len(pictures), BATCH))
