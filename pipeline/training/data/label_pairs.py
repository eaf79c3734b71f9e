"""Street scenes as triples of label map, instance map and photo in train_label, train_inst and train_img: pix2pixHD's source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from pipeline.generators.pix2pixhd import LABELS, label_planes
from pipeline.images.levels import pixels_to_unit
from pipeline.training.data.batches import mirror, shuffled, stream_of
from pipeline.training.data.pictures import Fit, picture_files, read_pictures
from pipeline.training.options import TrainError
from pipeline.training.systems.system import Batch

ENDINGS = {"label": "_gtFine_labelIds", "inst": "_gtFine_instanceIds", "img": "_leftImg8bit"}
"""What follows the name of a scene in its files, by folder; a file without the ending is named like its scene."""
HELD_OUT = 4
MAP_MODES = ("L", "P", "I", "I;16", "I;16B")

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class Scenes:
    """Label ids (N, H, W) uint8, instance ids (N, H, W) int32, and photos (N, 3, H, W) uint8 or None where there are none."""

    labels_NHW: Tensor
    instances_NHW: Tensor
    u8_NCHW: Tensor | None
    skipped: int

    def batch(self, index_B: Tensor, mirrored_B: Tensor, labels: int) -> Batch:
        """{"planes": (B, labels + 1, H, W) of 0 and 1, "image": (B, 3, H, W) in [-1, 1] where there are photos}."""
        batch = {"planes": label_planes(self.labels_NHW[index_B], self.instances_NHW[index_B], labels)}
        if self.u8_NCHW is not None:
            batch["image"] = pixels_to_unit(self.u8_NCHW[index_B].float())
        return {name: mirror(tensor, mirrored_B) for name, tensor in batch.items()}


@dataclass(frozen=True)
class LabelPairs:
    """Batches of scenes, each a function of seed and step; every epoch shows each scene once, half of the time mirrored."""

    train: Scenes
    held: Scenes
    count: int
    """Scenes in a batch."""
    seed: int
    labels: int

    @property
    def skipped(self) -> int:
        """Scenes left out because a file of theirs cannot be read."""
        return self.train.skipped

    @property
    def pictures(self) -> list[Tensor]:
        """The photos."""
        return [] if self.train.u8_NCHW is None else [self.train.u8_NCHW]

    def batch(self, step: int) -> Batch:
        """The planes and photos of a step."""
        index_B = shuffled(self.seed, step, batch=self.count, count=len(self.train.labels_NHW), about="scenes")
        mirrored_B = torch.rand(self.count, generator=stream_of(self.seed, step)) < 0.5
        return self.train.batch(index_B, mirrored_B, self.labels)

    def held_out(self) -> Batch:
        """Up to four scenes of test_label and test_inst, which have no photos; of the training scenes where there are none."""
        index_B = torch.arange(min(HELD_OUT, len(self.held.labels_NHW)))
        return self.held.batch(index_B, torch.zeros(len(index_B), dtype=torch.bool), self.labels)


def load_label_pairs(folder: Path, *, size: int, count: int, seed: int, multiple: int = 16, labels: int = LABELS) -> LabelPairs:
    """The scenes of ``folder``, ``size`` pixels high, in the shape of the first map; their width is a multiple of ``multiple``.

    Maps are resized by the nearest pixel. Scenes with an unreadable file are left out and counted. Raises TrainError naming the
    files where a scene lacks one, its files differ in shape, or a label has no plane.
    """
    train = _scenes(folder, "train", ("label", "inst", "img"), size=size, multiple=multiple, labels=labels)
    held = train
    if (folder / "test_label").is_dir() and (folder / "test_inst").is_dir():
        held = _scenes(folder, "test", ("label", "inst"), size=size, multiple=multiple, labels=labels)
    return LabelPairs(train, held, count=count, seed=seed, labels=labels)


def _scenes(folder: Path, split: str, kinds: tuple[str, ...], *, size: int, multiple: int, labels: int) -> Scenes:
    files = _by_scene({kind: folder / f"{split}_{kind}" for kind in kinds})
    maps = {scene: pair for scene, paths in files.items() if (pair := _maps(paths, labels)) is not None}
    if not maps:
        raise TrainError(f"{folder / f'{split}_label'}: none of the label maps here can be read together with its instance map")
    first_HW = next(iter(maps.values()))[0].shape
    width = max(round(size * first_HW[1] / first_HW[0] / multiple), 1) * multiple
    scenes = list(maps)
    photos: Tensor | None = None
    if "img" in kinds:
        pictures = read_pictures([files[scene]["img"] for scene in scenes], Fit(size, width))
        scenes, photos = [scenes[row] for row in pictures.rows], pictures.u8_NCHW
        for scene, photo_HW in zip(scenes, pictures.shapes, strict=True):
            _check_shape(files[scene], maps[scene][0].shape, photo_HW)
    resized = [np.stack([_nearest(maps[scene][i], size, width) for scene in scenes]) for i in range(2)]
    return Scenes(
        torch.from_numpy(resized[0].astype(np.uint8)), torch.from_numpy(resized[1]), photos, skipped=len(files) - len(scenes)
    )


def _by_scene(folders: Mapping[str, Path]) -> dict[str, dict[str, Path]]:
    """The files of each scene by kind; raises TrainError naming files without their partners."""
    files: dict[str, dict[str, Path]] = {}
    for kind, folder in folders.items():
        for path in picture_files(folder):
            files.setdefault(path.stem.removesuffix(ENDINGS[kind]), {})[kind] = path
    alone = [next(iter(paths.values())) for paths in files.values() if len(paths) < len(folders)]
    if alone:
        shown = ", ".join(f"{path.parent.name}/{path.name}" for path in alone[:4]) + (", ..." if len(alone) > 4 else "")
        wanted = ", ".join(folder.name for folder in folders.values())
        raise TrainError(f"{len(alone)} scenes lack a file; each needs one in {wanted}. Without partners: {shown}")
    return dict(sorted(files.items()))


def _maps(paths: Mapping[str, Path], labels: int) -> tuple[Ids, Ids] | None:
    """Label and instance ids (H, W) of a scene, or None when a file cannot be read."""
    label_HW, instance_HW = _ids(paths["label"]), _ids(paths["inst"])
    if label_HW is None or instance_HW is None:
        return None
    if label_HW.shape != instance_HW.shape:
        shapes = " and ".join(f"{ids.shape[1]} x {ids.shape[0]}" for ids in (label_HW, instance_HW))
        raise TrainError(f"{paths['label']} and {paths['inst']} differ in size: {shapes} pixels")
    if label_HW.min() < 0 or label_HW.max() >= labels:
        raise TrainError(f"{paths['label']}: label ids must lie in 0..{labels - 1}, found {label_HW.min()}..{label_HW.max()}")
    return label_HW, instance_HW


def _ids(path: Path) -> Ids | None:
    try:
        with Image.open(path) as image:
            image.load()
            if image.mode not in MAP_MODES:
                raise TrainError(f"{path}: expected a map with one number per pixel, not a picture of mode {image.mode}")
            return np.asarray(image).astype(np.int32)
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError):
        return None


def _check_shape(paths: Mapping[str, Path], map_HW: tuple[int, ...], photo_HW: tuple[int, ...]) -> None:
    """Raise TrainError for a photo whose shape differs from its label map's by more than a pixel in a hundred."""
    if abs(photo_HW[1] / photo_HW[0] / (map_HW[1] / map_HW[0]) - 1) > 0.01:
        sizes = " and ".join(f"{shape[1]} x {shape[0]}" for shape in (photo_HW, map_HW))
        raise TrainError(f"{paths['img']} and {paths['label']} differ in shape: {sizes} pixels")


def _nearest(ids_HW: Ids, height: int, width: int) -> Ids:
    rows = ((np.arange(height) + 0.5) * ids_HW.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * ids_HW.shape[1] / width).astype(int)
    resized_HW: Ids = ids_HW[rows][:, columns]
    return resized_HW
