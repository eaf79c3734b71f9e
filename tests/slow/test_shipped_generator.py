"""The shipped generator on sample photos: it keeps the person, edits what is asked, and is disrupted on the written file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from pipeline.generators.zoo import load_generator
from pipeline.images.resize import pixels_to_tensor
from pipeline.jobs.samples import copy_samples
from tests.verbs import protect

OPPOSED = (("Black_Hair", "Brown_Hair"), ("Male", "Female"), ("Young", "Old"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sample photos, scaled down to 256 px so that the test is about the generator and not about file sizes."""
    folder = tmp_path_factory.mktemp("photos")
    for path in copy_samples(folder)[3:]:
        path.unlink()
    for path in folder.iterdir():
        with Image.open(path) as image:
            image.convert("RGB").resize((256, 256), Image.Resampling.LANCZOS).save(path, quality=95, subsampling=0)
    return folder


def test_the_shipped_generator_is_disrupted_in_every_class_on_files_that_stay_close_to_the_photos(
    photos: Path, tmp_path: Path
) -> None:
    assert protect([str(photos), str(tmp_path / "out"), "--engine", "local", "--no-tracking", "--examples", "1"]) == 0
    for row in pq.read_table(tmp_path / "out" / "manifest.parquet").to_pylist():
        assert row["status"] == "protected"
        assert min(row["class_l2"]) >= 0.05
        assert row["psnr"] >= 32
        assert 0 < row["linf_levels"] <= 6
        with Image.open(photos / row["key"]) as before, Image.open(tmp_path / "out" / row["output"]) as after:
            difference = np.asarray(after).astype(int) - np.asarray(before.convert("RGB")).astype(int)
        assert np.abs(difference).max() == row["linf_levels"]


@pytest.mark.parametrize(
    ("name", "most", "least"),
    [
        ("stargan-faces", 0.3, 0.02),
        ("stargan-portraits", 0.15, 0.02),
        ("stargan-sharp", 0.2, 0.02),
        ("stargan-sharp-hardened", 0.2, 0.02),
    ],
)
@torch.no_grad()
def test_a_shipped_generator_keeps_the_photo_when_asked_for_nothing_and_edits_when_asked(
    name: str, most: float, least: float, photos: Path
) -> None:
    generator = load_generator(name)
    for path in photos.iterdir():
        with Image.open(path) as image:
            small = np.asarray(image.convert("RGB").resize((generator.size, generator.size), Image.Resampling.LANCZOS))
        x_1CHW = pixels_to_tensor(small)
        nothing_1K = torch.zeros(1, len(next(iter(generator.classes.values()))))
        kept = (generator.translate(generator.net, x_1CHW, nothing_1K) - x_1CHW).abs().mean()
        edits = [(generator(x_1CHW, a) - generator(x_1CHW, b)).abs().mean() for a, b in OPPOSED]
        assert kept < most
        assert min(edits) > least
