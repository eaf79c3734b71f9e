"""Signals and their detector, learned together: L = l1 L_b + l2 L_m + l3 L_c + l4 L_s + l5 L_p. Source: [A22], FACTS section 5.

G holds the set of signals, D the detector. The generators whose manipulations the detector learns to see are frozen; each batch
draws one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.signals import losses
from pipeline.signals.bundle import JOURNEYS
from pipeline.signals.detector import Detection, Detector
from pipeline.signals.manipulation import SourceName, apply_random_channel, load_source, manipulate
from pipeline.signals.signal_set import SignalSet, add_signals, grey_signals, turn_grey
from pipeline.training.errors import TrainError
from pipeline.training.sizes import checked_side
from pipeline.training.system import Batch, Images, Nets, Parts, Sizes, System

AMPLIFIED = 20
"""How much stronger a signal is drawn in sample pictures."""


@dataclass(frozen=True)
class SignalSystem:
    """The five terms of the loss with their weights l1..l5, the recovery term, and what is learned against what."""

    detection: float = 1.0
    """l1: weight of L_b, telling untouched from manipulated."""
    magnitude: float = 50.0
    """l2: weight of L_m, the power of a signal."""
    spectrum: float = 10.0
    """l3: weight of L_c, the power in the part of the spectrum that ``region`` names."""
    separation: float = 0.1
    """l4: weight of L_s, a manipulated photo's recovered signal unlike all signals."""
    pairwise: float = 1.0
    """l5: weight of L_p, signals unlike each other."""
    recovery: float = 5.0
    """Weight of the extra term of [A22], the signal recovered from an untouched photo; 0 gives the loss of five terms."""
    plain: float = 0.5
    """Weight in L_b of photos that carry no signal, which count as not untouched; 0 is the published form."""
    dc: float = 1.0
    """Weight of a signal's mean within L_c."""
    k: float = 0.6
    """Share of the spectrum's sides that is its middle, in L_c."""
    region: losses.Region = "high"
    """Which part of the spectrum costs: low (as the formula is written), or high (as its text wishes)."""
    count: int = 4
    """Number of signals; 0 gives the passive detector, which has only the photos to go by."""
    budget: float = 3.0
    """Largest change of a pixel by a signal, in levels."""
    sources: tuple[SourceName, ...] = (SourceName("stargan-faces"),)
    through_generators: bool = False
    """Whether the signals' gradient passes the generators; without it they only give examples (black box)."""
    journeys: tuple[str, ...] = JOURNEYS
    """What may happen to photos before the detector sees them."""
    grey: float = 0.125
    """Share of the photos that are turned grey before they get their signal, which is then one plane of it."""
    published_d_steps: int = 2
    name: str = "signals"

    def build(self, sizes: Sizes) -> Nets:
        """The signals, and the detector of width ``d_conv_dim``; raises TrainError for a side or width they cannot take."""
        side = checked_side(sizes.image, multiple=4, least=16)
        if sizes.d_conv_dim % 8:
            raise TrainError(f"the detector's width is {sizes.d_conv_dim}; expected a multiple of 8 (--d-conv-dim)")
        signals = SignalSet(self.count, size=side, budget_levels=self.budget)
        return Nets(nn.ModuleDict({"signals": signals}), nn.ModuleDict({"detector": Detector(size=side, width=sizes.d_conv_dim)}))

    def draw(self, batch: Batch, step: int, rng: torch.Generator) -> Batch:
        """Adds to each photo its signal, its class, its three journeys and whether it is grey; and one generator to all of them."""
        B = len(batch["image"])
        source = int(torch.randint(0, len(self.sources), (), generator=rng))
        return {
            **batch,
            "source": torch.full((B,), source),
            "signal": torch.randint(0, max(self.count, 1), (B,), generator=rng),
            "class": torch.rand(B, generator=rng),
            "journey": torch.randint(0, 2**62, (B, 3), generator=rng),
            "grey": torch.rand(B, generator=rng) < self.grey,
        }

    def inputs(self, batch: Batch) -> Images:
        """The photos, some of them grey."""
        return {"photo": turn_grey(batch["image"], batch["grey"])}

    def reals(self, batch: Batch) -> Images:
        """Photos without a signal, as they arrive."""
        return {"plain": apply_random_channel(self.inputs(batch)["photo"], batch["journey"][:, 2], self.journeys)}

    def translate(self, G: nn.ModuleDict, inputs: Images, batch: Batch) -> Images:
        """Photos with their signals, untouched and manipulated, both as they arrive at the detector."""
        photo_BCHW = inputs["photo"]
        signals_nCHW = signal_set(G).signals()
        with_signal_BCHW = add_signals(photo_BCHW, _signal_of_each(signals_nCHW, batch)) if self.count else photo_BCHW
        fake_BCHW = self._manipulated(with_signal_BCHW, batch)
        both = {"untouched": (with_signal_BCHW, 0), "manipulated": (fake_BCHW, 1)}
        return {name: apply_random_channel(x_BCHW, batch["journey"][:, way], self.journeys) for name, (x_BCHW, way) in both.items()}

    def score(self, D: nn.ModuleDict, name: str, images_BCHW: Tensor, batch: Batch) -> Tensor:
        """The detector's logit, (B,)."""
        logit_B: Tensor = D["detector"](images_BCHW).logit_B
        return logit_B

    def d_loss(self, nets: Nets, batch: Batch, real: Images, fake: Images, step: int) -> tuple[Tensor, Parts]:
        """The terms that look at the detector: L_b, L_s and recovery."""
        with torch.no_grad():
            signals_nCHW = signal_set(nets.G).signals()
        return self._loss(nets.D["detector"], signals_nCHW, fake | (real if self.plain and self.count else {}), batch, prefix="d_")

    def g_loss(self, nets: Nets, batch: Batch, inputs: Images, fake: Images, step: int) -> tuple[Tensor, Parts]:
        """All terms, by the signals."""
        signals_nCHW = signal_set(nets.G).signals()
        loss, parts = self._loss(nets.D["detector"], signals_nCHW, fake, batch, prefix="g_")
        own = {
            "g_magnitude": losses.magnitude(signals_nCHW),
            "g_spectrum": losses.filtered_energy(signals_nCHW, k=self.k, region=self.region, dc=self.dc),
            "g_pairwise": losses.pairwise(signals_nCHW),
        }
        loss = loss + self.magnitude * own["g_magnitude"] + self.spectrum * own["g_spectrum"] + self.pairwise * own["g_pairwise"]
        return loss, parts | {name: part.detach() for name, part in own.items()}

    def _manipulated(self, x_BCHW: Tensor, batch: Batch) -> Tensor:
        source = self.sources[int(batch["source"][0])]
        generator = load_source(source, str(x_BCHW.device), x_BCHW.dtype)
        if self.through_generators:
            return manipulate(generator, x_BCHW, batch["class"])
        with torch.no_grad():
            return manipulate(generator, x_BCHW, batch["class"])

    def _loss(self, detector: nn.Module, signals_nCHW: Tensor, shown: Images, batch: Batch, *, prefix: str) -> tuple[Tensor, Parts]:
        """What detector and signals minimise together, on images that are untouched, manipulated and, for the detector, plain."""
        detections = dict(zip(shown, _split(detector(torch.cat(list(shown.values()))), len(shown)), strict=True))
        truth = {name: torch.full_like(each.logit_B, float(name == "untouched")) for name, each in detections.items()}
        bce = {name: losses.detection(each.logit_B, truth[name]) for name, each in detections.items()}
        detection = (bce["untouched"] + bce["manipulated"]) / 2
        loss, parts = self.detection * detection, {f"{prefix}detection": detection}
        if "plain" in bce:
            loss, parts = loss + self.detection * self.plain * bce["plain"], parts | {f"{prefix}plain": bce["plain"]}
        if self.count:
            parts[f"{prefix}recovery"] = losses.recovery(
                _signal_of_each(signals_nCHW, batch), detections["untouched"].recovered_B3SS
            )
            parts[f"{prefix}separation"] = losses.separation(signals_nCHW, detections["manipulated"].recovered_B3SS)
            loss = loss + self.recovery * parts[f"{prefix}recovery"] + self.separation * parts[f"{prefix}separation"]
        return loss, {name: part.detach() for name, part in parts.items()}


