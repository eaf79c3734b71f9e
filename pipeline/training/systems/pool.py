"""A pool of earlier translations, so that D does not forget what G once did. Source: [Z17] section 4."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pipeline.training.errors import TrainError


class ImagePool(nn.Module):
    """``capacity`` images as buffers without parameters, so that they travel in a checkpoint with the nets.

    The images of one batch have slots of their own (``draw_slots``), so in which order or on how many workers they are exchanged
    changes nothing.
    """

    images: Tensor
    filled: Tensor

    def __init__(self, capacity: int, *, side: int, channels: int = 3) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(capacity, channels, side, side))
        self.register_buffer("filled", torch.zeros(capacity, dtype=torch.bool))

    @torch.no_grad()
    def exchange(self, fake_BCHW: Tensor, slots_B: Tensor, swap_B: Tensor) -> Tensor:
        """What D is shown for these translations: each itself, or what is in its slot where ``swap`` is true and the slot filled.

        A translation that is swapped, or meets an empty slot, stays in the slot. All workers must call this together, with equally
        many images: each keeps the whole pool.
        """
        fake_BCHW = fake_BCHW.to(self.images.dtype)
        swapped_B = swap_B & self.filled[slots_B]
        shown_BCHW = torch.where(swapped_B.view(-1, 1, 1, 1), self.images[slots_B], fake_BCHW)
        stays_B = swapped_B | ~self.filled[slots_B]
        everyones_slots, everyones_fakes = _of_all_workers(torch.where(stays_B, slots_B, -1)), _of_all_workers(fake_BCHW)
        stays = everyones_slots >= 0
        self.images[everyones_slots[stays]] = everyones_fakes[stays]
        self.filled[everyones_slots[stays]] = True
        return shown_BCHW


def draw_slots(count: int, capacity: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Different slots for the images of a batch, and which are to be swapped (each with probability 1/2); (count,) each.

    Raises TrainError for a batch larger than the pool.
    """
    if count > capacity:
        raise TrainError(f"a batch of {count} does not fit the pool of {capacity} images; choose a smaller batch or a larger pool")
    return torch.randperm(capacity, generator=rng)[:count], torch.rand(count, generator=rng) < 0.5


def _of_all_workers(rows: Tensor) -> Tensor:
    """The rows of all workers, one below the other; as they are when there is one process."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)
