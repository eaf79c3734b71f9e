"""Tiny generators that tests disrupt in milliseconds, and small photos to disrupt; `--generator tests.fast.tiny:build`."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from pipeline.generators.generator import Generator, fingerprint_of
from pipeline.generators.stargan import StarGANGenerator

BUILD = "tests.fast.tiny:build"
CLASSES = {"Smile": (1.0, 0.0), "Glasses": (0.0, 1.0)}


def build() -> Generator:
    """A narrow StarGAN of 16 px with seeded weights that a few levels disrupt."""
    net = _seeded_stargan()
    return Generator("tiny", net, CLASSES, 16, fingerprint_of(net), translate=_steep)


def build_other() -> Generator:
    """The same net under another fingerprint."""
    net = _seeded_stargan(seed=1)
    return Generator("other", net, {"Old": (1.0, 1.0)}, 16, fingerprint_of(net), translate=_steep)


def build_flat() -> Generator:
    """A generator that no small perturbation disrupts: its output is the input."""
    return Generator("flat", nn.Identity(), {"same": ()}, 16, "flat", translate=lambda net, x_BCHW, c_BK: net(x_BCHW))


def build_broken() -> Generator:
    """A generator whose output is not a number."""
    net = _seeded_stargan()
    return Generator("broken", net, CLASSES, 16, "broken", translate=lambda net, x_BCHW, c_BK: net(x_BCHW, c_BK) * float("nan"))


def build_without_classes() -> Generator:
    """A generator that has nothing to be translated to."""
    return dataclasses.replace(build_flat(), classes={})


def not_a_generator() -> str:
    """What a builder must not return."""
    return "StarGAN"


def picture(width: int = 24, height: int = 20, *, seed: int = 0, mode: str = "RGB") -> Image.Image:
    """A smooth random picture."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def photo_bytes(width: int = 24, height: int = 20, *, seed: int = 0, mode: str = "RGB", suffix: str = ".jpg") -> bytes:
    """A picture as a file."""
    file = io.BytesIO()
    picture(width, height, seed=seed, mode=mode).save(file, {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP"}[suffix])
    return file.getvalue()


def photo_folder(folder: Path, names: dict[str, int] | None = None) -> Path:
    """A folder of small photos, one a name, seeded by its number; three by default, one of them in a folder inside."""
    for name, seed in (names or {"a.jpg": 1, "b.png": 2, "in/c.jpg": 3}).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo_bytes(20 + seed, 24 - seed, seed=seed, suffix=path.suffix))
    return folder


def nine_photos(folder: Path) -> Path:
    """JPEG and PNG, some of them in a folder of their own."""
    return photo_folder(folder, {f"{'in/' if i % 3 else ''}p{i}.{'jpg' if i % 2 else 'png'}": i for i in range(9)})


def _seeded_stargan(seed: int = 0) -> StarGANGenerator:
    net = StarGANGenerator(4, 2, 1)
    rng = torch.Generator().manual_seed(seed)
    for weight in net.parameters():
        noise = torch.randn(weight.shape, generator=rng)
        weight.data = 1 + 0.1 * noise if weight.dim() == 1 else noise / weight[0].numel() ** 0.5
    return net


def _steep(net: nn.Module, x_BCHW: Tensor, c_BK: Tensor) -> Tensor:
    """The net's output, steeper, and amplified fine detail, of which a perturbation has more than a photo."""
    detail_BCHW = x_BCHW - torch.nn.functional.avg_pool2d(x_BCHW, 3, stride=1, padding=1)
    y_BCHW: Tensor = net(x_BCHW, c_BK)
    return (2 * y_BCHW + 20 * detail_BCHW).tanh()
