from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from torch import nn

from pipeline.containers.listing import Box, PhotoRef
from pipeline.generators.generator import Generator
from pipeline.images.orientation import to_stored
from pipeline.jobs.options import ConfigError
from pipeline.photos.ball import linf_levels
from pipeline.photos.decode import decode_photo
from pipeline.protection.options import ProtectConfig
from pipeline.protection.row import Work
from pipeline.protection.stages.disrupt import Protect
from pipeline.protection.stages.shown import batches, show
from tests.fast.tiny import BUILD, photo_bytes
from tests.verbs import with_options

CONFIG = ProtectConfig("in", "out", generator=(BUILD,), steps=4)


def work(key: str, *, seed: int = 0, mode: str = "RGB", size: tuple[int, int] = (24, 20), box: Box | None = None) -> Work:
    data = photo_bytes(*size, seed=seed, mode=mode)
    return Work(PhotoRef(key, key, len(data), (box,) if box else ()), key + ".png", data=data, photo=decode_photo(data))


def protect(works: list[Work], **options: object) -> list[Work]:
    return Protect(dataclasses.replace(CONFIG, **options), threads=1)(works)  # type: ignore[arg-type]


def pixels(done: Work) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    assert done.pixels_HWC is not None, done.ended
    return done.pixels_HWC


WORKS = [work("a", seed=1), work("grey", mode="L", seed=2, size=(17, 30)), work("c", seed=3, size=(40, 21))]


@pytest.mark.parametrize("ball", ["linf", "l2"])
def test_photos_move_by_at_most_epsilon_levels_and_keep_their_shape(ball: str) -> None:
    for before, done in zip(WORKS, protect(WORKS, ball=ball), strict=True):
        assert before.photo is not None
        assert done.ref == before.ref
        assert done.photo is None  # only the protected pixels travel on
        assert 0 < linf_levels(before.photo.pixels_HWC, pixels(done)) <= 6
        assert done.effect is not None
        assert done.effect.moved
        assert list(done.effect.classes) == ["Smile", "Glasses"]
        assert done.seconds > 0


def test_order_and_company_change_no_byte() -> None:
    together = {done.ref.key: pixels(done) for done in protect(WORKS)}
    for done in protect(WORKS[::-1]):
        assert np.array_equal(pixels(done), together[done.ref.key])
    for one in WORKS:
        (alone,) = protect([one])
        assert np.array_equal(pixels(alone), together[one.ref.key])


def test_key_and_seed_change_the_perturbation() -> None:
    (a,) = protect([work("a")])
    (b,) = protect([work("b")])
    (other,) = protect([work("a")], seed=1)
    assert not np.array_equal(pixels(a), pixels(b))
    assert not np.array_equal(pixels(a), pixels(other))


@pytest.mark.parametrize("start", ["jitter", "uniform"])
@pytest.mark.parametrize(("region", "orientation", "rows", "columns"), [
    ("box", 1, slice(2, 12), slice(3, 21)),
    ("box", 6, slice(2, 20), slice(2, 12)),
    ("square", 1, slice(0, 20), slice(2, 22)),
    ("whole", 1, slice(0, 20), slice(0, 24)),
])  # fmt: skip
def test_only_the_pixels_of_the_region_change(start: str, region: str, orientation: int, rows: slice, columns: slice) -> None:
    size = (24, 20) if orientation == 1 else (24, 23)
    (done,) = protect([turned(work("a", size=size, box=(3, 2, 21, 12)), orientation)], region=region, start=start)
    photo = decode_photo(done.data or b"")
    changed = (photo.pixels_HWC != pixels(done)).any(2)
    assert changed[rows, columns].mean() > 0.9
    changed[rows, columns] = False
    assert not changed.any()


def turned(one: Work, orientation: int) -> Work:
    assert one.photo is not None
    return dataclasses.replace(one, photo=dataclasses.replace(one.photo, orientation=orientation))


