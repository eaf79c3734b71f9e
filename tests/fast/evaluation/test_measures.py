"""The numbers of a pair against a computation of their own in NumPy, and the files that cannot be measured."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pipeline.containers.listing import PhotoRef
from pipeline.evaluation.look import BEYOND, CHANGED, LOSSY, ORIGINAL_CHANGED, TURNED, look, seed_of, with_noise
from pipeline.evaluation.measures import Measure
from pipeline.evaluation.options import EvaluateConfig
from pipeline.evaluation.pairs import Pair
from pipeline.evaluation.row import EvaluationRow
from tests.fast import tiny

CONFIG = EvaluateConfig("in", "out", generator=(tiny.BUILD,), region="whole", epsilon=6, channels=("clean",))
Floats = NDArray[np.float64]


def stored(path: Path, picture: Image.Image, **options: object) -> PhotoRef:
    picture.save(path, **options)  # type: ignore[arg-type]
    return PhotoRef(path.name, str(path), path.stat().st_size)


def pair_of(folder: Path, *, width: int = 16, height: int = 16, levels: int = 6, seed: int = 0, mode: str = "RGB") -> Pair:
    """An original and the same with random levels added, both as PNG."""
    original = tiny.picture(width, height, seed=seed, mode=mode)
    pixels = np.asarray(original).astype(int)
    shifted = np.clip(pixels + np.random.default_rng(seed).integers(-levels, levels + 1, pixels.shape), 0, 255).astype(np.uint8)
    names = stored(folder / f"{seed}.png", original), stored(folder / f"{seed}-protected.png", Image.fromarray(shifted))
    return Pair(f"{seed}.png", *names)


def rows_of(pair: Pair, config: EvaluateConfig = CONFIG, sizes: Sequence[int] = (16,)) -> list[EvaluationRow]:
    return Measure(config, threads=1)(look([pair], config, sizes))


def output(pixels_HWC: NDArray[np.uint8], class_name: str) -> Floats:
    """What the tiny generator makes of pixels of its own size, (3, H, W)."""
    x = torch.tensor(pixels_HWC.astype(np.float64).transpose(2, 0, 1)[None] / 127.5 - 1, dtype=torch.float32)
    with torch.no_grad():
        return tiny.build()(x, class_name)[0].double().numpy()


def _left(disrupted_HW: Floats, clean_HW: Floats) -> float:
    """What a straight line through the pixels of a channel leaves."""
    return float(np.var(clean_HW) * (1 - np.corrcoef(disrupted_HW.flatten(), clean_HW.flatten())[0, 1] ** 2))


def test_the_numbers_are_those_of_a_computation_of_their_own(tmp_path: Path) -> None:
    pair = pair_of(tmp_path)
    before, after = (np.asarray(Image.open(ref.uri)) for ref in (pair.original, pair.protected) if ref)
    noise = np.random.default_rng(seed_of(0, "0.png", "noise")).integers(-6, 7, before.shape, dtype=np.int16)
    noisy = (before.astype(int) + noise).clip(0, 255).astype(np.uint8)
    found = {row.class_name: row for row in rows_of(pair)}
    assert set(found) == {"Smile", "Glasses"}
    for name, row in found.items():
        assert name
        clean = output(before, name)
        d = output(after, name) - clean
        x = before.astype(np.float64).transpose(2, 0, 1) / 127.5 - 1
        mask = np.abs(clean - x).sum(0) > 0.5
        assert row.l1 == pytest.approx(np.abs(d).mean(), rel=1e-4)
        assert row.l2 == pytest.approx(np.square(d).mean(), rel=1e-4)
        assert row.disrupted == (np.square(d).mean() >= 0.05)
        assert row.mask_share == pytest.approx(mask.mean())
        assert row.l2_mask == pytest.approx(np.square(d[:, mask]).mean(), rel=1e-4)
        assert row.floor_l2 == pytest.approx(np.square(output(noisy, name) - clean).mean(), rel=1e-4)
        assert row.levelled == pytest.approx(
            np.mean([_left(*pair) for pair in zip(output(after, name), clean, strict=True)]), rel=1e-4
        )
        assert row.over_edit == pytest.approx(np.square(d).mean() / np.square(clean - x).mean(), rel=1e-4)
        assert row.local and row.output_ssim
        assert row.linf_levels == np.abs(after.astype(int) - before).max()
        assert row.psnr == pytest.approx(10 * np.log10(255**2 / np.square(after.astype(float) - before).mean()))
        assert (row.status, row.generator, row.channel, row.epsilon) == ("measured", "tiny", "clean", 6)


def test_a_channel_goes_over_both_files_and_the_noisy_one(tmp_path: Path) -> None:
    pair = pair_of(tmp_path)
    before, after = (np.asarray(Image.open(ref.uri)) for ref in (pair.original, pair.protected) if ref)

    def through(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=75)  # 4:2:0 is what Pillow does unless told otherwise
        return np.asarray(Image.open(file))

    config = dataclasses.replace(CONFIG, channels=("clean", "jpeg-75"))
    (row,) = (row for row in rows_of(pair, config) if (row.channel, row.class_name) == ("jpeg-75", "Smile"))
    clean = output(through(before), "Smile")
    assert row.l2 == pytest.approx(np.square(output(through(after), "Smile") - clean).mean(), rel=1e-4)
    noisy = with_noise(before, 6, seed_of(0, "0.png", "noise"))
    assert row.floor_l2 == pytest.approx(np.square(output(through(noisy), "Smile") - clean).mean(), rel=1e-4)


def test_the_numbers_of_a_pair_do_not_depend_on_its_neighbours_nor_a_channels_on_other_channels(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, channels=("clean", "noise-2", "crop-10"), region="square")
    pairs = [pair_of(tmp_path, seed=seed, width=20 + seed) for seed in range(3)]
    together = Measure(config, threads=1)(look(pairs, config, (16,)))
    alone = [row for pair in reversed(pairs) for row in rows_of(pair, config)]
    assert sorted(map(repr, together)) == sorted(map(repr, alone))
    fewer = rows_of(pairs[0], dataclasses.replace(config, channels=("noise-2",)))
    assert set(map(repr, fewer)) <= set(map(repr, alone))
    other_seed = rows_of(pairs[0], dataclasses.replace(config, channels=("noise-2",), seed=1))
    assert {row.l2 for row in other_seed}.isdisjoint(row.l2 for row in fewer)
    other_key = rows_of(dataclasses.replace(pairs[0], key="other"), dataclasses.replace(config, channels=("noise-2",)))
    assert {row.l2 for row in other_key}.isdisjoint(row.l2 for row in fewer)


def test_two_equal_files_differ_in_nothing_whatever_the_channel(tmp_path: Path) -> None:
    pair = dataclasses.replace(pair_of(tmp_path, levels=0, width=40, height=30))
    for row in rows_of(pair, dataclasses.replace(CONFIG, channels=("clean", "noise-2", "jpeg-50", "screenshot"))):
        assert (row.l1, row.l2, row.disrupted, row.linf_levels, row.psnr) == (0, 0, False, 0, np.inf)


def test_an_empty_mask_is_no_success(tmp_path: Path) -> None:
    rows = rows_of(pair_of(tmp_path, levels=100), dataclasses.replace(CONFIG, generator=("tests.fast.tiny:build_flat",)))
    assert [(row.mask_share, row.l2_mask, row.success_mask) for row in rows] == [(0, 0, False)]
    assert rows[0].l2 is not None
    assert rows[0].l2 > 0.05
    assert rows[0].disrupted


def test_outputs_that_are_no_numbers_fail_their_rows_with_the_reason(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, generator=("tests.fast.tiny:build_broken", tiny.BUILD))
    found = {(row.generator, row.class_name): row for row in rows_of(pair_of(tmp_path), config)}
    assert found["tiny", "Smile"].status == "measured"
    broken = found["broken", "Smile"]
    assert (broken.status, broken.stage, broken.l2) == ("failed", "generator", None)
    assert broken.reason == "broken gives values that are not numbers for class Smile"


def test_a_file_that_was_made_anew_is_measured_as_it_is_and_flagged(tmp_path: Path) -> None:
    pair = pair_of(tmp_path, width=64, height=48, seed=2)
    before = Image.open(tmp_path / "2.png")
    again = stored(tmp_path / "again.jpg", before, quality=40)
    flagged = dataclasses.replace(pair, protected=again, sha256_in="0" * 64, sha256_out="0" * 64, epsilon=1)
    row = rows_of(flagged)[0]
    assert row.flags == (CHANGED, ORIGINAL_CHANGED, LOSSY, BEYOND)
    assert row.status == "measured"
    assert row.linf_levels == np.abs(np.asarray(Image.open(tmp_path / "again.jpg")).astype(int) - np.asarray(before)).max()


EXIF = b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"


@pytest.mark.parametrize(
    ("suffix", "options", "lossy"),
    [
        (".webp", {"lossless": True}, False),
        (".webp", {"lossless": True, "exif": EXIF}, False),
        (".webp", {"quality": 90}, True),
        (".webp", {"quality": 90, "exif": EXIF}, True),
        (".png", {}, False),
        (".jpg", {"quality": 95}, True),
    ],
)
def test_lossy_formats_are_flagged(tmp_path: Path, suffix: str, options: dict[str, object], lossy: bool) -> None:
    pair = dataclasses.replace(pair_of(tmp_path), protected=stored(tmp_path / f"x{suffix}", tiny.picture(16, 16), **options))
    assert (LOSSY in rows_of(pair)[0].flags) is lossy


def test_another_size_is_no_pair_and_says_both(tmp_path: Path) -> None:
    pair = dataclasses.replace(pair_of(tmp_path), protected=stored(tmp_path / "small.png", tiny.picture(20, 30)))
    (row,) = rows_of(pair)
    assert (row.status, row.stage, row.generator) == ("failed", "pair", None)
    assert row.reason == "the two are of different sizes, 16 x 16 and 20 x 30 pixels: no pair, or the protected file was resized"


def test_a_file_stored_turned_is_the_same_picture_and_a_grey_one_in_colour_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    original = stored(tmp_path / "a.png", tiny.picture(24, 20, mode="L"), exif=exif)
    upright = tiny.picture(24, 20, mode="L").transpose(Image.Transpose.ROTATE_270).convert("RGB")
    rows = rows_of(Pair("a.png", original, stored(tmp_path / "b.png", upright)))
    assert {(row.linf_levels, row.l2, row.flags) for row in rows} == {(0, 0.0, (TURNED,))}


def test_unreadable_files_say_which_of_the_two_and_why(tmp_path: Path) -> None:
    pair = pair_of(tmp_path)
    (tmp_path / "text.png").write_text("not a picture")
    text, gone = (PhotoRef(name, str(tmp_path / name), 1) for name in ("text.png", "gone.png"))
    (row,) = rows_of(dataclasses.replace(pair, protected=text))
    assert (row.status, row.stage) == ("failed", "read")
    assert (row.reason or "").startswith("protected: not an image")
    (row,) = rows_of(dataclasses.replace(pair, original=gone))
    assert (row.reason or "").startswith("original: cannot be read: ")


def test_a_box_is_needed_where_it_was_asked_for(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, region="box", channels=("clean", "crop-10"))
    pair = pair_of(tmp_path, width=100, height=60)
    (row,) = rows_of(pair, config)
    assert (row.status, row.stage) == ("failed", "view")
    assert pair.original
    edge = dataclasses.replace(pair, original=dataclasses.replace(pair.original, boxes=((0, 0, 5, 60),)))
    assert {(row.channel, row.status, row.reason) for row in rows_of(edge, config)} == {
        ("clean", "measured", None),
        ("crop-10", "failed", "crop-10: nothing is left of the box"),
    }


@settings(max_examples=30)
@given(st.integers(1, 64), st.integers(0, 2**40))
def test_the_noise_is_whole_levels_within_epsilon_and_reaches_it(epsilon: int, seed: int) -> None:
    grey = np.full((40, 40, 3), 128, np.uint8)
    difference = with_noise(grey, epsilon, seed).astype(int) - 128
    assert np.abs(difference).max() == epsilon
    assert abs(difference.mean()) < epsilon / 5
