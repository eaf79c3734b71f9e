from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.containers.listing import Box, PhotoRef
from pipeline.generators.generator import Generator
from pipeline.jobs.options import ConfigError
from pipeline.photos.ball import linf_levels
from pipeline.photos.decode import decode_photo
from pipeline.protection.options import ProtectConfig
from pipeline.protection.row import Work
from pipeline.protection.stages.disrupt import Protect
from tests.fast.tiny import BUILD, photo_bytes
from tests.verbs import with_options

CONFIG = ProtectConfig("in", "out", generator=(BUILD,), steps=4)


def work(key: str, *, seed: int = 0, mode: str = "RGB", size: tuple[int, int] = (24, 20), box: Box | None = None) -> Work:
    data = photo_bytes(*size, seed=seed, mode=mode)
    return Work(PhotoRef(key, key, len(data), box), key + ".png", data=data, photo=decode_photo(data))


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


def test_only_the_pixels_in_the_box_change() -> None:
    (done,) = protect([work("a", box=(3, 2, 21, 18))], region="box", start="clean", reference="noise")
    photo = decode_photo(done.data or b"")
    changed = (photo.pixels_HWC != pixels(done)).any(2)
    assert changed[2:18, 3:21].mean() > 0.9
    changed[2:18, 3:21] = False
    assert not changed.any()


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


def test_no_weight_gets_a_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Protect(CONFIG, threads=1)
    stage(WORKS[:1])
    (generator,) = stage._generators
    assert all(p.grad is None and not p.requires_grad for p in generator.net.parameters())


def test_a_photo_too_large_for_the_memory_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(nn.Module):
        def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
            raise torch.OutOfMemoryError

    stage = Protect(CONFIG, threads=1)
    full = Generator("full", Full(), {"x": ()}, 16, "f", translate=lambda net, x, c: net(x))
    monkeypatch.setattr(stage, "_generators", [full])
    (done,) = stage(WORKS[:1])
    assert done.ended is not None
    assert "not enough memory" in (done.ended.reason or "")


@pytest.mark.usefixtures("no_gpu")
def test_a_gpu_that_is_not_there_is_no_silent_fall_back() -> None:
    with pytest.raises(ConfigError, match="torch sees none here"):
        Protect(with_options(CONFIG, gpus_per_actor=1.0), threads=1)
