"""CycleGAN in training: two translations between unpaired pictures, tied by their cycles. Source: [Z17], FACTS section 3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.generators.cyclegan import CycleGANGenerator, PatchDiscriminator
from pipeline.training.options import TrainError
from pipeline.training.systems.losses import least_squares_d, least_squares_g
from pipeline.training.systems.system import Batch, Images, Nets, Parts, Sizes, System, check_side, small_normal, weigh

WAYS = {"A2B": ("A", "B"), "B2A": ("B", "A")}
"""Each translation with the kinds of picture that it goes from and to."""
BACK = {"A2B": "B2A", "B2A": "A2B"}


@dataclass(frozen=True)
class CycleGANSystem(System):
    """G and D of both ways; the fields are the weights of the losses, by default the published ones."""

    cycle: float = 10.0
    identity: float = 0.5
    """As a share of ``cycle``."""
    pool: int = 50
    """Earlier translations that D may see again, per way; 0 shows it the new ones alone."""
    name: str = "cyclegan"

    def build(self, sizes: Sizes) -> Nets:
        """G and D of both ways, and in D the pools; raises TrainError for a side below 32 or not divisible by 4."""
        check_side(sizes.image, multiple=4, least=32)
        G = nn.ModuleDict({way: CycleGANGenerator(sizes.conv_dim) for way in WAYS})
        D = nn.ModuleDict({way: PatchDiscriminator(sizes.d_conv_dim) for way in WAYS})
        small_normal(G, D)
        if self.pool:
            D.update({f"pool_{way}": ImagePool(self.pool, side=sizes.image) for way in WAYS})
        return Nets(G, D)

    def draw(self, batch: Batch, step: int, rng: torch.Generator) -> Batch:
        """Adds for each way ``slot_A2B`` and ``swap_A2B``, (B,): which place of the pool an image meets, and if it is swapped."""
        drawn = dict(batch)
        for way in WAYS if self.pool else ():
            drawn[f"slot_{way}"], drawn[f"swap_{way}"] = draw_slots(len(batch["A"]), self.pool, rng)
        return drawn

    def inputs(self, batch: Batch) -> Images:
        """The pictures that each way starts from."""
        return {way: batch[start] for way, (start, _) in WAYS.items()}

    def reals(self, batch: Batch) -> Images:
        """The pictures of the kind that each way leads to."""
        return {way: batch[end] for way, (_, end) in WAYS.items()}

    def translate(self, G: nn.ModuleDict, inputs: Images, batch: Batch) -> Images:
        """The translation of each input."""
        return {way: G[way](x_BCHW) for way, x_BCHW in inputs.items()}

    def score(self, D: nn.ModuleDict, name: str, images_BCHW: Tensor, batch: Batch) -> Tensor:
        """The mean of the patch scores, (B,)."""
        mean_B: Tensor = D[name](images_BCHW).flatten(1).mean(1)
        return mean_B

    def d_loss(self, nets: Nets, batch: Batch, real: Images, fake: Images, step: int) -> tuple[Tensor, Parts]:
        """Least squares of both ways; D is shown what comes out of the pool, which takes the new translations in."""
        parts = {}
        for way in WAYS:
            shown_BCHW = fake[way].to(real[way].dtype)
            if self.pool:
                pool = cast(ImagePool, nets.D[f"pool_{way}"])
                shown_BCHW = pool.exchange(shown_BCHW, batch[f"slot_{way}"], batch[f"swap_{way}"])
            scores = (nets.D[way](images).to(shown_BCHW.dtype) for images in (real[way], shown_BCHW))
            parts[f"d_{way}"] = least_squares_d(*scores)
        return weigh(parts, {})

    def g_loss(self, nets: Nets, batch: Batch, inputs: Images, fake: Images, step: int) -> tuple[Tensor, Parts]:
        """Adversarial, cycle and identity losses of both ways; the identity compares G(picture of the goal) with that picture."""
        photos, goals = self.inputs(batch), self.reals(batch)
        parts: Parts = {}
        weights: dict[str, float] = {}
        for way, back in BACK.items():
            parts[f"g_{way}"] = least_squares_g(nets.D[way](fake[way]).to(photos[way].dtype))
            parts[f"g_cycle_{way}"] = F.l1_loss(nets.G[back](fake[way]), photos[way])
            weights |= {f"g_cycle_{way}": self.cycle, f"g_identity_{way}": self.cycle * self.identity}
            if self.identity:
                parts[f"g_identity_{way}"] = F.l1_loss(nets.G[way](goals[way]), goals[way])
        return weigh(parts, weights)


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
