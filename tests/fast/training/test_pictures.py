"""Pictures to train on come upright, whichever way their files store them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from pipeline.containers.find import find_photos
from pipeline.training.data.pictures import Fit, read_pictures
from pipeline.training.data.store import Store, in_memory
from tests.fast.tiny import picture


def turned_files(folder: Path, *, mode: str = "RGB") -> list[Path]:
    """One picture in nine files of the same pixels: without a tag, and with each of the eight."""
    folder.mkdir()
    files = []
    for tag in (None, *range(1, 9)):
        exif = Image.Exif()
        if tag is not None:
            exif[0x0112] = tag
        picture(40, 30, seed=3, mode=mode).save(path := folder / f"{tag or 0}.png", exif=exif)
        files.append(path)
    return files


def as_shown(files: list[Path], fit: Fit) -> torch.Tensor:
    """What Pillow shows of the files, brought to the size."""
    shown = []
    for file in files:
        with Image.open(file) as image:
            shown.append(fit(np.asarray(ImageOps.exif_transpose(image).convert("RGB"))))
    return torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("fit", [Fit(30, 40), Fit(40, 30), Fit(16, 24), Fit(20, 20, square=True)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_pictures_are_read_as_pillow_shows_them_from_files_in_memory_and_in_containers(tmp_path: Path, fit: Fit, mode: str) -> None:
    files = turned_files(tmp_path / "files", mode=mode)
    shown = as_shown(files, fit)
    read = read_pictures(files, fit)
    assert torch.equal(read.u8_NCHW, shown)
    assert read.shapes == ((30, 40),) * 5 + ((40, 30),) * 4
    on_disk, _ = Store(tmp_path / "kept", most_bytes=0).files(files, fit)
    assert torch.equal(in_memory(on_disk), shown)
    with tarfile.open(tmp_path / "all.tar", "w") as tar:
        for file in files:
            tar.addfile(_header(file), io.BytesIO(file.read_bytes()))
    refs = find_photos(tmp_path / "all.tar", containers=True).refs
    assert torch.equal(Store(tmp_path / "first").first(refs, fit, count=9), shown)


def _header(file: Path) -> tarfile.TarInfo:
    header = tarfile.TarInfo(file.name)
    header.size = file.stat().st_size
    return header
