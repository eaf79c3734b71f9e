"""StarGAN's recipe, in two regimes: as published, and one for few images and hours of CPU. Source: [C18], FACTS section 3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from pipeline.generators.stargan import StarGANDiscriminator, StarGANGenerator
from pipeline.training.attributes import ATTRIBUTES, draw_target, hair_count
from pipeline.training.augment import draw_views, for_discriminator
from pipeline.training.errors import TrainError
from pipeline.training.losses import (
    classification,
    gradient_penalty,
    hinge_d,
    hinge_g,
    r1_penalty,
    wasserstein_d,
    wasserstein_g,
)
from pipeline.training.system import Batch, Images, Nets, Parts, Sizes

D_LAYERS = 6
"""D halves the image this often."""

GAMES = {"hinge": (hinge_d, hinge_g), "wasserstein": (wasserstein_d, wasserstein_g)}


@dataclass(frozen=True)
class StarGANSystem:
    """G(x, c) and D(x) with a classifier; the fields are the weights of the losses and what else tells the regimes apart."""

    attributes: tuple[str, ...] = ATTRIBUTES
    game: Literal["hinge", "wasserstein"] = "hinge"
    conditions: Literal["three-valued", "labels"] = "three-valued"
    """What G is told: +1 set, -1 clear, 0 leave as it is; or the wished labels, 0/1, all of them, taken from other images."""
    cls: float = 1.0
    rec: float = 10.0
    rec_share: float = 0.5
    """On which share of a batch the cycle is closed."""
    keep: float = 2.0
    """Weight of the L1 distance of a translation from its photo: a light pull that teaches few images' identity early."""
    gp: float = 0.0
    """Weight of the gradient penalty between real and translated images."""
    r1: float = 5.0
    r1_every: int = 16
    """The R1 penalty is taken in one step of so many, with so many times its weight."""
    augment: bool = True
    """Whether D sees images moved, cut and lit at random."""
    published_d_steps: int = 5
    name: str = "stargan"

    def build(self, sizes: Sizes) -> Nets:
        """G and D; raises TrainError for a side that D cannot halve six times."""
        if sizes.image < 2**D_LAYERS or sizes.image % 4:
            raise TrainError(f"the image size is {sizes.image}; StarGAN needs a multiple of 4 of at least {2**D_LAYERS} pixels")
        c_dim = len(self.attributes)
        G = StarGANGenerator(sizes.conv_dim, c_dim)
        return Nets(nn.ModuleDict({"G": G}), nn.ModuleDict({"D": StarGANDiscriminator(sizes.image, sizes.d_conv_dim, c_dim)}))

    def draw(self, batch: Batch, step: int, rng: torch.Generator) -> Batch:
        """Adds what each image is to become and the way back, whether its cycle is closed, what D sees and where gradients are."""
        labels_BK, known_BK = batch["labels"], batch["known"]
        B, size = len(labels_BK), batch["image"].shape[3]
        if self.conditions == "labels":
            order_B = torch.randperm(B, generator=rng)
            target_BK, target_known_BK = labels_BK[order_B], known_BK[order_B]
            c_BK, back_BK = target_BK, labels_BK
        else:
            hair = hair_count(self.attributes)
            c_BK, target_BK, target_known_BK, back_BK = draw_target(labels_BK, known_BK, hair=hair, rng=rng)
        drawn = {"c": c_BK, "target": target_BK, "target_known": target_known_BK, "back": back_BK}
        drawn |= {"view_D": draw_views(B, size, rng), "view_G": draw_views(B, size, rng)} if self.augment else {}
        drawn |= {"between": torch.rand(B, generator=rng)} if self.gp else {}
        return {**batch, **drawn, "cycle_weight": _cycle_weights(B, self.rec_share).to(batch["image"])}

    def inputs(self, batch: Batch) -> Images:
        """The photos."""
        return {"fake": batch["image"]}

    def reals(self, batch: Batch) -> Images:
        """The same photos."""
        return {"fake": batch["image"]}

    def translate(self, G: nn.ModuleDict, inputs: Images, batch: Batch) -> Images:
        """Each photo with its drawn condition."""
        return {name: G["G"](x_BCHW, batch["c"]) for name, x_BCHW in inputs.items()}

    def score(self, D: nn.ModuleDict, name: str, images_BCHW: Tensor, batch: Batch) -> Tensor:
        """The mean of D's patches for images as D sees them in this step."""
        patches, _ = D["D"](self._seen(images_BCHW, batch, "view_D"))
        score_B: Tensor = patches.flatten(1).mean(1)
        return score_B

    def d_loss(self, nets: Nets, batch: Batch, real: Images, fake: Images, step: int) -> tuple[Tensor, Parts]:
        """The game, the attributes of real images, and a penalty on D's gradient."""
        D, loss_d = nets.D["D"], GAMES[self.game][0]
        real_seen, fake_seen = (self._seen(images["fake"], batch, "view_D") for images in (real, fake))
        patches, logits = D(torch.cat([real_seen, fake_seen]))
        real_src, fake_src = patches.to(real_seen.dtype).chunk(2)
        adv = loss_d(real_src, fake_src)
        cls = classification(logits[: len(real_seen)].to(real_seen.dtype), batch["labels"], batch["known"])
        loss, parts = adv + self.cls * cls, {"d_adv": adv, "d_cls": cls}
        if self.gp:
            parts["d_gp"] = gradient_penalty(lambda x: D(x)[0], real_seen, fake_seen, batch["between"])
            loss = loss + self.gp * parts["d_gp"]
        if self.r1 and step % self.r1_every == 0:
            parts["d_r1"] = r1_penalty(lambda x: D(x)[0], real_seen)
            loss = loss + 0.5 * self.r1 * self.r1_every * parts["d_r1"]
        return loss, {name: part.detach() for name, part in parts.items()}

    def g_loss(self, nets: Nets, batch: Batch, inputs: Images, fake: Images, step: int) -> tuple[Tensor, Parts]:
        """The game, the wished attributes, the way back to the untouched photo, and the distance from it."""
        fake_BCHW, photo_BCHW, loss_g = fake["fake"], batch["image"], GAMES[self.game][1]
        patches, logits = nets.D["D"](self._seen(fake_BCHW, batch, "view_G"))
        adv = loss_g(patches.to(photo_BCHW.dtype))
        cls = classification(logits.to(photo_BCHW.dtype), batch["target"], batch["target_known"])
        rec = self._cycle(nets.G["G"], fake_BCHW, batch)
        keep = (fake_BCHW - photo_BCHW).abs().mean()
        loss = adv + self.cls * cls + self.rec * rec + self.keep * keep
        parts = {"g_adv": adv, "g_cls": cls, "g_rec": rec, "g_keep": keep}
        return loss, {name: part.detach() for name, part in parts.items()}

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

    def _seen(self, images_BCHW: Tensor, batch: Batch, view: str) -> Tensor:
        return for_discriminator(images_BCHW, batch[view]) if self.augment else images_BCHW


def _cycle_weights(count: int, share: float) -> Tensor:
    """(B,) with zeros for images whose cycle is not closed; the others are spread evenly and weigh so that the mean is 1."""
    cycled = max(1, round(share * count))
    chosen = (torch.arange(cycled) * count) // cycled
    return torch.zeros(count).index_fill(0, chosen, count / cycled)


REGIMES: dict[str, StarGANSystem] = {
    "few-images": StarGANSystem(),
    "published": StarGANSystem(game="wasserstein", conditions="labels", rec_share=1.0, keep=0.0, gp=10.0, r1=0.0, augment=False),
}
"""``few-images`` is for hundreds of images: hinge, lazy R1, augmentation before D. The published D moves five times as often."""
