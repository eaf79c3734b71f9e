"""Whether networks are faster in bfloat16 here: the hardware is asked, and a probe of a second times both."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Literal

import torch

from pipeline.generators.generator import Generator

Precision = Literal["fp32", "bf16"]
Timing = Callable[[Sequence[Generator], Precision, torch.device], float]
"""(networks, precision, device) -> seconds of a pass forward and backward through all of them."""

GAIN = 1.25
"""bf16 has to be so many times as fast: less may be noise, and its bytes are others."""
PROBE_SECONDS = 0.4
"""Of each precision; a first pass beside it warms up."""


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies in bfloat16 (avx512_bf16 or AMX of a processor); elsewhere it is emulated, much slower."""
    if device.type == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def seconds_of_pass(generators: Sequence[Generator], precision: Precision, device: torch.device) -> float:
    """The fastest of the passes of one drawn picture that fit in `PROBE_SECONDS`, at least one, after one that warms up."""
    best, until = float("inf"), None
    while until is None or time.perf_counter() < until or best == float("inf"):
        began = time.perf_counter()
        for generator in generators:
            x_1CHW = torch.linspace(-1, 1, 3 * generator.size**2, device=device).view(1, 3, generator.size, generator.size)
            x_1CHW.requires_grad_(True)
            with torch.enable_grad(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                y_1CHW = generator(x_1CHW, next(iter(generator.classes)))
            torch.autograd.grad(y_1CHW.float().square().mean(), x_1CHW)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        ended = time.perf_counter()
        if until is None:
            until = ended + PROBE_SECONDS
        else:
            best = min(best, ended - began)
    return best


def choose_precision(
    generators: Sequence[Generator],
    device: torch.device,
    *,
    in_hardware: Callable[[torch.device], bool] = has_bf16,
    seconds: Timing = seconds_of_pass,
) -> tuple[Precision, str]:
    """bf16 where the device has it and a pass is at least `GAIN` times as fast, else fp32; and why, for people."""
    if not in_hardware(device):
        return "fp32", "there is no bf16 in hardware here"
    fp32, bf16 = (seconds(generators, precision, device) for precision in ("fp32", "bf16"))
    gain = fp32 / bf16
    return "bf16" if gain >= GAIN else "fp32", f"a pass in bf16 is {gain:.1f} times as fast as in fp32"
