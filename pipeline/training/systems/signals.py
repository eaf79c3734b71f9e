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
from pipeline.signals.detector import Detector
from pipeline.signals.manipulation import SourceName, apply_random_channel, load_source, manipulate
from pipeline.signals.signal_set import SignalSet, add_signals, grey_signals, turn_grey
from pipeline.training.options import TrainError
from pipeline.training.systems.system import Batch, Images, Nets, Parts, Sizes, System, check_side, weigh

AMPLIFIED = 20
"""How much stronger a signal is drawn in sample pictures."""


@dataclass(frozen=True)
class SignalSystem(System):
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
    name: str = "signals"

    def build(self, sizes: Sizes) -> Nets:
        """The signals, and the detector of width ``d_conv_dim``; raises TrainError for a side or width they cannot take."""
        check_side(sizes.image, multiple=4, least=16)
        if sizes.d_conv_dim % 8:
            raise TrainError(f"--d-conv-dim of signals must be a multiple of 8, not {sizes.d_conv_dim}")
        signals = SignalSet(self.count, size=sizes.image, budget_levels=self.budget)
        return Nets(
            nn.ModuleDict({"signals": signals}), nn.ModuleDict({"detector": Detector(size=sizes.image, width=sizes.d_conv_dim)})
        )

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
        generator = load_source(self.sources[int(batch["source"][0])], str(with_signal_BCHW.device), with_signal_BCHW.dtype)
        with torch.set_grad_enabled(self.through_generators and torch.is_grad_enabled()):
            fake_BCHW = manipulate(generator, with_signal_BCHW, batch["class"])
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
        shown = fake | (real if self.plain and self.count else {})
        return self._weigh(self._terms(nets.D["detector"], signals_nCHW, shown, batch), prefix="d_")

    def g_loss(self, nets: Nets, batch: Batch, inputs: Images, fake: Images, step: int) -> tuple[Tensor, Parts]:
        """All terms, by the signals."""
        signals_nCHW = signal_set(nets.G).signals()
        terms = self._terms(nets.D["detector"], signals_nCHW, fake, batch)
        terms["magnitude"] = losses.magnitude(signals_nCHW)
        terms["spectrum"] = losses.filtered_energy(signals_nCHW, k=self.k, region=self.region, dc=self.dc)
        terms["pairwise"] = losses.pairwise(signals_nCHW)
        return self._weigh(terms, prefix="g_")

    def samples(self, G: nn.ModuleDict, batch: Batch) -> list[Tensor]:
        """The photo, with its signal, the signal alone and amplified, and what each generator makes of it."""
        photo_BCHW = batch["image"]
        class_B = torch.rand(len(photo_BCHW), generator=torch.Generator().manual_seed(0))
        which_B = torch.arange(len(photo_BCHW)) % max(self.count, 1)
        signal_BCHW = signal_set(G).signals()[which_B] if self.count else torch.zeros_like(photo_BCHW)
        signed_BCHW = add_signals(photo_BCHW, signal_BCHW)
        generators = [load_source(source, str(signed_BCHW.device), signed_BCHW.dtype) for source in self.sources]
        fakes = [manipulate(generator, signed_BCHW, class_B) for generator in generators]
        return [photo_BCHW, signed_BCHW, (AMPLIFIED * signal_BCHW).clamp(-1, 1), *fakes]

    def _terms(self, detector: nn.Module, signals_nCHW: Tensor, shown: Images, batch: Batch) -> Parts:
        """What detector and signals minimise together, on images that are untouched, manipulated and, for the detector, plain."""
        detection = detector(torch.cat(list(shown.values())))
        logits = dict(zip(shown, detection.logit_B.chunk(len(shown)), strict=True))
        recovered = dict(zip(shown, detection.recovered_B3SS.chunk(len(shown)), strict=True))
        bce = {name: losses.detection(each, torch.full_like(each, float(name == "untouched"))) for name, each in logits.items()}
        terms = {"detection": (bce["untouched"] + bce["manipulated"]) / 2}
        if "plain" in bce:
            terms["plain"] = bce["plain"]
        if self.count:
            terms["recovery"] = losses.recovery(_signal_of_each(signals_nCHW, batch), recovered["untouched"])
            terms["separation"] = losses.separation(signals_nCHW, recovered["manipulated"])
        return terms

    def _weigh(self, terms: Parts, *, prefix: str) -> tuple[Tensor, Parts]:
        weights = {prefix + name: getattr(self, name) for name in terms} | {f"{prefix}plain": self.detection * self.plain}
        return weigh({prefix + name: term for name, term in terms.items()}, weights)


def signal_set(G: nn.ModuleDict) -> SignalSet:
    """The signals among the networks of a training; raises TypeError for a training of anything else."""
    net = dict(G.items()).get("signals")
    if not isinstance(net, SignalSet):
        raise TypeError("only a training of signals has a SignalSet")
    return net


def _signal_of_each(signals_nCHW: Tensor, batch: Batch) -> Tensor:
    """The signal that each photo carries."""
    signal_BCHW = signals_nCHW[batch["signal"]]
    return torch.where(batch["grey"][:, None, None, None], grey_signals(signal_BCHW), signal_BCHW)