def signal_set(G: nn.ModuleDict) -> SignalSet:
    """The signals among the nets of a training; raises TypeError for a training of anything else."""
    net = dict(G.items()).get("signals")
    if not isinstance(net, SignalSet):
        raise TypeError("only a training of signals has a SignalSet")
    return net


def each_signal(system: System, G: nn.ModuleDict, batch: Batch) -> list[Tensor]:
    """Columns of a sample grid: the photo, with its signal, the signal alone and amplified, and what each generator makes of it."""
    if not isinstance(system, SignalSystem):
        raise TypeError(f"only signals are shown like this, not {system.name}")
    photo_BCHW = batch["image"]
    class_B = torch.rand(len(photo_BCHW), generator=torch.Generator().manual_seed(0))
    which_B = torch.arange(len(photo_BCHW)) % max(system.count, 1)
    signal_BCHW = signal_set(G).signals()[which_B] if system.count else torch.zeros_like(photo_BCHW)
    shown = add_signals(photo_BCHW, signal_BCHW)
    fakes = [manipulate(load_source(source, str(shown.device), shown.dtype), shown, class_B) for source in system.sources]
    return [photo_BCHW, shown, (AMPLIFIED * signal_BCHW).clamp(-1, 1), *fakes]


def _signal_of_each(signals_nCHW: Tensor, batch: Batch) -> Tensor:
    """The signal that each photo carries."""
    signal_BCHW = signals_nCHW[batch["signal"]]
    return torch.where(batch["grey"][:, None, None, None], grey_signals(signal_BCHW), signal_BCHW)


def _split(detection: Detection, parts: int) -> list[Detection]:
    pairs = zip(detection.logit_B.chunk(parts), detection.recovered_B3SS.chunk(parts), strict=True)
    return [Detection(logit_B, signal_BCHW) for logit_B, signal_BCHW in pairs]
