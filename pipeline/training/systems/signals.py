"""Signals and their detector, learned together: L = l1 L_b + l2 L_m + l3 L_c + l4 L_s + l5 L_p. Source: [A22], FACTS section 5.

G holds the set of signals, D the detector. Its examples of manipulation come from frozen networks and from random edits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.images.resize import resize
from pipeline.signals import losses
from pipeline.signals.bundle import HANDLINGS
from pipeline.signals.detector import Detector, detector_input, place
from pipeline.signals.edits import Draws, blob, edit_part, edit_whole
from pipeline.signals.handling import Handling, random_handling
from pipeline.signals.manipulation import SourceName, load_source, manipulate
from pipeline.signals.signal_set import SignalSet, add_signals, grey_signals, mixed_signals, phases_of, turn_grey
from pipeline.training.options import TrainError
from pipeline.training.systems.system import Batch, Images, Nets, Parts, Sizes, System, check_side, weigh

AMPLIFIED = 20
"""How much stronger a signal is drawn in sample pictures."""
MOVED_FROM, MOVED_AT = 50, 250
"""In the first steps photos stay in place, from the last on all may be cropped, mirrored and turned."""
STRONG, STRONG_UNTIL, FULL_AT = 2.0, 200, 500
"""Signals are added so many times stronger at first, then less and less, and from the last step on as they are."""
UNTOUCHED, MANIPULATED, CHANGED, CARRIED = "untouched", "manipulated", "changed", "carried"


@dataclass(frozen=True)
class SignalSystem(System):
    """The five terms of the loss with their weights l1..l5, two terms beside them, and what is learned against what."""

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
    recovery: float = 2.0
    """Weight of the extra term of [A22], the signal recovered from an untouched photo; 0 leaves it out."""
    changed: float = 1.0
    """Weight of an addition of this project: telling changed places of a photo from others; 0 leaves it out."""
    dc: float = 1.0
    """Weight of a signal's mean within L_c."""
    k: float = 0.6
    """Share of the spectrum's sides that is its middle, in L_c."""
    region: losses.Region = "high"
    """Which part of the spectrum costs: low (as the formula is written), or high (as its text wishes)."""
    count: int = 4
    """Number of signals; 0 gives the passive detector, which has only the photos to go by."""
    budget: float = 1.5
    """Largest change of a pixel by a signal, in levels."""
    sources: tuple[SourceName, ...] = (SourceName("stargan-faces"),)
    through_generators: bool = False
    """Whether the signals' gradient passes the generators; without it they only give examples (black box)."""
    edits: float = 0.75
    """Share of the manipulated photos that are random edits, whole or in part, instead of a network's."""
    handlings: tuple[str, ...] = HANDLINGS
    """What may happen to photos that stay untouched."""
    grey: float = 0.1
    """Share of the photos that are turned grey before they get their signal, which is then one plane of it."""
    warm_up: bool = True
    """Whether the first steps are easier: photos in place and signals stronger. Not for nets that start trained."""
    name: str = "signals"

    def build(self, sizes: Sizes) -> Nets:
        """The signals, and the detector of width ``d_conv_dim``; raises TrainError for a side or width they cannot take."""
        check_side(sizes.image, multiple=8, least=16)
        if sizes.d_conv_dim % 8:
            raise TrainError(f"--d-conv-dim of signals must be a multiple of 8, not {sizes.d_conv_dim}")
        signals = SignalSet(self.count, size=sizes.image, budget_levels=self.budget)
        return Nets(
            nn.ModuleDict({"signals": signals}), nn.ModuleDict({"detector": Detector(size=sizes.image, width=sizes.d_conv_dim)})
        )

    def draw(self, batch: Batch, step: int, rng: torch.Generator) -> Batch:
        """Adds to each photo another one, offsets, class, edit, two handlings, and whether it is grey; to all one network."""
        B = len(batch["image"])
        moved = min(max((step - MOVED_FROM) / (MOVED_AT - MOVED_FROM), 0.0), 1.0)
        strong = min(max((FULL_AT - step) / (FULL_AT - STRONG_UNTIL), 0.0), 1.0)
        if not self.warm_up:
            moved, strong = 1.0, 0.0
        return {
            **batch,
            "other": batch["image"].roll(1, 0),
            "source": torch.full((B,), int(torch.randint(0, len(self.sources), (), generator=rng))),
            "offset": torch.rand(B, self.count // 2, generator=rng) * 2 * math.pi,
            "class": torch.rand(B, generator=rng),
            "edit": torch.randint(0, 2**62, (B,), generator=rng),
            "edited": torch.rand(B, generator=rng) < self.edits,
            "handling": torch.randint(0, 2**62, (B, 2), generator=rng),
            "moved": torch.rand(B, generator=rng) < moved,
            "grey": torch.rand(B, generator=rng) < self.grey,
            "strength": torch.full((B,), 1 + (STRONG - 1) * strong),
        }

    def inputs(self, batch: Batch) -> Images:
        """The photos, some of them grey."""
        return {"photo": turn_grey(batch["image"], batch["grey"])}

    def reals(self, batch: Batch) -> Images:
        """None: the detector learns from photos with a signal alone; whether there is one is told by its likeness."""
        return {}

    def translate(self, G: nn.ModuleDict, inputs: Images, batch: Batch) -> Images:
        """Photos with their signals, untouched and manipulated, as they arrive; where these were changed; and what they carried."""
        with torch.autocast(inputs["photo"].device.type, enabled=False):  # it would round away single levels
            return self._arrived(signal_set(G), inputs["photo"], batch)

    def _arrived(self, signals: SignalSet, photo_BCHW: Tensor, batch: Batch) -> Images:
        side = photo_BCHW.shape[-1] // 2
        signed_BCHW, carried_BCHW = photo_BCHW, photo_BCHW.new_zeros(len(photo_BCHW), 3, side, side)
        if self.count:
            carried_BCHW = _asked_for(signals.signals(), photo_BCHW, batch)
            signal_BCHW = signals.cut(carried_BCHW) * batch["strength"].to(photo_BCHW)[:, None, None, None]
            signed_BCHW = add_signals(photo_BCHW, F.interpolate(signal_BCHW, scale_factor=2, mode="bicubic", align_corners=False))
        with torch.set_grad_enabled(self.through_generators and torch.is_grad_enabled()):
            fake_BCHW, changed_B1HW = self._manipulated(signed_BCHW, batch)
        arrived: dict[str, list[Tensor]] = {UNTOUCHED: [], MANIPULATED: [], CHANGED: []}
        for i, (as_signed, after) in enumerate(self._handlings(batch)):
            arrived[UNTOUCHED].append(detector_input(as_signed(signed_BCHW[i : i + 1]), side))
            arrived[MANIPULATED].append(detector_input(after(fake_BCHW[i : i + 1]), side))
            arrived[CHANGED].append(resize(after.move(changed_B1HW[i : i + 1]), (side // 2, side // 2)))
        return {name: torch.cat(images) for name, images in arrived.items()} | {CARRIED: carried_BCHW}

    def score(self, D: nn.ModuleDict, name: str, images_BCHW: Tensor, batch: Batch) -> Tensor:
        """The detector's logit without a signal to compare with, (B,)."""
        return _logit_alone(D["detector"], images_BCHW)

    def d_loss(self, nets: Nets, batch: Batch, real: Images, fake: Images, step: int) -> tuple[Tensor, Parts]:
        """The terms that look at the detector: L_b, L_s, recovery and the changed places."""
        with torch.no_grad():
            signals_nCHW = signal_set(nets.G).signals()
        return self._weigh(self._terms(_detector(nets.D["detector"]), signals_nCHW, fake, batch), prefix="d_")

    def g_loss(self, nets: Nets, batch: Batch, inputs: Images, fake: Images, step: int) -> tuple[Tensor, Parts]:
        """All terms, by the signals."""
        signals_nCHW = signal_set(nets.G).signals()
        terms = self._terms(_detector(nets.D["detector"]), signals_nCHW, fake, batch)
        terms["magnitude"] = losses.magnitude(signals_nCHW)
        terms["spectrum"] = losses.filtered_energy(signals_nCHW, k=self.k, region=self.region, dc=self.dc)
        terms["pairwise"] = losses.pairwise(signals_nCHW)
        return self._weigh(terms, prefix="g_")

    def samples(self, G: nn.ModuleDict, batch: Batch) -> list[Tensor]:
        """The photo, with its signal, the signal alone and amplified, and what each generator makes of it."""
        photo_BCHW = batch["image"]
        class_B = torch.rand(len(photo_BCHW), generator=torch.Generator().manual_seed(0))
        signal_BCHW = torch.zeros_like(photo_BCHW)
        if self.count:
            signals = signal_set(G)
            colour = {
                "offset": torch.zeros(len(photo_BCHW), self.count // 2),
                "grey": torch.zeros(len(photo_BCHW), dtype=torch.bool),
            }
            mixed_BCHW = signals.cut(_asked_for(signals.signals(), photo_BCHW, colour))
            signal_BCHW = F.interpolate(mixed_BCHW, photo_BCHW.shape[2:], mode="bicubic", align_corners=False)
        signed_BCHW = add_signals(photo_BCHW, signal_BCHW)
        generators = [load_source(source, str(signed_BCHW.device), signed_BCHW.dtype) for source in self.sources]
        fakes = [manipulate(generator, signed_BCHW, class_B) for generator in generators]
        return [photo_BCHW, signed_BCHW, (AMPLIFIED * signal_BCHW).clamp(-1, 1), *fakes]

    def _terms(self, detector: Detector, signals_nCHW: Tensor, shown: Images, batch: Batch) -> Parts:
        """What detector and signals minimise together, on images that are untouched and manipulated, each beside its signal."""
        images_BCHW, B = torch.cat([shown[UNTOUCHED], shown[MANIPULATED]]), len(shown[UNTOUCHED])
        recovery = detector.recover(images_BCHW)
        ways = list(zip(*self._handlings(batch), strict=True))
        exact, searched = (
            torch.stack([one.placement(searched=off) for way in ways for one in way]).to(images_BCHW) for off in (False, True)
        )
        wanted = torch.zeros_like(images_BCHW)
        if self.count:
            two = {name: torch.cat([batch[name], batch[name]]) for name in ("offset", "grey")}
            wanted = _asked_for(signals_nCHW, images_BCHW, two, searched)
        detection = detector(images_BCHW, recovery, wanted)
        untouched, manipulated = detection.logit_B.chunk(2)
        bce = [losses.detection(each, torch.full_like(each, r)) for each, r in ((untouched, 1.0), (manipulated, 0.0))]
        changed_B1HW = torch.cat([torch.zeros_like(shown[CHANGED]), shown[CHANGED]]).clamp(0, 1)
        terms = {
            "detection": (bce[0] + bce[1]) / 2,
            "changed": F.binary_cross_entropy_with_logits(detection.changed_B1HW, changed_B1HW.to(detection.changed_B1HW)),
        }
        if self.count:
            recovered = recovery.signals_B3SS
            terms["recovery"] = losses.recovery(place(shown[CARRIED], exact[:B]), recovered[:B])
            whole_B = (shown[CHANGED].amin((1, 2, 3)) > 0.99).to(recovered)
            terms["separation"] = losses.separation(signals_nCHW, recovered[B:], weight_B=whole_B)
        return terms

    def _manipulated(self, signed_BCHW: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Each photo after a network or an edit, of the whole or a part, and the weight (B, 1, H, W) of the change from 0 to 1."""
        fake_BCHW, changed_B1HW = signed_BCHW.clone(), torch.ones_like(signed_BCHW[:, :1])
        by_network = torch.nonzero(~batch["edited"]).flatten().tolist()
        if by_network:
            generator = load_source(self.sources[int(batch["source"][0])], str(signed_BCHW.device), signed_BCHW.dtype)
            fake_BCHW[by_network] = manipulate(generator, signed_BCHW[by_network], batch["class"][by_network].cpu())
        for i, seed in enumerate(batch["edit"].tolist()):
            draws, x_13HW = Draws(torch.Generator().manual_seed(seed)), signed_BCHW[i : i + 1].float()
            kind = draws.pick(4)
            if batch["edited"][i]:
                with torch.no_grad():  # a random edit is an example, as a black box is
                    if kind < 2:
                        fake, changed = edit_whole(x_13HW, batch["other"][i : i + 1].float(), draws), changed_B1HW[i : i + 1]
                    else:
                        fake, changed = edit_part(x_13HW, batch["other"][i : i + 1].float(), draws)
            else:  # the network's picture; blended with the photo; or in a part of it
                changed = blob(tuple(x_13HW.shape[2:]), draws).to(x_13HW) if kind == 3 else changed_B1HW[i : i + 1]
                share = draws.uniform(0.25, 1) if kind == 2 else 1.0
                fake = x_13HW + share * changed * (fake_BCHW[i : i + 1] - x_13HW)
            fake_BCHW[i : i + 1], changed_B1HW[i : i + 1] = fake, changed
        return fake_BCHW, changed_B1HW

    def _handlings(self, batch: Batch) -> list[tuple[Handling, Handling]]:
        """Of each photo: what happens to it untouched, and after it was manipulated."""
        rows = zip(batch["handling"].tolist(), batch["moved"].tolist(), strict=True)
        return [
            (one, other)
            for seeds, moved in rows
            for one, other in [
                [random_handling(Draws(torch.Generator().manual_seed(seed)), self.handlings, moved=moved) for seed in seeds]
            ]
        ]

    def _weigh(self, terms: Parts, *, prefix: str) -> tuple[Tensor, Parts]:
        return weigh({prefix + name: term for name, term in terms.items()}, {prefix + name: getattr(self, name) for name in terms})


def signal_set(G: nn.ModuleDict) -> SignalSet:
    """The signals among the networks of a training; raises TypeError for a training of anything else."""
    net = dict(G.items()).get("signals")
    if not isinstance(net, SignalSet):
        raise TypeError("only a training of signals has a SignalSet")
    return net


def _logit_alone(net: nn.Module, images_BCHW: Tensor) -> Tensor:
    detector = _detector(net)
    logit_B: Tensor = detector(images_BCHW, detector.recover(images_BCHW), torch.zeros_like(images_BCHW)).logit_B
    return logit_B


def _detector(net: nn.Module) -> Detector:
    if not isinstance(net, Detector):
        raise TypeError(f"signals are learned with a Detector, not a {type(net).__name__}")
    return net


def _asked_for(signals_nCHW: Tensor, x_B3HW: Tensor, batch: Mapping[str, Tensor], placement_B23: Tensor | None = None) -> Tensor:
    """The mixture of signals that each picture of any size asks for by its own tints, (B, 3, S, S), where they lie in it."""
    S = signals_nCHW.shape[-1]
    phase_BmHW = phases_of(resize(x_B3HW.detach(), (S, S)), len(signals_nCHW))
    mixed_B3HW = mixed_signals(signals_nCHW, phase_BmHW, batch["offset"], placement_B23)
    return torch.where(batch["grey"].to(x_B3HW.device)[:, None, None, None], grey_signals(mixed_B3HW), mixed_B3HW)
