"""Everything that changes while a StarGAN trains, in one value that is saved and restored whole."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline.generators.stargan import StarGANDiscriminator, StarGANGenerator


@dataclass
class TrainState:
    """Generator, its moving average, discriminator, their optimisers, the random stream and the step reached."""

    G: StarGANGenerator
    G_ema: StarGANGenerator
    D: StarGANDiscriminator
    opt_G: torch.optim.Adam
    opt_D: torch.optim.Adam
    rng: torch.Generator
    step: int = 0

    @classmethod
    def fresh(cls, *, conv_dim: int, d_conv_dim: int, c_dim: int, size: int, lr: float, seed: int) -> TrainState:
        """Nets with seeded weights and Adam(0.5, 0.999) for both."""
        torch.manual_seed(seed)
        G = StarGANGenerator(conv_dim, c_dim)
        D = StarGANDiscriminator(size, d_conv_dim, c_dim)
        return cls(
            G=G,
            G_ema=deepcopy(G).requires_grad_(False),
            D=D,
            opt_G=torch.optim.Adam(G.parameters(), lr=lr, betas=(0.5, 0.999), fused=True),
            opt_D=torch.optim.Adam(D.parameters(), lr=lr, betas=(0.5, 0.999), fused=True),
            rng=torch.Generator().manual_seed(seed),
        )

    def save(self, path: Path) -> None:
        """Write the state beside ``path`` and rename it into place."""
        kept: dict[str, Any] = {name: getattr(self, name).state_dict() for name in _PARTS}
        temporary = path.with_suffix(".tmp")
        torch.save(kept | {"rng": self.rng.get_state(), "step": self.step}, temporary)
        temporary.replace(path)

    def restore(self, path: Path) -> None:
        """Take over the state that ``save`` wrote; raises RuntimeError when the nets have another shape."""
        kept = torch.load(path, map_location="cpu", weights_only=True)
        for name in _PARTS:
            getattr(self, name).load_state_dict(kept[name])
        self.rng.set_state(kept["rng"])
        self.step = int(kept["step"])


_PARTS = ("G", "G_ema", "D", "opt_G", "opt_D")


@torch.no_grad()
def move_average(average: nn.Module, net: nn.Module, *, decay: float) -> None:
    """average <- decay * average + (1 - decay) * net, parameter by parameter, in place."""
    for a, p in zip(average.parameters(), net.parameters(), strict=True):
        a.lerp_(p, 1 - decay)
