"""StarGAN's recipe, in two regimes: as published, and one for few images and hours of CPU. Source: [C18], FACTS section 3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from pipeline.generators.stargan import StarGANGenerator
from pipeline.training.data.labels import ATTRIBUTES, class_conditions, draw_target, hair_count, label_conditions
from pipeline.training.systems.faces_game import FacesGame
from pipeline.training.systems.losses import classification, r1_penalty
from pipeline.training.systems.system import Batch, Images, Nets, Parts, weigh


@dataclass(frozen=True)
class StarGANSystem(FacesGame):
    """G(x, c), and D(x) with a classifier of attributes; the fields tell the regimes apart."""

    attributes: tuple[str, ...] = ATTRIBUTES
    conditions: Literal["three-valued", "labels"] = "three-valued"
    """G's condition: +1 sets, -1 clears, 0 leaves as it is; or all target labels, 0 or 1, taken from other images."""
    rec: float = 10.0
    rec_share: float = 0.5
    """On which share of a batch the cycle is closed."""
    keep: float = 2.0
    """Weight of the L1 distance of a translation from its photo: a light pull that teaches few images' identity early."""
    same: float = 0.0
    """Weight of the L1 distance to the photo where G is asked to change nothing."""
    same_share: float = 0.0
    """Share of a batch that is asked to stay as it is."""
    unfooled: float = 0.0
    """Share of ``cls`` with which D learns to read translated images as they were before, so that no pattern fools it for long."""
    warm_up: int = 0
    """Steps at the start in which G only learns to give photos back, and D to read attributes."""
    name: str = "stargan"

    def generator(self, conv_dim: int) -> tuple[nn.Module, int]:
        """G, and the number of attributes."""
        G = StarGANGenerator(conv_dim, len(self.attributes))
        if self.warm_up:
            bilinear_upsampling(G)
        return G, len(self.attributes)

    def misread(self, read_BK: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy of the known attributes."""
        return classification(read_BK, batch["labels"], batch["known"])

    def d_loss(self, nets: Nets, batch: Batch, real: Images, fake: Images, step: int) -> tuple[Tensor, Parts]:
        """The loss of the game; in the warm-up only what D misreads on photos."""
        if step >= self.warm_up:
            return super().d_loss(nets, batch, real, fake, step)
        view_BCHW = self._view(real["fake"], batch, "view_D")
        read_BK = nets.D["D"](view_BCHW)[1]
        parts = {"d_cls": self.misread(read_BK.to(view_BCHW.dtype), batch)}
        if self.r1 and step % self.r1_every == 0:
            parts["d_r1"] = r1_penalty(lambda x: self.r1_score(nets.D["D"], x, batch), view_BCHW)
        return weigh(parts, {"d_cls": self.cls, "d_r1": 0.5 * self.r1 * self.r1_every})

    def unfooled_loss(self, read_BK: Tensor, batch: Batch) -> Parts:
        """Cross-entropy of the known attributes that were changed, as they were before, times ``unfooled``."""
        if not self.unfooled:
            return {}
        changed_BK = batch["known"] * (batch["target"] != batch["labels"])
        return {"d_unfooled": self.unfooled * classification(read_BK, batch["labels"], changed_BK)}

    def r1_score(self, D: nn.Module, x_BCHW: Tensor, batch: Batch) -> Tensor:
        """The patches, and the true labels' logits where these take part in the game."""
        scores: Tensor
        scores, read_BK = D(x_BCHW)
        if self.unfooled:
            true_BK = (2 * batch["labels"] - 1) * batch["known"] * read_BK
            scores = (scores.flatten(1).mean(1) + true_BK.sum(1))[:, None]
        return scores

    def draw(self, batch: Batch, step: int, rng: torch.Generator) -> Batch:
        """Adds what each image is to become and the way back, whether its cycle is closed, what D sees and where gradients are."""
        labels_BK, known_BK = batch["labels"], batch["known"]
        B = len(labels_BK)
        if self.conditions == "labels":
            order_B = torch.randperm(B, generator=rng)
            target_BK, target_known_BK = labels_BK[order_B], known_BK[order_B]
            c_BK, back_BK = target_BK, labels_BK
        else:
            hair = hair_count(self.attributes)
            c_BK, target_BK, target_known_BK, back_BK = draw_target(labels_BK, known_BK, hair=hair, rng=rng)
        warm = step < self.warm_up
        same = B if warm else round(self.same_share * B)
        stay_BK = labels_BK if self.conditions == "labels" else torch.zeros_like(labels_BK)
        same_B = torch.zeros(B, dtype=torch.bool).index_fill(0, (torch.arange(same) * B) // max(same, 1), True)
        if same:
            c_BK, back_BK = (torch.where(same_B[:, None], stay_BK, c) for c in (c_BK, back_BK))
            target_BK = torch.where(same_B[:, None], labels_BK, target_BK)
            target_known_BK = torch.where(same_B[:, None], known_BK, target_known_BK)
        drawn = {"c": c_BK, "target": target_BK, "target_known": target_known_BK, "back": back_BK}
        # Images whose cycle is not closed weigh nothing; the others are spread evenly and weigh so that the mean is 1.
        edited = (~same_B).nonzero()[:, 0]
        cycled = min(max(1, round(self.rec_share * len(edited))), len(edited))
        weights_B = batch["image"].new_zeros(B)
        if cycled:
            weights_B[edited[(torch.arange(cycled) * len(edited)) // cycled]] = B / cycled
        drawn["same_weight"] = same_B.to(batch["image"]) * (B / max(same, 1))
        return {**batch, **drawn, **self.draw_d_views(batch, rng), "cycle_weight": weights_B}

    def translate(self, G: nn.ModuleDict, inputs: Images, batch: Batch) -> Images:
        """Each photo with its drawn condition."""
        return {"fake": self.edit(G, inputs["fake"], batch["c"])}

    def edit(self, G: nn.ModuleDict, x_BCHW: Tensor, c_BK: Tensor) -> Tensor:
        """G(x, c)."""
        y_BCHW: Tensor = G["G"](x_BCHW, c_BK)
        return y_BCHW

    def classes(self) -> dict[str, list[float]]:
        """The conditions of hair colours and of the other attributes, in the form that G is trained with."""
        return label_conditions(self.attributes) if self.conditions == "labels" else class_conditions(self.attributes)

    def g_loss(self, nets: Nets, batch: Batch, inputs: Images, fake: Images, step: int) -> tuple[Tensor, Parts]:
        """The game, the wished attributes, the way back to the untouched photo, and the distance from it."""
        fake_BCHW, photo_BCHW = fake["fake"], batch["image"]
        same = ((fake_BCHW - photo_BCHW).abs().flatten(1).mean(1) * batch["same_weight"]).mean()
        if step < self.warm_up:
            return weigh({"g_same": same}, {"g_same": self.same or self.rec})
        adv, read_BK = self.judge(nets, batch, fake_BCHW)
        parts = {
            "g_adv": adv,
            "g_cls": classification(read_BK, batch["target"], batch["target_known"]),
            "g_rec": self._cycle(nets.G["G"], fake_BCHW, batch),
            "g_keep": (fake_BCHW - photo_BCHW).abs().mean(),
        }
        if self.same:
            parts["g_same"] = same
        return weigh(parts, {"g_adv": self.adv, "g_same": self.same, "g_cls": self.cls, "g_rec": self.rec, "g_keep": self.keep})

    def _cycle(self, G: nn.Module, fake_BCHW: Tensor, batch: Batch) -> Tensor:
        """Weighted mean L1 of the way there and back; an image of weight zero costs nothing."""
        weights_B = batch["cycle_weight"]
        chosen = weights_B.nonzero()[:, 0]
        if len(chosen) == 0:
            return fake_BCHW.new_zeros(())
        back_BCHW = G(fake_BCHW[chosen], batch["back"][chosen])
        l1_B = (back_BCHW - batch["image"][chosen]).abs().flatten(1).mean(1)
        mean: Tensor = (l1_B * weights_B[chosen]).sum() / len(weights_B)
        return mean


@torch.no_grad()
def bilinear_upsampling(G: nn.Module) -> None:
    """Start the transposed convolutions as bilinear filters that mix channels at random, in place.

    Their first outputs have no grid: the four phases of a 4 x 4 filter of stride 2 then weigh alike.
    """
    filter_4 = torch.tensor([0.25, 0.75, 0.75, 0.25])
    for layer in G.modules():
        if isinstance(layer, nn.ConvTranspose2d):
            mix = layer.weight.mean((2, 3), keepdim=True) * layer.weight[0, 0].numel()
            layer.weight.copy_(mix * torch.outer(filter_4, filter_4))


REGIMES: dict[str, StarGANSystem] = {
    "few-images": StarGANSystem(),
    "sharp": StarGANSystem(
        game="log", rec_share=1.0, keep=1.0, same=10.0, same_share=0.25, unfooled=0.5, warm_up=1200, r1=1.0, r1_every=4, d_layers=4
    ),
    "published": StarGANSystem(game="wasserstein", conditions="labels", rec_share=1.0, keep=0.0, gp=10.0, r1=0.0, augment=False),
}
"""``few-images`` is for hundreds of images: hinge, lazy R1, augmentation before D. The published D moves five times as often."""
