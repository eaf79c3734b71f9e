"""The input of pix2pixHD: one plane per label, and the borders between objects. Source: [W18], FACTS section 3."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LABELS = 35  # label ids 0..34 of Cityscapes


def edge_map(instance_ids_BHW: Tensor) -> Tensor:
    """1 where a pixel's instance id differs from that of a neighbour above, below, left or right, else 0; float32 (B, 1, H, W).

    Raises ValueError unless the ids are integers (B, H, W).
    """
    ids_BHW = _to_integers(instance_ids_BHW)
    edges_BHW = torch.zeros_like(ids_BHW, dtype=torch.bool)
    across = ids_BHW[:, :, 1:] != ids_BHW[:, :, :-1]
    down = ids_BHW[:, 1:] != ids_BHW[:, :-1]
    edges_BHW[:, :, 1:] |= across
    edges_BHW[:, :, :-1] |= across
    edges_BHW[:, 1:] |= down
    edges_BHW[:, :-1] |= down
    return edges_BHW[:, None].float()


def one_hot_labels(label_ids_BHW: Tensor, labels: int = LABELS) -> Tensor:
    """One plane per label, 1 where a pixel has it, else 0; float32 (B, labels, H, W).

    Raises ValueError unless the ids are integers (B, H, W) in 0 .. labels - 1.
    """
    ids_BHW = _to_integers(label_ids_BHW)
    low, high = int(ids_BHW.min()), int(ids_BHW.max())
    if low < 0 or high >= labels:
        raise ValueError(f"label ids must lie in 0..{labels - 1}, found {low}..{high}")
    return F.one_hot(ids_BHW, labels).movedim(-1, 1).float()


def label_planes(label_ids_BHW: Tensor, instance_ids_BHW: Tensor, labels: int = LABELS) -> Tensor:
    """The input of pix2pixHD: label planes and the edge map, float32 (B, labels + 1, H, W) of 0 and 1."""
    return torch.cat([one_hot_labels(label_ids_BHW, labels), edge_map(instance_ids_BHW)], dim=1)


def _to_integers(ids_BHW: Tensor) -> Tensor:
    if ids_BHW.ndim != 3 or not ids_BHW.numel() or ids_BHW.is_floating_point() or ids_BHW.is_complex():
        raise ValueError(f"ids must be integers (B, H, W), at least one, got {ids_BHW.dtype} {tuple(ids_BHW.shape)}")
    return ids_BHW.long()
