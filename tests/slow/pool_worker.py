"""What one of two workers does with its half of each batch; a module of its own, since a new process imports it anew."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from pipeline.training.systems.cyclegan import ImagePool, draw_slots

ROUNDS, CAPACITY, COUNT = 6, 6, 4


def fakes(r: int) -> Tensor:
    return torch.rand(COUNT, 3, 2, 2, generator=torch.Generator().manual_seed(r))


def exchanged(rank: int, world: int) -> tuple[Tensor, ImagePool]:
    rng, pool, shown = torch.Generator().manual_seed(0), ImagePool(CAPACITY, side=2), []
    mine = slice(rank * COUNT // world, (rank + 1) * COUNT // world)
    for r in range(ROUNDS):
        slots, swap = draw_slots(COUNT, CAPACITY, rng)
        shown.append(pool.exchange(fakes(r)[mine], slots[mine], swap[mine]))
    return torch.stack(shown), pool


def work(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    shown, pool = exchanged(rank, 2)
    torch.save({"shown": shown, **pool.state_dict()}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()
