"""pix2pixHD is attacked on its planes by whole levels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.generators.checkpoint import save_weights
from pipeline.generators.pix2pixhd import Pix2PixHDGenerator, label_planes
from pipeline.protection.options import ProtectConfig
from pipeline.tables.bench import fill
from pipeline.tables.cells import Net, Photos, Run, row
from pipeline.tables.options import TablesConfig
from pipeline.tables.planes import disrupted_planes


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Two held-out label maps of 32 x 64, and one with a photo."""
    rng = np.random.default_rng(0)
    for split, count in (("test", 2), ("train", 1)):
        for kind in ("label", "inst", *(["img"] if split == "train" else [])):
            (tmp_path / "scenes" / f"{split}_{kind}").mkdir(parents=True)
        for i in range(count):
            ids = np.kron(rng.integers(0, 35, (4, 8)), np.ones((8, 8))).astype(np.uint8)
            for kind in ("label", "inst"):
                Image.fromarray(ids).save(tmp_path / "scenes" / f"{split}_{kind}" / f"{i}.png")
            if split == "train":
                Image.fromarray(np.stack([ids] * 3, axis=2)).save(tmp_path / "scenes" / "train_img" / f"{i}.png")
    return tmp_path / "scenes"


def test_planes_are_perturbed_by_whole_levels_and_counted_like_photos(scenes: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Pix2PixHDGenerator(4, downs=1, blocks=1)
    weights = tmp_path / "net.safetensors"
    save_weights(net, weights, metadata={"size": "32"})
    config = TablesConfig("table1", scenes, work=tmp_path / "work", bootstrap=20, tracking=False)
    run = Run((Net("pix2pixHD", "pix2pixhd", weights, Photos(scenes, 2)),), parts=(("steps", 4),))
    (result,) = fill(config, [row(run, system="pix2pixHD")])
    options = ProtectConfig(str(scenes), "", generator=("pix2pixhd",), weights=(weights,), recipe="pgd", epsilon=6, steps=4)
    l2 = []
    for i, (_, x, y) in enumerate(disrupted_planes(options)):
        maps = [
            torch.from_numpy(np.array(Image.open(scenes / f"test_{kind}" / f"{i}.png")))[None].long() for kind in ("label", "inst")
        ]
        assert torch.equal(x, label_planes(maps[0], maps[1]))
        levels = (y - x) * 127.5
        assert 4 <= levels.abs().max().round() <= 6
        inside = (y > -1) & (y < 1)
        assert (levels - levels.round())[inside].abs().max() < 1e-3
        with torch.no_grad():
            l2.append((net(y) - net(x)).double().square().mean().item())
    assert result.line is not None
    assert len(l2) == result.line.samples == 2
    assert result.mean("l2") == pytest.approx(np.mean(l2), rel=1e-5)
    assert result.mean("l2") > 0