@pytest.mark.parametrize("options", [{}, {"ball": "l2"}, {"recipe": "robust", "robust_to": ("jpeg", "resize", "crop", "blur")}])
def test_what_lies_outside_the_region_changes_nothing_in_it(options: dict[str, object]) -> None:
    one = work("a", size=(40, 36), box=(5, 7, 25, 23))
    assert one.photo is not None
    other_HWC = 255 - one.photo.pixels_HWC
    other_HWC[7:23, 5:25] = one.photo.pixels_HWC[7:23, 5:25]
    other = dataclasses.replace(one, photo=dataclasses.replace(one.photo, pixels_HWC=other_HWC))
    (a,), (b,) = (protect([photo], region="box", **options) for photo in (one, other))
    assert np.array_equal(pixels(a)[7:23, 5:25], pixels(b)[7:23, 5:25])
    assert a.effect is not None
    assert b.effect is not None
    assert a.effect.l2 == b.effect.l2


def test_a_region_survives_jpeg_in_the_blocks_of_its_file() -> None:
    part_HWC = pixels_of(work("a", size=(24, 24)))

    def disrupted(corner: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        photo_HWC = np.zeros((60, 60, 3), np.uint8)
        rows = columns = slice(corner, corner + 24)
        photo_HWC[rows, columns] = part_HWC
        one = work("a", size=(60, 60), box=(corner, corner, corner + 24, corner + 24))
        assert one.photo is not None
        one = dataclasses.replace(one, photo=dataclasses.replace(one.photo, pixels_HWC=photo_HWC))
        return pixels(protect([one], region="box", recipe="robust", robust_to=("jpeg",), steps=4)[0])[rows, columns]

    assert np.array_equal(disrupted(0), disrupted(32))
    assert not np.array_equal(disrupted(0), disrupted(5))


def test_regions_disrupted_together_stay_in_their_place_and_are_as_broken_as_alone() -> None:
    boxes: dict[str, Box] = {"a": (3, 2, 21, 18), "b": (0, 0, 30, 9), "c": (10, 1, 40, 21)}
    works = [work(key, seed=i, size=(40, 21), box=box) for i, (key, box) in enumerate(boxes.items())]
    stage = Protect(dataclasses.replace(CONFIG, region="box"), threads=1)
    shown = [show(one, one.photo, "box") for one in works if one.photo]
    for before, together, alone in zip(works, stage._protect(shown), stage(works), strict=True):
        left, top, right, bottom = boxes[before.key]
        changed = (pixels_of(before) != pixels(together)).any(2)
        assert changed[top:bottom, left:right].mean() > 0.9
        changed[top:bottom, left:right] = False
        assert not changed.any()
        assert together.effect is not None
        assert alone.effect is not None
        assert together.effect.l2 == pytest.approx(alone.effect.l2, rel=0.02)


def pixels_of(one: Work) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    assert one.photo is not None
    return one.photo.pixels_HWC


def test_batches_hold_photos_of_one_kind_up_to_their_number_and_up_to_the_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    def sizes(most: int) -> list[list[str]]:
        photos = {"a": (20, 20), "b": (20, 20), "c": (30, 20), "d": (20, 30), "e": (90, 90), "f": (200, 20)}
        works = [*(work(key, size=size) for key, size in photos.items()), work("grey", mode="L")]
        shown = [show(one, one.photo, "square") for one in works if one.photo]
        return [[one.work.ref.key for one in batch] for batch in batches(shown, most=most)]

    assert sizes(1) == [["grey"], ["a"], ["b"], ["c"], ["d"], ["f"], ["e"]]
    assert sizes(16) == [["grey"], ["a", "b", "c", "d", "f", "e"]]
    monkeypatch.setattr("pipeline.protection.stages.shown.REGION_PIXELS", 1200)
    assert sizes(16) == [["grey"], ["a", "b", "c"], ["d", "f"], ["e"]]
    monkeypatch.setattr("pipeline.protection.stages.shown.REGION_PIXELS", 10**6)
    monkeypatch.setattr("pipeline.protection.stages.shown.PHOTO_PIXELS", 4000)
    assert sizes(16) == [["grey"], ["a", "b", "c", "d"], ["f"], ["e"]]


def test_a_box_that_is_missing_or_sticks_out_skips_that_photo_alone() -> None:
    good, none, wide = protect([work("a", box=(0, 0, 20, 20)), work("b"), work("c", box=(0, 0, 99, 9))], region="box")
    assert good.ended is None
    assert none.ended is not None
    assert wide.ended is not None
    assert none.ended.status == wide.ended.status == "skipped"
    assert "columns left, top, right, bottom" in (none.ended.reason or "")
    assert "not inside the upright photo of 24x20" in (wide.ended.reason or "")


def test_an_input_that_ended_before_passes_through() -> None:
    ended = dataclasses.replace(work("x"), photo=None)
    assert protect([ended, WORKS[0]])[0] is ended


def test_a_generator_that_gives_no_numbers_fails_the_photo_with_the_reason() -> None:
    (done,) = protect([work("a")], generator=("tests.fast.tiny:build_broken",))
    assert done.ended is not None
    assert (done.ended.status, done.ended.stage) == ("failed", "protect")
    assert "not a number" in (done.ended.reason or "") or "not numbers" in (done.ended.reason or "")


def test_a_jpeg_is_measured_on_what_a_reader_of_the_file_sees() -> None:
    (done,) = protect([work("a")], format="jpeg")
    assert done.encoded is not None
    assert np.array_equal(pixels(done), decode_photo(done.encoded).pixels_HWC)


def test_several_generators_are_disrupted_together_and_measured_apart() -> None:
    (done,) = protect([work("a")], generator=(BUILD, "tests.fast.tiny:build_other"), class_schedule="joint", steps=8)
    assert done.effect is not None
    assert list(done.effect.classes) == ["tiny/Smile", "tiny/Glasses", "other/Old"]
    assert min(done.effect.l2) > 0.02


def test_a_grey_photo_stays_grey() -> None:
    assert pixels(protect([WORKS[1]])[0]).shape == (30, 17, 1)


def test_a_reference_image_is_taken_from_its_file(tmp_path: object) -> None:
    path = f"{tmp_path}/goal.png"
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(photo_bytes(30, 30, seed=9, suffix=".png"))
    (towards,) = protect([work("a")], aim="towards", reference=path)
    (away,) = protect([work("a")], aim="away", reference=path)
    assert not np.array_equal(pixels(towards), pixels(away))


@pytest.mark.parametrize("orientation", [3, 6, 7])
def test_a_reference_image_is_shown_upright(tmp_path: Path, orientation: int) -> None:
    shown, exif = decode_photo(photo_bytes(30, 20, seed=9, suffix=".png")).pixels_HWC, Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(shown).save(tmp_path / "upright.png")
    Image.fromarray(np.ascontiguousarray(to_stored(shown, orientation))).save(tmp_path / "turned.png", exif=exif)
    upright, turned = (pixels(protect([work("a")], reference=str(tmp_path / f"{name}.png"))[0]) for name in ("upright", "turned"))
    assert np.array_equal(upright, turned)


def test_no_weight_gets_a_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Protect(CONFIG, threads=1)
    stage(WORKS[:1])
    (generator,) = stage.generators
    assert all(p.grad is None and not p.requires_grad for p in generator.net.parameters())


def test_a_photo_too_large_for_the_memory_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(nn.Module):
        def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
            raise torch.OutOfMemoryError

    stage = Protect(CONFIG, threads=1)
    full = Generator("full", Full(), {"x": ()}, 16, "f", translate=lambda net, x, c: net(x))
    monkeypatch.setattr(stage, "generators", [full])
    (done,) = stage(WORKS[:1])
    assert done.ended is not None
    assert "not enough memory" in (done.ended.reason or "")


@pytest.mark.usefixtures("no_gpu")
def test_a_gpu_that_is_not_there_is_no_silent_fall_back() -> None:
    with pytest.raises(ConfigError, match="torch sees none here"):
        Protect(with_options(CONFIG, gpus_per_actor=1.0), threads=1)
