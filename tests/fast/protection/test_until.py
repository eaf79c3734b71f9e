"""`disrupt protect --until`: a photo takes the steps that its file needs, and everything is computed once."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.generators.generator import Generator
from pipeline.images import THRESHOLD
from pipeline.images.effect import l2
from pipeline.images.resize import pixels_to_tensor
from pipeline.protection.options import ProtectConfig
from pipeline.protection.row import Work
from pipeline.protection.stages.disrupt import Protect
from pipeline.protection.stages.measure import Checked
from pipeline.protection.stages.shown import batch_view, show
from tests.fast.protection.test_disrupt import pixels, work
from tests.fast.runs import failing, files, rows, run
from tests.fast.tiny import BUILD, build, build_other, photo_folder

CONFIG = ProtectConfig("in", "out", generator=(BUILD,), recipe="pgd", steps=12, until=1.0)
WORKS = [work(key, seed=i, size=(24 + i, 20)) for i, key in enumerate("abcdefgh")]
EIGHT = "tests.fast.protection.test_until:build_eight"


def build_eight() -> Generator:
    """The tiny generator with eight classes."""
    return dataclasses.replace(build(), classes={f"c{i}": (0.1 * i, 1 - 0.1 * i) for i in range(8)})


class Passes:
    """Images that a net has translated with a gradient in sight, without one, and gradients of images."""

    def __init__(self, net: nn.Module) -> None:
        self.images: Counter[str] = Counter()
        net.register_forward_hook(self._forward)

    def _forward(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.images["forward" if output.requires_grad else "extra"] += len(output)
        if output.requires_grad:
            output.register_hook(lambda g: self.images.update(backward=len(g)))


def passes(recipe: str, *, photo: int = 0, **options: Any) -> tuple[Counter[str], Work]:
    """What protecting one photo takes, and the photo."""
    config = ProtectConfig("in", "out", generator=(EIGHT,), recipe=recipe)
    stage = Protect(dataclasses.replace(config, **options), threads=1)
    counted = Passes(stage.generators[0].net)
    (done,) = stage([WORKS[photo]])
    return counted.images, done


def test_published_pgd_takes_twenty_passes_and_one_look_at_each_output_before_and_after() -> None:
    images, done = passes("pgd")
    assert images == {"forward": 20, "backward": 20, "extra": 16}
    assert done.steps == 20


def test_a_photo_that_leaves_early_takes_as_many_passes_as_steps_and_its_file_is_the_last_measurement() -> None:
    images, done = passes("pgd", until=1.0)
    assert done.steps is not None
    assert 0 < done.steps < 20
    assert images["backward"] == done.steps
    assert images["forward"] == done.steps + 1
    assert 16 <= images["extra"] < 24  # more than 16 where it was checked in vain


@pytest.mark.parametrize(("photo", "until", "steps", "in_vain"), [(0, 1.0, 2, 0), (3, 1.0, 2, 1)])
def test_the_default_takes_as_many_passes_as_steps_and_few_looks_in_vain(
    photo: int, until: float, steps: int, in_vain: int
) -> None:
    images, done = passes("quick", photo=photo, until=until)
    assert done.steps == steps
    assert images == {"forward": steps + 1, "backward": steps, "extra": 16 + in_vain}


def test_a_check_begins_after_the_class_that_was_climbed_and_the_next_with_the_one_that_fell_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    firsts: list[int] = []

    def fall_short(*arguments: Any, factor: float, first: Sequence[int]) -> list[Checked]:
        firsts.extend(first)
        return [Checked(0.99, weakest=6, boxes=None)]

    monkeypatch.setattr("pipeline.protection.stages.disrupt.check", fall_short)
    _, done = passes("pgd", until=1.0)
    assert firsts[:3] == [4 + 1, 6, 6]  # the fifth class is climbed after four steps
    assert done.steps == 20


def test_references_are_made_for_classes_that_get_a_step_and_end_at_the_layer() -> None:
    for steps, references in ((3, 3), (20, 8)):
        images, _ = passes("feature", layer="main.3", steps=steps)
        assert images["extra"] == 16 + references  # those that are measured; of each class the first reaches the end of the net
        assert images["forward"] == 0
        whole, _ = passes("eot-blur", steps=steps)
        assert whole["extra"] == 16 + 9 * references


def test_a_layer_is_the_last_thing_that_its_objective_computes() -> None:
    generator = build()
    reached: list[str] = []
    for name in ("main.3", "main.6"):
        dict(generator.net.named_modules())[name].register_forward_hook(lambda *arguments, name=name: reached.append(name))
    activation = generator.features("Smile", "main.3")
    x = torch.rand(1, 3, 16, 16)
    first, second = activation(x), activation(x)
    assert torch.equal(first, second)
    assert reached == ["main.3", "main.6", "main.3"]


def test_translations_to_several_classes_at_once_are_those_to_each(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.rand(3, 3, 16, 16)
    for together in (2**18, 3 * 16 * 16 * 2, 1):
        monkeypatch.setattr("pipeline.generators.generator.TOGETHER", together)
        for generator in (build_eight(), build_other()):
            found = generator.each(x, list(generator.classes))
            assert found.shape == (len(generator.classes), 3, 3, 16, 16)
            for name, y in zip(generator.classes, found, strict=True):
                torch.testing.assert_close(y, generator(x, name), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"format": "jpeg"}, {"generator": (BUILD, "tests.fast.tiny:build_other")}, {"epsilon": 3}])
def test_a_photo_takes_all_steps_or_every_output_on_its_file_is_past_the_goal(options: dict[str, Any]) -> None:
    config = dataclasses.replace(CONFIG, **options)
    stage = Protect(config, threads=1)
    early = 0
    for before, done in zip(WORKS[:4], stage(WORKS[:4]), strict=True):
        assert before.photo is not None and done.effect is not None and done.steps is not None
        (region,) = show(before, before.photo, "square").regions
        for generator in stage.generators:
            view = batch_view([region], generator.size)
            x, y = (pixels_to_tensor(region.cut(px)) for px in (before.photo.pixels_HWC, pixels(done)))
            with torch.no_grad():
                least = min(float(l2(generator(view(y), name) - generator(view(x), name))) for name in generator.classes)
            assert least >= THRESHOLD * (1 - 1e-6) or done.steps == 12
        early += done.steps < 12
        (published,) = Protect(dataclasses.replace(config, steps=done.steps, until="none"), threads=1)([before])
        assert np.array_equal(pixels(done), pixels(published))
    assert early or options.get("epsilon")


def test_photos_in_one_call_of_one_three_and_eight_have_the_same_bytes_and_steps() -> None:
    stage = Protect(CONFIG, threads=1)
    alone = {one.ref.key: stage([one])[0] for one in WORKS}
    assert len({done.steps for done in alone.values()}) > 1
    for count in (3, 8):
        for first in range(0, 8, count):
            for done in stage(WORKS[first : first + count][::-1]):
                assert np.array_equal(pixels(done), pixels(alone[done.ref.key]))
                assert (done.steps, done.effect) == (alone[done.ref.key].steps, alone[done.ref.key].effect)


def test_photos_computed_as_one_batch_leave_it_at_their_own_steps() -> None:
    stage = Protect(CONFIG, threads=1)
    shown = [show(one, one.photo, "square") for one in WORKS if one.photo]
    for together, alone in zip(stage._protect(shown), stage(WORKS), strict=True):
        assert together.ref == alone.ref
        assert together.steps == alone.steps
        assert together.effect is not None
        assert alone.effect is not None
        assert together.effect.l2 == pytest.approx(alone.effect.l2, rel=0.05)


def test_a_killed_run_ends_with_the_bytes_and_steps_of_an_undisturbed_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.protection.run.write_report", lambda *arguments, **options: "")
    photos = photo_folder(tmp_path / "photos", {f"{name}.jpg": i for i, name in enumerate("abcd")})
    words = ["--recipe", "pgd", "--steps", "12", "--until", "1", "--part-photos", "2"]
    code = run(photos, tmp_path / "calm", *words)
    with monkeypatch.context() as patched:
        failing("?.png", patched, after=1, error=KeyboardInterrupt())
        assert run(photos, tmp_path / "killed", *words) == 130
    assert run(photos, tmp_path / "killed", *words) == code
    assert files(tmp_path / "killed") == files(tmp_path / "calm")
    calm, killed = ({key: row["steps"] for key, row in rows(tmp_path / name).items()} for name in ("calm", "killed"))
    assert calm == killed
    assert all(isinstance(steps, int) and 0 < steps <= 12 for steps in calm.values())
