"""pix2pixHD in training: street photos from label maps, judged on several scales. Source: [W18], FACTS section 3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.generators.pix2pixhd import MultiscaleDiscriminator, Pix2PixHDGenerator
from pipeline.training.systems.losses import least_squares_d, least_squares_g, perceptual, vgg_from_file
from pipeline.training.systems.system import Batch, Images, Nets, Parts, Sizes, System, check_side, small_normal, weigh

Scales = Sequence[Sequence[Tensor]]
"""D's features: per scale those of every layer; the last are patch scores."""


@dataclass(frozen=True)
class Pix2PixHDSystem(System):
    """The global generator and D on two scales; the fields are the weights of the losses, by default the published ones."""

    features: float = 10.0
    """Weight of feature matching."""
    perceptual: float = 10.0
    vgg: Path | None = None
    """The user's file of VGG-16 or VGG-19 weights; without it there is no perceptual loss, and pictures come out less crisp."""
    name: str = "pix2pixhd"

    def build(self, sizes: Sizes) -> Nets:
        """G, and D of planes and picture together; ``sizes.image`` is the height of the pictures.

        Raises TrainError unless it is a multiple of 16 and at least 32.
        """
        check_side(sizes.image, multiple=16, least=32)  # the generator halves its planes four times
        G, D = Pix2PixHDGenerator(sizes.conv_dim), MultiscaleDiscriminator(sizes.d_conv_dim)
        small_normal(G, D)
        return Nets(nn.ModuleDict({"G": G}), nn.ModuleDict({"D": D}))

    def inputs(self, batch: Batch) -> Images:
        """The label planes and the edges: what [R20] perturbs."""
        return {"fake": batch["planes"]}

    def reals(self, batch: Batch) -> Images:
        """The photos."""
        return {"fake": batch["image"]}

    def translate(self, G: nn.ModuleDict, inputs: Images, batch: Batch) -> Images:
        """The pictures painted from the planes."""
        return {"fake": G["G"](inputs["fake"])}

    def score(self, D: nn.ModuleDict, name: str, images_BCHW: Tensor, batch: Batch) -> Tensor:
        """The mean over scales of the mean patch score, (B,)."""
        return torch.stack([scale[-1].flatten(1).mean(1) for scale in _features(D, batch, images_BCHW)]).mean(0)

    def d_loss(self, nets: Nets, batch: Batch, real: Images, fake: Images, step: int) -> tuple[Tensor, Parts]:
        """Least squares, summed over scales."""
        reals, fakes = _features(nets.D, batch, real["fake"]), _features(nets.D, batch, fake["fake"])
        loss = torch.stack([least_squares_d(r[-1], f[-1]) for r, f in zip(reals, fakes, strict=True)]).sum()
        return weigh({"d_adv": loss}, {})

    def g_loss(self, nets: Nets, batch: Batch, inputs: Images, fake: Images, step: int) -> tuple[Tensor, Parts]:
        """Least squares summed over scales, feature matching, and the perceptual distance where VGG weights are given."""
        y_BCHW, photo_BCHW = fake["fake"], batch["image"]
        with torch.no_grad():
            reals = _features(nets.D, batch, photo_BCHW)
        fakes = _features(nets.D, batch, y_BCHW)
        parts = {"g_adv": torch.stack([least_squares_g(scale[-1]) for scale in fakes]).sum()}
        parts["g_features"] = feature_matching(reals, fakes)
        if self.vgg is not None:
            vgg = vgg_from_file(self.vgg, photo_BCHW.device, photo_BCHW.dtype)
            parts["g_perceptual"] = perceptual(vgg, y_BCHW, photo_BCHW)
        return weigh(parts, {"g_features": self.features, "g_perceptual": self.perceptual})

    def samples(self, G: nn.ModuleDict, batch: Batch) -> list[Tensor]:
        """Label maps in colours, what G paints, and the photos where there are any: columns (B, 3, H, W)."""
        painted = self.translate(G, self.inputs(batch), batch)["fake"]
        return [colour_labels(batch["planes"]), painted, *([batch["image"]] if "image" in batch else [])]


def feature_matching(real: Scales, fake: Scales) -> Tensor:
    """Mean over scales of the mean absolute difference of features, 4 / (layers - 1) times summed over all layers but the last.

    The real features are held fixed. Source: [W18] eq. 4 with the weights of the released code, where D has five layers.
    """
    distances = [F.l1_loss(f, r.detach()) for rs, fs in zip(real, fake, strict=True) for r, f in zip(rs[:-1], fs[:-1], strict=True)]
    return torch.stack(distances).sum() * 4 / (len(real[0]) - 1) / len(real)


def colour_labels(planes_BPHW: Tensor) -> Tensor:
    """Label planes (the last are edges) as pictures in [-1, 1]: one fixed colour per label, edges black."""
    labels = planes_BPHW.shape[1] - 1
    colours_L3 = (torch.rand(labels, 3, generator=torch.Generator().manual_seed(1)) * 1.6 - 0.6).to(planes_BPHW)
    picture_B3HW = torch.einsum("blhw,lc->bchw", planes_BPHW[:, :labels], colours_L3)
    return torch.where(planes_BPHW[:, labels:] > 0.5, -torch.ones_like(picture_B3HW), picture_B3HW)


def _features(D: nn.ModuleDict, batch: Batch, images_BCHW: Tensor) -> Scales:
    images_BCHW = images_BCHW.to(batch["planes"].dtype)
    scales: list[list[Tensor]] = D["D"](torch.cat([batch["planes"], images_BCHW], dim=1))
    return [[feature.to(images_BCHW.dtype) for feature in scale] for scale in scales]
