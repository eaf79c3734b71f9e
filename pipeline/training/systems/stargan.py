"""StarGAN's recipe, in two regimes: as published, and one for few images and hours of CPU. Source: [C18], FACTS section 3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from pipeline.generators.stargan import StarGANGenerator
from pipeline.training.data.labels import ATTRIBUTES, class_conditions, draw_target, hair_count, label_conditions
from pipeline.training.systems.faces_game import FacesGame
from pipeline.training.systems.losses import classification
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
    name: str = "stargan"

    def generator(self, conv_dim: int) -> tuple[nn.Module, int]:
        """G, and the number of attributes."""
        return StarGANGenerator(conv_dim, len(self.attributes)), len(self.attributes)

    def misread(self, read_BK: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy of the known attributes."""
        return classification(read_BK, batch["labels"], batch["known"])

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
        drawn = {"c": c_BK, "target": target_BK, "target_known": target_known_BK, "back": back_BK}
        # Images whose cycle is not closed weigh nothing; the others are spread evenly and weigh so that the mean is 1.
        cycled = max(1, round(self.rec_share * B))
        weights_B = torch.zeros(B).index_fill(0, (torch.arange(cycled) * B) // cycled, B / cycled)
        return {**batch, **drawn, **self.draw_d_views(batch, rng), "cycle_weight": weights_B.to(batch["image"])}

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
        adv, read_BK = self.judge(nets, batch, fake_BCHW)
        parts = {
            "g_adv": adv,
            "g_cls": classification(read_BK, batch["target"], batch["target_known"]),
            "g_rec": self._cycle(nets.G["G"], fake_BCHW, batch),
            "g_keep": (fake_BCHW - photo_BCHW).abs().mean(),
        }
        return weigh(parts, {"g_cls": self.cls, "g_rec": self.rec, "g_keep": self.keep})

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


REGIMES: dict[str, StarGANSystem] = {
    "few-images": StarGANSystem(),
    "published": StarGANSystem(game="wasserstein", conditions="labels", rec_share=1.0, keep=0.0, gp=10.0, r1=0.0, augment=False),
}
"""``few-images`` is for hundreds of images: hinge, lazy R1, augmentation before D. The published D moves five times as often."""
