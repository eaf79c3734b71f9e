"""Folders of pictures and of label maps as sources: the same batch for the same step, and what is refused."""

from __future__ import annotations

import pickle
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.generators.pix2pixhd import label_planes
from pipeline.training.data.batches import shuffled
from pipeline.training.data.label_pairs import load_label_pairs
from pipeline.training.data.unpaired import load_unpaired
from pipeline.training.options import TrainError


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 5))
def test_every_epoch_takes_every_image_once_whatever_the_batch(batch: int, count: int, seed: int) -> None:
    steps = [shuffled(seed, s, batch=batch, count=count, about="x") for s in range(2 * count)]
    taken = torch.cat(steps)[: 2 * batch * count // count * count].view(-1, count)
    assert all(sorted(epoch.tolist()) == list(range(count)) for epoch in taken)


def picture(path: Path, value: int, size: tuple[int, int] = (40, 40)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rising_to_the_right = np.linspace(0, 40, size[0])[None, :, None]
    Image.fromarray((np.zeros((size[1], size[0], 3)) + rising_to_the_right + value).astype(np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(5):
        picture(tmp_path / "trainA" / f"{i}.png", 10 * i)
    for i in range(3):
        picture(tmp_path / "trainB" / f"{i}.png", 100 + 10 * i)
    return tmp_path


def test_a_batch_depends_on_seed_and_step_alone_also_on_the_other_side_of_a_pickle(folder: Path) -> None:
    source = load_unpaired(folder, size=32, count=2, seed=3)
    again = pickle.loads(pickle.dumps(load_unpaired(folder, size=32, count=2, seed=3)))
    expected = [source.batch(step) for step in range(4)]
    for step in (3, 1, 2, 0):
        got = again.batch(step)
        assert all(torch.equal(got[kind], expected[step][kind]) for kind in "AB")
        assert got["A"].shape == (2, 3, 32, 32)
        assert got["A"].dtype == torch.float32
    other = load_unpaired(folder, size=32, count=2, seed=4).batch(0)
    assert not torch.equal(other["A"], expected[0]["A"])


def test_pictures_are_of_their_kind_in_minus_one_to_one_and_cropped_and_mirrored(folder: Path) -> None:
    source = load_unpaired(folder, size=32, count=4, seed=0)
    batches = [source.batch(step) for step in range(12)]
    a, b = (torch.cat([batch[kind] for batch in batches]) for kind in "AB")
    assert a.min() >= -1
    assert a.max() <= 80 / 127.5 - 0.99
    assert b.min() >= 100 / 127.5 - 1 - 0.02
    assert len({tuple(crop.flatten().tolist()) for crop in a}) > 20
    rising = (a[:, 0, 0, -1] > a[:, 0, 0, 0]).float().mean()
    assert 0.2 < rising < 0.8


def test_a_picture_that_cannot_be_read_is_skipped_and_counted(folder: Path) -> None:
    whole = (folder / "trainA" / "4.png").read_bytes()
    (folder / "trainA" / "4.png").write_bytes(whole[: len(whole) // 2])
    (folder / "trainB" / "empty.jpg").write_bytes(b"")
    source = load_unpaired(folder, size=32, count=2, seed=0)
    assert source.skipped == 2
    assert {kind: len(u8) for kind, u8 in source.u8_NCHW.items()} == {"A": 4, "B": 3}


def test_held_out_pictures_come_from_the_test_folders_in_equal_numbers(folder: Path) -> None:
    assert {kind: len(t) for kind, t in load_unpaired(folder, size=32, count=2, seed=0).held_out().items()} == {"A": 3, "B": 3}
    picture(folder / "testA" / "x.png", 200)
    for i in range(2):
        picture(folder / "testB" / f"{i}.png", 5)
    held = load_unpaired(folder, size=32, count=2, seed=0).held_out()
    assert held["A"].shape == held["B"].shape == (1, 3, 32, 32)
    assert held["A"].min() > 190 / 127.5 - 1


def test_a_folder_that_is_missing_empty_or_unreadable_is_refused_by_name(folder: Path) -> None:
    for path in (folder / "trainB").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(TrainError, match="none of 3 pictures can be read"):
        load_unpaired(folder, size=32, count=2, seed=0)
    for path in (folder / "trainB").iterdir():
        path.unlink()
    with pytest.raises(TrainError, match="trainB: no picture"):
        load_unpaired(folder, size=32, count=2, seed=0)
    shutil.rmtree(folder / "trainB")
    with pytest.raises(TrainError, match="trainB: expected a folder"):
        load_unpaired(folder, size=32, count=2, seed=0)


def test_horses_and_zebras_are_read(shared: Path, tmp_path: Path) -> None:
    for part in ("trainA", "trainB"):
        (tmp_path / part).mkdir()
        for path in sorted((shared / "data" / "horse2zebra" / part).iterdir())[:6]:
            shutil.copy(path, tmp_path / part)
    source = load_unpaired(tmp_path, size=64, count=3, seed=0)
    assert source.skipped == 0
    assert source.batch(0)["B"].shape == (3, 3, 64, 64)


def scene(folder: Path, name: str, label: int, *, photo: tuple[int, int] = (64, 32), split: str = "train") -> None:
    """A scene whose left half is label 0 and whose right half is ``label``, an object with an id beyond 8 bits."""
    ids = np.zeros((32, 64), np.uint8)
    ids[:, 32:] = label
    for kind, array in (("label_gtFine_labelIds", ids), ("inst_gtFine_instanceIds", ids.astype(np.uint16) * 1000)):
        part, _, ending = kind.partition("_")
        path = folder / f"{split}_{part}" / f"{name}_{ending}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path)
    if split == "train":
        picture(folder / "train_img" / f"{name}_leftImg8bit.png", 5 * label, photo)


@pytest.fixture
def streets(tmp_path: Path) -> Path:
    for i in range(3):
        scene(tmp_path, f"town_{i}", 10 + i)
    return tmp_path


def test_scenes_come_as_planes_and_photos_that_belong_together_and_are_mirrored_together(streets: Path) -> None:
    source = load_label_pairs(streets, size=32, count=2, seed=0)
    sides: Counter[bool] = Counter()
    for step in range(12):
        batch = source.batch(step)
        assert batch["planes"].shape == (2, 36, 32, 64)
        for planes, image in zip(batch["planes"], batch["image"], strict=True):
            label = int(planes[1:35].sum((1, 2)).argmax()) + 1
            mirrored = bool(planes[label, :, :32].all())
            sides[mirrored] += 1
            levels = (image + 1) * 127.5
            assert levels.min().item() == pytest.approx(5 * label, abs=1)
            assert bool(levels[0, 0, 0] > levels[0, 0, -1]) == mirrored  # its rows rise to the right
            assert planes[35].sum() == 64  # both sides of the one border
    assert min(sides.values()) >= 5
    again = pickle.loads(pickle.dumps(source)).batch(7)
    assert all(torch.equal(tensor, again[name]) for name, tensor in source.batch(7).items())


def test_maps_are_resized_by_the_nearest_pixel_and_the_width_is_a_multiple_of_sixteen(streets: Path) -> None:
    batch = load_label_pairs(streets, size=16, count=1, seed=0).batch(0)
    assert batch["planes"].shape == (1, 36, 16, 32)
    assert set(batch["planes"].unique().tolist()) == {0.0, 1.0}
    assert batch["image"].shape == (1, 3, 16, 32)


def test_held_out_scenes_have_no_photos(streets: Path) -> None:
    assert set(load_label_pairs(streets, size=32, count=1, seed=0).held_out()) == {"planes", "image"}
    scene(streets, "other", 20, split="test")
    held = load_label_pairs(streets, size=32, count=1, seed=0).held_out()
    assert set(held) == {"planes"}
    assert held["planes"][0, 20].any()


@pytest.mark.parametrize("gone", ["train_label/town_1_gtFine_labelIds.png", "train_img/town_1_leftImg8bit.png"])
def test_a_scene_without_its_map_or_photo_is_refused_by_the_name_of_what_is_there(streets: Path, gone: str) -> None:
    (streets / gone).unlink()
    with pytest.raises(TrainError, match=r"1 scenes lack a file.*train_label, train_inst, train_img.*town_1"):
        load_label_pairs(streets, size=32, count=1, seed=0)


def test_files_of_a_scene_that_do_not_fit_each_other_are_refused_by_name(streets: Path) -> None:
    picture(streets / "train_img" / "town_2_leftImg8bit.png", 0, (64, 48))
    with pytest.raises(
        TrainError, match=r"town_2_leftImg8bit.png and .*town_2_gtFine_labelIds.png differ in shape: 64 x 48 and 64 x 32"
    ):
        load_label_pairs(streets, size=32, count=1, seed=0)
    Image.fromarray(np.zeros((16, 64), np.uint16)).save(streets / "train_inst" / "town_0_gtFine_instanceIds.png")
    with pytest.raises(TrainError, match=r"town_0_gtFine_labelIds.png and .*differ in size"):
        load_label_pairs(streets, size=32, count=1, seed=0)


def test_a_label_without_a_plane_and_a_map_in_colours_are_refused_by_name(streets: Path) -> None:
    path = streets / "train_label" / "town_0_gtFine_labelIds.png"
    Image.fromarray(np.full((32, 64), 35, np.uint8)).save(path)
    with pytest.raises(TrainError, match=r"town_0_gtFine_labelIds.png: label ids must lie in 0..34, found 35..35"):
        load_label_pairs(streets, size=32, count=1, seed=0)
    picture(path, 0, (64, 32))
    with pytest.raises(TrainError, match=r"town_0.*one number per pixel"):
        load_label_pairs(streets, size=32, count=1, seed=0)


@pytest.mark.parametrize("broken", ["label/town_0_gtFine_labelIds", "inst/town_0_gtFine_instanceIds", "img/town_0_leftImg8bit"])
def test_a_scene_with_an_unreadable_file_is_skipped_and_counted(streets: Path, broken: str) -> None:
    path = streets / f"train_{broken}.png"
    path.write_bytes(path.read_bytes()[:40])
    source = load_label_pairs(streets, size=32, count=2, seed=0)
    assert source.skipped == 1
    assert {int(source.batch(s)["planes"][0, 1:35].sum((1, 2)).argmax()) + 1 for s in range(6)} == {11, 12}


def test_the_streets_at_hand_have_eight_scenes_with_sixteen_bit_objects(shared: Path) -> None:
    folder = shared / "data" / "cityscapes"
    source = load_label_pairs(folder, size=256, count=1, seed=0)
    assert source.skipped == 0
    assert len(source.train.labels_NHW) == 8
    first = sorted(folder.glob("train_label/*"))[0]
    instance = folder / "train_inst" / first.name.replace("labelIds", "instanceIds")
    labels, instances = (torch.from_numpy(np.asarray(Image.open(p)).astype(np.int64))[None] for p in (first, instance))
    kept = source.train.batch(torch.tensor([0]), torch.tensor([False]), 35)
    assert torch.equal(kept["planes"], label_planes(labels, instances))
    assert source.held_out()["planes"].shape == (4, 36, 256, 512)
