"""What StarGAN and GANimation share: one generator, and one discriminator that judges faces and reads something off them."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from pipeline.generators.stargan import StarGANDiscriminator
from pipeline.training.data.batches import draw_views, for_discriminator
from pipeline.training.systems.losses import (
    gradient_penalty,
    hinge_d,
    hinge_g,
    log_d,
    log_g,
    r1_penalty,
    wasserstein_d,
    wasserstein_g,
)
from pipeline.training.systems.system import ETA3, Batch, Images, Nets, Parts, Sizes, System, check_side, weigh

D_LAYERS = 6
"""D halves the image this often."""

Game = Literal["hinge", "log", "wasserstein"]

PENALTIES: dict[Game, dict[str, float]] = {
    "hinge": {"gp": 0.0, "r1": 5.0},
    "log": {"gp": 0.0, "r1": 5.0},
    "wasserstein": {"gp": 10.0, "r1": 0.0},
}
"""The penalty on D's gradient that goes with each game, unless weights are given."""

GAMES = {"hinge": (hinge_d, hinge_g), "log": (log_d, log_g), "wasserstein": (wasserstein_d, wasserstein_g)}


@dataclass(frozen=True)
class FacesGame(System):
    """The game between G and D, D's penalties and D's view of the images; the fields are the weights of the losses."""

    game: Game = "hinge"
    adv: float = 1.0
    """Weight of the game in G's loss."""
    cls: float = 1.0
    """Weight of what D misreads."""
    gp: float = 0.0
    """Weight of the gradient penalty between real and translated images."""
    r1: float = 5.0
    r1_every: int = 16
    """The R1 penalty is taken in one step of so many, with so many times its weight."""
    d_layers: int = D_LAYERS
    """How often D halves the image: fewer leave it more patches to judge."""
    augment: bool = True
    """Whether D sees images moved, cut and lit at random."""

    @abstractmethod
    def generator(self, conv_dim: int) -> tuple[nn.Module, int]:
        """A fresh G of a width, and how many values D reads off an image."""

    @abstractmethod
    def misread(self, read_BK: Tensor, batch: Batch) -> Tensor:
        """How far what D read off real images is from the truth, one number."""

    @abstractmethod
    def edit(self, G: nn.ModuleDict, x_BCHW: Tensor, c_BK: Tensor) -> Tensor:
        """The images translated by their conditions, same shape."""

    def build(self, sizes: Sizes) -> Nets:
        """G and D; raises TrainError for a side that D cannot halve so often."""
        check_side(sizes.image, multiple=4, least=2**self.d_layers)
        G, count = self.generator(sizes.conv_dim)
        D = StarGANDiscriminator(sizes.image, sizes.d_conv_dim, count, self.d_layers)
        return Nets(nn.ModuleDict({"G": G}), nn.ModuleDict({"D": D}))

    def inputs(self, batch: Batch) -> Images:
        """The photos."""
        return {"fake": batch["image"]}

    def draw_d_views(self, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        """What D sees in each of its steps, and where its gradient is taken."""
        B, size = len(batch["image"]), batch["image"].shape[3]
        views = {"view_D": draw_views(B, size, rng), "view_G": draw_views(B, size, rng)} if self.augment else {}
        return views | ({"between": torch.rand(B, generator=rng)} if self.gp else {})

    def score(self, D: nn.ModuleDict, name: str, images_BCHW: Tensor, batch: Batch) -> Tensor:
        """The mean of D's patches for images as D sees them in this step, (B,)."""
        patches, _ = D["D"](self._view(images_BCHW, batch, "view_D"))
        score_B: Tensor = patches.flatten(1).mean(1)
        return score_B

    def d_loss(self, nets: Nets, batch: Batch, real: Images, fake: Images, step: int) -> tuple[Tensor, Parts]:
        """The game, what D misreads on real images, and a penalty on D's gradient."""
        D, loss_d = nets.D["D"], GAMES[self.game][0]
        real_view, fake_view = (self._view(images["fake"], batch, "view_D") for images in (real, fake))
        patches, read_BK = D(torch.cat([real_view, fake_view]))
        parts = {"d_adv": loss_d(*patches.to(real_view.dtype).chunk(2))}
        parts["d_cls"] = self.misread(read_BK[: len(real_view)].to(real_view.dtype), batch)
        if self.gp:
            parts["d_gp"] = gradient_penalty(lambda x: D(x)[0], real_view, fake_view, batch["between"])
        if unfooled := self.unfooled_loss(read_BK[len(real_view) :].to(real_view.dtype), batch):
            parts |= unfooled
        if self.r1 and step % self.r1_every == 0:
            parts["d_r1"] = r1_penalty(lambda x: self.r1_score(D, x, batch), real_view)
        return weigh(parts, {"d_cls": self.cls, "d_unfooled": self.cls, "d_gp": self.gp, "d_r1": 0.5 * self.r1 * self.r1_every})

    def unfooled_loss(self, read_BK: Tensor, batch: Batch) -> Parts:
        """What D is to read off translated images, as a loss; here nothing."""
        return {}

    def r1_score(self, D: nn.Module, x_BCHW: Tensor, batch: Batch) -> Tensor:
        """The scores (B, ...) of real images whose gradient R1 keeps small."""
        scores: Tensor = D(x_BCHW)[0]
        return scores

    def judge(self, nets: Nets, batch: Batch, fake_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """G's loss in the game, and what D reads off translated images, (B, K).

        Where an attack disturbs what D is shown, the game ``log`` shows it to D here too, as [R20] section 4 writes the game. The
        other games, which are this project's additions, leave it out.
        """
        if self.game == "log" and f"{ETA3}fake" in batch:
            fake_BCHW = fake_BCHW + batch[f"{ETA3}fake"]
        patches, read_BK = nets.D["D"](self._view(fake_BCHW, batch, "view_G"))
        dtype = batch["image"].dtype
        return GAMES[self.game][1](patches.to(dtype)), read_BK.to(dtype)

    def _view(self, images_BCHW: Tensor, batch: Batch, view: str) -> Tensor:
        return for_discriminator(images_BCHW, batch[view]) if self.augment else images_BCHW

    def samples(self, G: nn.ModuleDict, batch: Batch) -> list[Tensor]:
        """The photos, and the photos translated to each class: columns (B, 3, H, W)."""
        photos_BCHW = batch["image"]
        conditions = [torch.tensor(c).to(photos_BCHW).expand(len(photos_BCHW), -1) for c in self.classes().values()]
        return [photos_BCHW, *(self.edit(G, photos_BCHW, c_BK) for c_BK in conditions)]
