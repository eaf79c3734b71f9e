"""`--mask`, `--min-psnr`, `--min-ssim` and `--quality`: what may be seen of a protection, from the words of the call to files."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.images.quality import psnr, ssim
from pipeline.jobs.settings import parse
from pipeline.photos.visibility import mask_levels
from pipeline.protection.options import ProtectConfig
from pipeline.protection.quality import QUALITIES
from pipeline.protection.stages.disrupt import Protect
from pipeline.protection.stages.shown import show
from pipeline.protection.stages.strength import Floors, strongest
from tests.fast.protection.test_disrupt import WORKS, pixels, protect, work
from tests.fast.runs import files, rows, run
from tests.fast.signals.bundles import tiny_bundle
from tests.fast.tiny import BUILD, photo_bytes, photo_folder
from tests.fast.universal.bundles import tiny_file
from tests.verbs import evaluate

EPSILON = 18


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A photo that is smooth on the left and noise on the right, and two small ones, one of them grey."""
    folder = photo_folder(tmp_path / "photos", {"a.jpg": 1})
    half = np.full((24, 80, 3), 128, np.uint8)
    half[:, 40:] = np.random.default_rng(5).integers(0, 256, (24, 40, 3))
    Image.fromarray(half).save(folder / "half.png")
    (folder / "grey.png").write_bytes(photo_bytes(mode="L", suffix=".png"))
    return folder


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.protection.run.write_report", lambda *arguments, **options: "")


