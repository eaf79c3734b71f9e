"""CPU-seconds of PGD on one photo: ours against a loop as research code has it. ``python tests/bench/gradients.py [--repeats N]``.

Both do the same mathematics on the same start. The loop keeps the weights' gradients (``loss.backward()`` on a net that was loaded
and left as it is); ours asks for the photo's gradient alone. Processor time of one
thread; the lowest of the repeats.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from pipeline.disruption.disrupt import Target, disrupt
from pipeline.disruption.recipes import Recipe
from pipeline.disruption.streams import streams_for
from pipeline.generators.generator import Generator
from pipeline.generators.stargan import StarGANGenerator
from pipeline.images.effect import l2

EPSILON, STEP = 6 / 127.5, 1.275 / 127.5
CONDITION = (0.0, 0.0, 1.0, 0.0, 1.0)


def plain_loop(net: nn.Module, x_BCHW: Tensor, start_BCHW: Tensor, c_BK: Tensor, steps: int) -> Tensor:
    """PGD away from G(x) as it is written in research code: weights want gradients and get them."""
    with torch.no_grad():
        clean_BCHW = net(x_BCHW, c_BK)
    y_BCHW = start_BCHW.clone()
    for _ in range(steps):
        y_BCHW.requires_grad_(True)
        net.zero_grad()
        loss = nn.functional.mse_loss(net(y_BCHW, c_BK), clean_BCHW)
        loss.backward()
        assert y_BCHW.grad is not None
        moved_BCHW = y_BCHW + STEP * y_BCHW.grad.sign()
        y_BCHW = (x_BCHW + (moved_BCHW - x_BCHW).clamp(-EPSILON, EPSILON)).clamp(-1, 1).detach()
    return y_BCHW


def ours(generator: Generator, x_BCHW: Tensor, steps: int, *, bf16: bool) -> Tensor:
    """The same disruption as the pipeline computes it."""
    target = Target(view=lambda seen_BCHW: seen_BCHW, outputs={"class": generator.output("class")})
    recipe = Recipe(start="uniform", steps=steps)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        return disrupt(x_BCHW, [target], recipe, epsilon=EPSILON, streams=streams_for(["photo"], 0))


@dataclass(frozen=True)
class Way:
    """One way to compute the disruption, and how often it is timed."""

    name: str
    steps: int
    repeats: int
    work: Callable[[int], Tensor]


def cpu_seconds(work: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """Processor seconds of a call and its result."""
    began = time.process_time()
    result = work()
    return time.process_time() - began, result


def main() -> None:
    """Time the three and print the table."""
    parser = argparse.ArgumentParser(description="PGD with and without weight gradients.")
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--width", type=int, default=64, help="conv_dim of the StarGAN")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    trainable = StarGANGenerator(given.width, len(CONDITION), 6)
    frozen = StarGANGenerator(given.width, len(CONDITION), 6)
    frozen.load_state_dict(trainable.state_dict())
    generator = Generator("bench", frozen, {"class": CONDITION}, given.side, "bench")
    c_BK = torch.tensor([CONDITION])
    x_BCHW = torch.nn.functional.interpolate(torch.rand(1, 3, 8, 8) * 2 - 1, size=given.side, mode="bicubic").clamp(-1, 1)
    start_BCHW = ours(generator, x_BCHW, 0, bf16=False)
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    bf16_steps, bf16_repeats = (given.steps, given.repeats) if fast else (1, 1)

    def plain(steps: int) -> Tensor:
        return plain_loop(trainable, x_BCHW, start_BCHW, c_BK, steps)

    ways = [
        Way("plain loop, fp32", given.steps, given.repeats, plain),
        Way("ours, fp32", given.steps, given.repeats, lambda steps: ours(generator, x_BCHW, steps, bf16=False)),
        Way("ours, bf16", bf16_steps, bf16_repeats, lambda steps: ours(generator, x_BCHW, steps, bf16=True)),
    ]
    if not fast:
        ways.insert(2, Way("plain loop, fp32", 1, given.repeats, plain))
    title = f"StarGAN conv_dim {given.width}, {given.side} px, PGD away from the output, one thread"
    table = Table("", "steps", "CPU s", "loop / this", "L2 in fp32", title=title)
    base: dict[int, float] = {}
    for way in ways:
        seconds, y_BCHW = min((cpu_seconds(partial(way.work, way.steps)) for _ in range(way.repeats)), key=lambda run: run[0])
        base.setdefault(way.steps, seconds)
        with torch.no_grad():
            effect = float(l2(generator(y_BCHW, "class") - generator(x_BCHW, "class")))
        table.add_row(way.name, str(way.steps), f"{seconds:.2f}", f"{base[way.steps] / seconds:.2f}", f"{effect:.4g}")
    console = Console()
    console.print(table)
    hardware = "has bf16 in hardware" if fast else "has none, so bf16 is emulated: one step shows how slowly"
    console.print(
        "asked for: at least 1.45 in fp32; 2.4 in bf16, on a processor with bf16 in hardware, with L2 within 5 %", highlight=False
    )
    console.print(f"this processor {hardware}", highlight=False)


if __name__ == "__main__":
    main()
