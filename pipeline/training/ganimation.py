"""GANimation's recipe, in two regimes: as published, and one for few images and hours of CPU. Source: [P18], FACTS section 3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.generators.ganimation import GANimationGenerator, paint
from pipeline.generators.stargan import StarGANDiscriminator
from pipeline.training.augment import draw_views, for_discriminator
from pipeline.training.losses import gradient_penalty, hinge_d, hinge_g, r1_penalty, wasserstein_d, wasserstein_g
from pipeline.training.masks import roughness, saturation
from pipeline.training.sizes import checked_side
from pipeline.training.system import Batch, Images, Nets, Parts, Sizes, System

EXPRESSIONS = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
"""The columns of labels.csv that stand in for action units, each in 0..1."""

D_LAYERS = 6
"""D halves the image this often."""

GAMES = {"hinge": (hinge_d, hinge_g), "wasserstein": (wasserstein_d, wasserstein_g)}


class Painted(dict[str, Tensor]):
    """Images with the attention masks (B, 1, H, W) under which they were painted."""

    def __init__(self, fake_BCHW: Tensor, attention_B1HW: Tensor) -> None:
        super().__init__(fake=fake_BCHW)
        self.attention_B1HW = attention_B1HW


@dataclass(frozen=True)
class GANimationSystem:
    """G paints an expression under a mask, D judges and reads expressions; the fields are the weights of the losses."""

    expressions: tuple[str, ...] = EXPRESSIONS
    game: Literal["hinge", "wasserstein"] = "hinge"
    cls: float = 20.0
    """Weight of the mean squared error of the expressions that D reads."""
    rec: float = 10.0
    rec_every: int = 2
    """The cycle is closed in one step of so many, chosen at random, with so many times its weight."""
    saturation: float = 0.1
    smoothness: float = 1e-4
    gp: float = 0.0
    """Weight of the gradient penalty between real and translated images."""
    r1: float = 5.0
    r1_every: int = 16
    """The R1 penalty is taken in one step of so many, with so many times its weight."""
    augment: bool = True
    """Whether D sees images moved, cut and lit at random."""
    pure: float = 0.75
    """Share of images asked for one expression at full intensity, all equally often; the others for the values of another image."""
    published_d_steps: int = 5
    name: str = "ganimation"

    def build(self, sizes: Sizes) -> Nets:
        """G and D; raises TrainError for a side that D cannot halve six times."""
        side = checked_side(sizes.image, multiple=4, least=2**D_LAYERS)
        K = len(self.expressions)
        G = GANimationGenerator(sizes.conv_dim, K)
        return Nets(nn.ModuleDict({"G": G}), nn.ModuleDict({"D": StarGANDiscriminator(side, sizes.d_conv_dim, K)}))

    def draw(self, batch: Batch, step: int, rng: torch.Generator) -> Batch:
        """Adds what each image is to become, if the cycle is closed (the same for all), what D sees and where gradients are."""
        values_BK = batch["labels"]
        B, K = values_BK.shape
        pure_BK = torch.eye(K).to(values_BK)[torch.randint(K, (B,), generator=rng)]
        others_BK = values_BK[torch.randperm(B, generator=rng)]
        is_pure_B1 = torch.rand(B, 1, generator=rng) < self.pure
        drawn = {"target": torch.where(is_pure_B1, pure_BK, others_BK)}
        drawn["cycled"] = (torch.rand((), generator=rng) * self.rec_every < 1).repeat(B)
        size = batch["image"].shape[3]
        drawn |= {"view_D": draw_views(B, size, rng), "view_G": draw_views(B, size, rng)} if self.augment else {}
        drawn |= {"between": torch.rand(B, generator=rng)} if self.gp else {}
        return {**batch, **drawn}

    def inputs(self, batch: Batch) -> Images:
        """The photos."""
        return {"fake": batch["image"]}

    def reals(self, batch: Batch) -> Images:
        """The photos."""
        return {"fake": batch["image"]}

    def translate(self, G: nn.ModuleDict, inputs: Images, batch: Batch) -> Images:
        """The photos with their target expression; the dict is a `Painted`, so that ``g_loss`` has the masks."""
        return _painted(G, inputs["fake"], batch["target"])

    def score(self, D: nn.ModuleDict, name: str, images_BCHW: Tensor, batch: Batch) -> Tensor:
        """The mean of D's patches for images as D sees them in this step, (B,)."""
        patches, _ = D["D"](self._seen(images_BCHW, batch, "view_D"))
        score_B: Tensor = patches.flatten(1).mean(1)
        return score_B

    def d_loss(self, nets: Nets, batch: Batch, real: Images, fake: Images, step: int) -> tuple[Tensor, Parts]:
        """The game, the expressions read off real images, and a penalty on D's gradient."""
        D, loss_d = nets.D["D"], GAMES[self.game][0]
        real_seen, fake_seen = (self._seen(images["fake"], batch, "view_D") for images in (real, fake))
        patches, read_BK = D(torch.cat([real_seen, fake_seen]))
        adv = loss_d(*patches.to(real_seen.dtype).chunk(2))
        cls = F.mse_loss(read_BK[: len(real_seen)].to(real_seen.dtype), batch["labels"])
        loss, parts = adv + self.cls * cls, {"d_adv": adv, "d_cls": cls}
        if self.gp:
            parts["d_gp"] = gradient_penalty(lambda x: D(x)[0], real_seen, fake_seen, batch["between"])
            loss = loss + self.gp * parts["d_gp"]
        if self.r1 and step % self.r1_every == 0:
            parts["d_r1"] = r1_penalty(lambda x: D(x)[0], real_seen)
            loss = loss + 0.5 * self.r1 * self.r1_every * parts["d_r1"]
        return loss, {name: part.detach() for name, part in parts.items()}

    def g_loss(self, nets: Nets, batch: Batch, inputs: Images, fake: Images, step: int) -> tuple[Tensor, Parts]:
        """The game, the wished expressions, the way back, and open, smooth masks on both ways."""
        fake_BCHW, photo_BCHW, loss_g = fake["fake"], batch["image"], GAMES[self.game][1]
        patches, read_BK = nets.D["D"](self._seen(fake_BCHW, batch, "view_G"))
        painted = fake if isinstance(fake, Painted) else _painted(nets.G, inputs["fake"], batch["target"])
        masks = [painted.attention_B1HW]
        parts = {"g_adv": loss_g(patches.to(photo_BCHW.dtype))}
        parts["g_cls"] = F.mse_loss(read_BK.to(photo_BCHW.dtype), batch["target"])
        loss = parts["g_adv"] + self.cls * parts["g_cls"]
        if bool(batch["cycled"].all()):
            back = _painted(nets.G, fake_BCHW, batch["labels"])
            masks.append(back.attention_B1HW)
            parts["g_rec"] = F.l1_loss(back["fake"], photo_BCHW)
            loss = loss + self.rec * self.rec_every * parts["g_rec"]
        parts["g_saturation"] = torch.stack([saturation(mask) for mask in masks]).sum()
        parts["g_roughness"] = torch.stack([roughness(mask) for mask in masks]).sum()
        loss = loss + self.saturation * parts["g_saturation"] + self.smoothness * parts["g_roughness"]
        return loss, {name: part.detach() for name, part in parts.items()}

    def _seen(self, images_BCHW: Tensor, batch: Batch, view: str) -> Tensor:
        return for_discriminator(images_BCHW, batch[view]) if self.augment else images_BCHW


