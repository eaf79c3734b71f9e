"""GANimation: facial expressions by action units, painted under an attention mask. Source: [P18], FACTS section 3."""

from __future__ import annotations

from torch import Tensor, nn

from pipeline.generators.layers import translation_trunk, with_condition
from pipeline.generators.stargan import by_shapes, from_state
from pipeline.generators.state_names import StateDict


class GANimationGenerator(nn.Module):
    """(attention, regression) of an image (B, 3, H, W) in [-1, 1] and action units (B, c_dim), OpenFace intensities / 5.

    Attention (B, 1, H, W) in 0..1 is the share of the input that stays; regression (B, 3, H, W) in [-1, 1] is painted elsewhere.
    ``translate`` gives the image. conv_dim 64, c_dim 17, repeat 6 is the published net. H and W are multiples of 4. Always runs
    with instance statistics. Its critic is ``StarGANDiscriminator`` with c_dim outputs (a regression).
    """

    def __init__(self, conv_dim: int = 64, c_dim: int = 17, repeat: int = 6) -> None:
        super().__init__()
        self.main = nn.Sequential(*translation_trunk(3 + c_dim, conv_dim, repeat))
        self.im_reg = nn.Sequential(nn.Conv2d(conv_dim, 3, 7, padding=3, bias=False), nn.Tanh())
        self.im_att = nn.Sequential(nn.Conv2d(conv_dim, 1, 7, padding=3, bias=False), nn.Sigmoid())

    def forward(self, x_BCHW: Tensor, c_BK: Tensor) -> tuple[Tensor, Tensor]:
        """Attention (B, 1, H, W) and regression (B, 3, H, W)."""
        h_BCHW = self.main(with_condition(x_BCHW, c_BK))
        return self.im_att(h_BCHW), self.im_reg(h_BCHW)

    def translate(self, x_BCHW: Tensor, c_BK: Tensor) -> Tensor:
        """The image with the expression ``c``, (B, 3, H, W) in [-1, 1]."""
        return paint(x_BCHW, *self(x_BCHW, c_BK))


def paint(x_BCHW: Tensor, attention_B1HW: Tensor, regression_BCHW: Tensor) -> Tensor:
    """(1 - attention) * regression + attention * x. Source: [P18] eq. 1."""
    return (1 - attention_B1HW) * regression_BCHW + attention_B1HW * x_BCHW


def ganimation_from_state(state: StateDict, *, source: str = "state_dict") -> GANimationGenerator:
    """The net in the width, action units and blocks that ``state`` tells, with its weights; CheckpointError if it is none."""
    return from_state(GANimationGenerator, state, c_dim=20, source=source)


def ganimation_by_shapes(state: StateDict) -> GANimationGenerator | None:
    """The net without weights (on the meta device) in the sizes that the shapes tell, whatever their names; None if none fits."""
    return by_shapes(GANimationGenerator, state)
