"""GANimation's recipe, in two regimes: as published, and one for few images and hours of CPU. Source: [P18], FACTS section 3."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.generators.ganimation import GANimationGenerator, paint
from pipeline.training.systems.faces_game import FacesGame
from pipeline.training.systems.system import Batch, Images, Nets, Parts, weigh

EXPRESSIONS = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
"""The columns of labels.csv that stand in for action units, each in 0..1."""


class Painted(dict[str, Tensor]):
    """Images with the attention masks (B, 1, H, W) under which they were painted."""

    def __init__(self, fake_BCHW: Tensor, attention_B1HW: Tensor) -> None:
        super().__init__(fake=fake_BCHW)
        self.attention_B1HW = attention_B1HW


@dataclass(frozen=True)
class GANimationSystem(FacesGame):
    """G paints an expression under a mask, D judges and reads expressions; the fields are the weights of the losses."""

    expressions: tuple[str, ...] = EXPRESSIONS
    cls: float = 20.0
    """Weight of the mean squared error of the expressions that D reads."""
    rec: float = 10.0
    rec_every: int = 2
    """The cycle is closed in one step of so many, chosen at random, with so many times its weight."""
    saturation: float = 0.1
    smoothness: float = 1e-4
    keep: float = 0.0
    """Weight of the L1 distance of a painted image from its photo: the mask leaves the photo where nothing has to move."""
    pure: float = 0.75
    """Share of images asked for one expression at full intensity, all equally often; the others for the values of another image."""
    name: str = "ganimation"

    def generator(self, conv_dim: int) -> tuple[nn.Module, int]:
        """G, and the number of expressions."""
        return GANimationGenerator(conv_dim, len(self.expressions)), len(self.expressions)

    def misread(self, read_BK: Tensor, batch: Batch) -> Tensor:
        """Mean squared error of the expressions."""
        return F.mse_loss(read_BK, batch["labels"])

    def draw(self, batch: Batch, step: int, rng: torch.Generator) -> Batch:
        """Adds what each image is to become, if the cycle is closed (the same for all), what D sees and where gradients are."""
        values_BK = batch["labels"]
        B, K = values_BK.shape
        pure_BK = torch.eye(K).to(values_BK)[torch.randint(K, (B,), generator=rng)]
        others_BK = values_BK[torch.randperm(B, generator=rng)]
        is_pure_B1 = torch.rand(B, 1, generator=rng) < self.pure
        drawn = {"target": torch.where(is_pure_B1, pure_BK, others_BK)}
        drawn["cycled"] = (torch.rand((), generator=rng) * self.rec_every < 1).repeat(B)
        drawn |= self.draw_d_views(batch, rng)
        return {**batch, **drawn}

    def translate(self, G: nn.ModuleDict, inputs: Images, batch: Batch) -> Images:
        """The photos with their target expression; the dict is a `Painted`, so that ``g_loss`` has the masks."""
        return _painted(G, inputs["fake"], batch["target"])

    def edit(self, G: nn.ModuleDict, x_BCHW: Tensor, c_BK: Tensor) -> Tensor:
        """The photos painted with the expressions."""
        return _painted(G, x_BCHW, c_BK)["fake"]

    def classes(self) -> dict[str, list[float]]:
        """Each expression at full intensity."""
        return {name: [float(name == other) for other in self.expressions] for name in self.expressions}

    def g_loss(self, nets: Nets, batch: Batch, inputs: Images, fake: Images, step: int) -> tuple[Tensor, Parts]:
        """The game, the wished expressions, the way back, and open, smooth masks on both ways."""
        fake_BCHW, photo_BCHW = fake["fake"], batch["image"]
        adv, read_BK = self.judge(nets, batch, fake_BCHW)
        painted = fake if isinstance(fake, Painted) else _painted(nets.G, inputs["fake"], batch["target"])
        masks = [painted.attention_B1HW]
        parts = {"g_adv": adv, "g_cls": F.mse_loss(read_BK, batch["target"])}
        if self.keep:
            parts["g_keep"] = (fake_BCHW - photo_BCHW).abs().mean()
        if bool(batch["cycled"].all()):
            back = _painted(nets.G, fake_BCHW, batch["labels"])
            masks.append(back.attention_B1HW)
            parts["g_rec"] = F.l1_loss(back["fake"], photo_BCHW)
        parts["g_saturation"] = torch.stack([saturation(mask) for mask in masks]).sum()
        parts["g_roughness"] = torch.stack([roughness(mask) for mask in masks]).sum()
        weights = {"g_adv": self.adv, "g_cls": self.cls, "g_rec": self.rec * self.rec_every, "g_keep": self.keep}
        return weigh(parts, weights | {"g_saturation": self.saturation, "g_roughness": self.smoothness})


REGIMES: dict[str, GANimationSystem] = {
    "few-images": GANimationSystem(),
    "sharp": GANimationSystem(game="log", rec_every=1, saturation=1.0, keep=0.5, r1=0.3, r1_every=8, d_layers=4),
    "published": GANimationSystem(game="wasserstein", cls=160.0, rec_every=1, gp=10.0, r1=0.0, augment=False, pure=0.0),
}
"""``few-images`` is for hundreds of images, few with a strong expression; ``sharp`` for the same begins a
training under a mask, which it holds open until D has learned something. With ``published``, D moves five times as often."""


def saturation(attention_B1HW: Tensor) -> Tensor:
    """The mean of the mask: at 1 everywhere the photo would stay as it is. Source: the released code of [P18], eq. 4 in spirit."""
    return attention_B1HW.mean()


def roughness(attention_B1HW: Tensor) -> Tensor:
    """The sum of squared differences of neighbours over a mask, averaged over the batch: total variation. Source: [P18] eq. 4."""
    down = (attention_B1HW[:, :, 1:] - attention_B1HW[:, :, :-1]).square().flatten(1).sum(1)
    across = (attention_B1HW[:, :, :, 1:] - attention_B1HW[:, :, :, :-1]).square().flatten(1).sum(1)
    return (down + across).mean()


def _painted(G: nn.ModuleDict, x_BCHW: Tensor, c_BK: Tensor) -> Painted:
    attention_B1HW, regression_BCHW = G["G"](x_BCHW, c_BK)  # its forward, not its translate: that is what torch.compile replaces
    return Painted(paint(x_BCHW, attention_B1HW, regression_BCHW), attention_B1HW)