REGIMES: dict[str, GANimationSystem] = {
    "few-images": GANimationSystem(),
    "published": GANimationSystem(game="wasserstein", cls=160.0, rec_every=1, gp=10.0, r1=0.0, augment=False, pure=0.0),
}
"""``few-images`` is for hundreds of images, few with a strong expression. With ``published``, D moves five times as often."""


def expression_classes(expressions: Sequence[str] = EXPRESSIONS) -> dict[str, list[float]]:
    """Every class of a generator with its condition: each expression at full intensity."""
    return {name: [float(name == other) for other in expressions] for name in expressions}


def each_expression(system: System, G: nn.ModuleDict, batch: Batch) -> list[Tensor]:
    """The photos, and the photos with each expression at full intensity: columns (B, 3, H, W)."""
    photos_BCHW, values_BK = batch["image"], batch["labels"]
    columns = [photos_BCHW]
    for row_K in torch.eye(values_BK.shape[1]).to(values_BK):
        columns += system.translate(G, {"fake": photos_BCHW}, {**batch, "target": row_K.expand_as(values_BK)}).values()
    return columns


def _painted(G: nn.ModuleDict, x_BCHW: Tensor, c_BK: Tensor) -> Painted:
    attention_B1HW, regression_BCHW = G["G"](x_BCHW, c_BK)  # its forward, not its translate: that is what torch.compile replaces
    return Painted(paint(x_BCHW, attention_B1HW, regression_BCHW), attention_B1HW)
