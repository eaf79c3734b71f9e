"""What keeps GANimation's attention masks from filling up or fraying: pure losses of masks (B, 1, H, W) in 0..1."""

from __future__ import annotations

from torch import Tensor


def saturation(attention_B1HW: Tensor) -> Tensor:
    """The mean of the mask: at 1 everywhere the photo would stay as it is. Source: the released code of [P18], eq. 4 in spirit."""
    return attention_B1HW.mean()


def roughness(attention_B1HW: Tensor) -> Tensor:
    """The sum of squared differences of neighbours over a mask, averaged over the batch: total variation. Source: [P18] eq. 4."""
    down = (attention_B1HW[:, :, 1:] - attention_B1HW[:, :, :-1]).square().flatten(1).sum(1)
    across = (attention_B1HW[:, :, :, 1:] - attention_B1HW[:, :, :, :-1]).square().flatten(1).sum(1)
    return (down + across).mean()