def read(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with Image.open(path) as image:
        pixels_HWC = np.asarray(image)
    return pixels_HWC if pixels_HWC.ndim == 3 else pixels_HWC[..., None]


def test_no_pixel_of_a_file_moves_by_more_than_the_mask_of_its_photo(photos: Path, tmp_path: Path) -> None:
    run(photos, tmp_path / "out", "--mask", "--epsilon", str(EPSILON), "--region", "whole")
    for key, row in rows(tmp_path / "out").items():
        photo, file = read(photos / key), read(tmp_path / "out" / row["output"])
        mask = mask_levels(photo, EPSILON)
        moved = np.abs(file.astype(int) - photo)
        assert (moved <= mask).all()
        assert (moved == mask).any()
        assert row["epsilon"] == EPSILON
        assert row["linf_levels"] == moved.max() <= EPSILON
        assert row["mask_mean"] == pytest.approx(mask.mean())
        assert key != "half.png" or (mask.min(), mask.max()) == (4, EPSILON)


@pytest.mark.parametrize("orientation", [1, 6])
def test_the_mask_holds_in_several_boxes_of_turned_photos_in_one_batch(orientation: int) -> None:
    boxes = ((1, 2, 14, 15), (20, 9, 37, 26)) if orientation == 1 else ((1, 2, 14, 15), (9, 20, 26, 37))
    shown = []
    for i in range(3):
        one = work(str(i), seed=i, size=(40 + i, 30))
        assert one.photo is not None
        turned = dataclasses.replace(one.photo, orientation=orientation)
        shown.append(show(dataclasses.replace(one, photo=turned, region="box", boxes=boxes), turned, "box"))
    stage = Protect(ProtectConfig("in", "out", generator=(BUILD,), steps=4, mask=True, epsilon=EPSILON, batch_size=3), threads=1)
    for before, done in zip(shown, stage._protect(shown), strict=True):
        photo_HWC = before.photo.pixels_HWC
        mask, moved = mask_levels(photo_HWC, EPSILON), np.abs(pixels(done).astype(int) - photo_HWC)
        assert (moved <= mask).all()
        assert all(region.cut(moved.astype(np.uint8)).any() for region in before.regions)
        inside = np.concatenate([region.cut(mask).ravel() for region in before.regions])
        assert done.mask_mean == pytest.approx(inside.mean())


@pytest.mark.parametrize(("recipe", "ball"), [("quick", "linf"), ("quick", "l2"), ("fgsm", "linf"), ("fgsm", "l2")])
def test_a_mask_that_allows_the_same_everywhere_changes_no_byte(monkeypatch: pytest.MonkeyPatch, recipe: str, ball: str) -> None:
    def same(photo_HWC: np.ndarray, most: int, box: tuple[int, int, int, int]) -> np.ndarray:
        return np.full((box[3] - box[1], box[2] - box[0], 1), most, np.uint8)

    plain = protect(WORKS, recipe=recipe, ball=ball)
    monkeypatch.setattr("pipeline.protection.stages.disrupt.mask_levels", same)
    for before, after in zip(plain, protect(WORKS, recipe=recipe, ball=ball, mask=True), strict=True):
        assert np.array_equal(pixels(before), pixels(after))
        assert (before.mask_mean, after.mask_mean, before.steps) == (None, 6, after.steps)


def test_a_signal_keeps_its_own_amplitude_and_the_mask_spreads_the_rest(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (key := tmp_path / "key").write_bytes(b"0123456789abcdef")
    signed = [
        "--signals",
        str(tiny_bundle(tmp_path / "set")),
        "--key-file",
        str(key),
        "--epsilon",
        str(EPSILON),
        "--region",
        "whole",
    ]
    run(photos, tmp_path / "alone", *signed, "--recipe", "none")
    run(photos, tmp_path / "both", *signed, "--mask")
    for name, row in rows(tmp_path / "both").items():
        carrier = read(tmp_path / "alone" / row["output"]).astype(int)
        budget = np.abs(carrier - read(photos / name)).max()
        left = mask_levels(read(photos / name), EPSILON - math.ceil(budget))
        assert (np.abs(read(tmp_path / "both" / row["output"]) - carrier) <= left).all()


def test_a_universal_perturbation_is_clipped_by_the_mask(photos: Path, tmp_path: Path) -> None:
    alone = ["--recipe", "none", "--universal", str(tiny_file(tmp_path / "one")), "--region", "whole", "--epsilon", "8"]
    assert run(photos, tmp_path / "plain", *alone) == 0
    assert run(photos, tmp_path / "masked", *alone, "--mask") == 0
    for name, row in rows(tmp_path / "masked").items():
        photo, plain = read(photos / name).astype(int), read(tmp_path / "plain" / row["output"])
        mask = mask_levels(read(photos / name), 8).astype(int)
        expected = photo + np.clip(plain - photo, -mask, mask)
        assert np.array_equal(read(tmp_path / "masked" / row["output"]), expected)
        assert row["mask_mean"] == pytest.approx(mask[(plain != photo).any(axis=2)].mean())


@given(st.lists(st.integers(0, 14), min_size=1, max_size=5), st.integers(1, 3), st.integers(3, 12))
@settings(deadline=None)
def test_bisection_finds_the_largest_strength_that_is_good(borders: list[int], least: int, most: int) -> None:
    tries = [0] * len(borders)

    def made(rows_: list[int], strengths: list[int]) -> list[tuple[int, int]]:
        for i in rows_:
            tries[i] += 1
        return list(zip(rows_, strengths, strict=True))

    found = strongest(len(borders), made, lambda one: one[1] <= borders[one[0]], least=least, most=most)
    for i, (border, one) in enumerate(zip(borders, found, strict=True)):
        good = [strength for strength in range(least, most + 1) if strength <= border]
        assert one == ((i, max(good)) if good else None)
    assert max(tries) <= 1 + math.ceil(math.log2(most - least + 1))


@pytest.mark.parametrize("floors", [{"min_psnr": 41.0}, {"min_ssim": 0.99}, {"min_psnr": 41.0, "mask": True},
                                    {"min_psnr": 36.0, "min_ssim": 0.9, "format": "jpeg"}])  # fmt: skip
def test_every_file_reaches_the_floor_with_the_largest_epsilon_that_does(floors: dict[str, Any]) -> None:
    others = {name: value for name, value in floors.items() if not name.startswith("min_")}
    floor = Floors(floors.get("min_psnr"), floors.get("min_ssim"))
    for before, done in zip(WORKS, protect(WORKS, epsilon=9, **floors), strict=True):
        assert before.photo is not None
        assert done.epsilon is not None
        assert floor.reached(before.photo.pixels_HWC, pixels(done))
        (same,) = protect([before], epsilon=done.epsilon, **others)
        assert np.array_equal(pixels(same), pixels(done))
        if done.epsilon < 9:
            (more,) = protect([before], epsilon=done.epsilon + 1, **others)
            assert not floor.reached(before.photo.pixels_HWC, pixels(more))


def test_floors_compare_the_files_own_psnr_and_ssim() -> None:
    photo = WORKS[0].photo
    assert photo is not None
    file = pixels(protect(WORKS[:1])[0])
    dB, similar = psnr(photo.pixels_HWC, file), ssim(photo.pixels_HWC, file)
    for floors, reached in ((Floors(dB, similar), True), (Floors(dB + 1e-9, None), False), (Floors(None, similar + 1e-9), False)):
        assert floors.reached(photo.pixels_HWC, file) == reached


def test_a_floor_that_no_epsilon_reaches_fails_the_photo_and_says_so(photos: Path, tmp_path: Path) -> None:
    assert run(photos, tmp_path / "out", "--min-psnr", "70") == 1
    assert {row["status"] for row in rows(tmp_path / "out").values()} == {"failed"}
    assert all("--min-psnr 70 dB" in row["reason"] and row["output"] is None for row in rows(tmp_path / "out").values())


def test_photos_in_one_batch_get_the_epsilon_that_they_get_alone() -> None:
    stage = Protect(ProtectConfig("in", "out", generator=(BUILD,), steps=4, min_psnr=41.0, epsilon=9), threads=1)
    works = [work(key, seed=i, size=(24, 20)) for i, key in enumerate("abc")]
    together = stage._protect([show(one, one.photo, "square") for one in works if one.photo])
    assert [one.epsilon for one in together] == [stage([one])[0].epsilon for one in works]


def parsed(*words: str) -> ProtectConfig:
    return parse(ProtectConfig, ["in", "out", *words], prog="disrupt protect")


@pytest.mark.parametrize("word", QUALITIES)
def test_a_quality_stands_for_its_options_and_what_is_given_wins(word: str, tmp_path: Path) -> None:
    values = QUALITIES[word]
    config = parsed("--quality", word)
    assert {name: getattr(config, name) for name in values} == values
    assert config.what_changes_results() == dataclasses.replace(parsed(), **values).what_changes_results()
    own = parsed("--quality", word, "--epsilon", "7", "--no-mask", "--steps", "3")
    assert (own.epsilon, own.mask, own.recipe, own.steps) == (7, False, values["recipe"], 3)
    (file := tmp_path / "options.yaml").write_text(f"quality: {word}\nepsilon: 11\n")
    assert (from_file := parsed("--config", str(file))).epsilon == 11
    assert from_file.mask
    assert parsed("--config", str(file), "--epsilon", "13").epsilon == 13


@pytest.mark.parametrize("words", [
    ["--min-psnr", "10"], ["--min-psnr", "nan"], ["--min-ssim", "1"],
    ["--recipe", "none", "--signals", "shipped", "--min-psnr", "40"], ["--recipe", "none", "--signals", "shipped", "--preview"],
    ["--preview", "--dry-run"],
])  # fmt: skip
def test_what_cannot_be_is_refused(photos: Path, tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(photos, tmp_path / "out", *words) == 2
    assert not (tmp_path / "out").exists()
    assert next(word for word in words if word.startswith(("--min", "--prev"))) in capsys.readouterr().err


def test_files_with_masks_and_floors_are_evaluated_without_a_flag(photos: Path, tmp_path: Path) -> None:
    run(photos, tmp_path / "out", "--mask", "--epsilon", "9", "--min-psnr", "38", "--region", "square")
    words = ["--no-tracking", "--engine", "local", "--channels", "clean", "--bootstrap", "0"]
    evaluate([str(photos), str(tmp_path / "out"), "--out", str(tmp_path / "measured"), "--generator", BUILD, *words])
    found = {row["key"]: row for row in pq.read_table(tmp_path / "measured" / "evaluation.parquet").to_pylist()}
    for key, row in rows(tmp_path / "out").items():
        assert found[key]["epsilon"] == row["epsilon"]
        assert not found[key]["flags"]


def test_a_preview_writes_a_page_and_pictures_and_nothing_else(photos: Path, tmp_path: Path) -> None:
    page = tmp_path / "out-preview"
    assert run(photos, tmp_path / "out", "--preview") == 0
    assert not (tmp_path / "out").exists()
    names = {"report.html", "photo.png", *(f"{word}.png" for word in QUALITIES)}
    assert {path.name for path in page.iterdir()} == names
    assert np.array_equal(read(page / "photo.png"), read(photos / "a.jpg"))
    for word, values in QUALITIES.items():
        run(photos / "a.jpg", tmp_path / word, "--quality", word)
        assert np.array_equal(read(page / f"{word}.png"), read(tmp_path / word / "a.png"))
        assert f"--epsilon {values['epsilon']}" in (page / "report.html").read_text()
    before = files(page)
    assert run(photos, tmp_path / "out", "--preview") == 0
    assert files(page) == before
    (page / "mine.txt").write_text("keep")
    assert run(photos, tmp_path / "out", "--preview") == 2
    assert (page / "mine.txt").read_text() == "keep"


def test_a_preview_shows_the_first_photo_that_can_be_used(tmp_path: Path) -> None:
    (photos := tmp_path / "photos").mkdir()
    (photos / "a.jpg").write_bytes(b"no photo")
    assert run(photos, tmp_path / "none", "--preview") == 1
    (photos / "b.png").write_bytes(photo_bytes(suffix=".png"))
    assert run(photos, tmp_path / "out", "--preview") == 0
    assert np.array_equal(read(tmp_path / "out-preview" / "photo.png"), read(photos / "b.png"))
