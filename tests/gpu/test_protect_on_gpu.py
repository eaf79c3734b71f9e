"""The protecting stage on a GPU: the same effect as on the CPU, in batches of photos of different sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.containers.listing import PhotoRef
from pipeline.photos.photo import Photo
from pipeline.protection.options import ProtectConfig
from pipeline.protection.row import Work
from pipeline.protection.stages.disrupt import Protect
from tests.verbs import with_options

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def works(sizes: list[tuple[int, int]]) -> list[Work]:
    rng = np.random.default_rng(0)
    found = []
    for i, (h, w) in enumerate(sizes):
        smooth = np.repeat(np.repeat(rng.integers(0, 256, (h // 8, w // 8, 3), dtype=np.uint8), 8, 0), 8, 1)
        found.append(Work(PhotoRef(f"{i}.png", "", 0), f"{i}.png", data=b"", photo=Photo(smooth, None, "PNG")))
    return found


@pytest.fixture
def config(tmp_path: Path) -> ProtectConfig:
    return ProtectConfig(str(tmp_path / "in"), str(tmp_path / "out"), recipe="pgd")


def test_a_ragged_batch_on_the_gpu_stays_in_the_ball_and_disrupts_as_on_the_cpu(config: ProtectConfig) -> None:
    batch = works([(96, 128), (128, 96), (64, 64)])
    on_gpu = Protect(with_options(config, gpus_per_actor=1.0), threads=1)(batch)
    on_cpu = Protect(config, threads=1)(batch)
    for before, gpu, cpu in zip(batch, on_gpu, on_cpu, strict=True):
        assert before.photo is not None and gpu.pixels_HWC is not None and gpu.effect is not None and cpu.effect is not None
        assert np.abs(gpu.pixels_HWC.astype(int) - before.photo.pixels_HWC.astype(int)).max() <= config.epsilon
        assert np.mean(gpu.effect.l2) == pytest.approx(np.mean(cpu.effect.l2), rel=0.1)


def test_bf16_on_the_gpu_disrupts_within_a_tenth_of_fp32(config: ProtectConfig) -> None:
    batch = works([(128, 128)] * 4)
    full = Protect(with_options(config, gpus_per_actor=1.0), threads=1)(batch)
    half = Protect(with_options(config, gpus_per_actor=1.0, precision="bf16"), threads=1)(batch)
    l2 = [np.mean([np.mean(w.effect.l2) for w in done if w.effect]) for done in (full, half)]
    assert l2[1] == pytest.approx(l2[0], rel=0.1)
