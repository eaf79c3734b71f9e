"""A generator is looked at before any photo: what cannot work is refused with the fix, what makes numbers meaningless is said."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pipeline.generators.generator import Generator
from pipeline.generators.trial import UnusableGeneratorError, drawn_pictures, notes_on, try_generator
from pipeline.generators.zoo import ZOO, load_generator
from tests.fast import tiny
from tests.fast.generators import odd


@pytest.mark.parametrize("name", [name for name, row in ZOO.items() if row.weights and not row.package])
def test_nothing_is_to_be_said_of_a_shipped_generator(name: str) -> None:
    assert notes_on(load_generator(name)) == []


@pytest.mark.parametrize("build", [tiny.build, tiny.build_other])
def test_nothing_is_to_be_said_of_a_generator_that_translates(build: Callable[[], Generator]) -> None:
    assert try_generator(build()) == []


@pytest.mark.parametrize(
    ("generator", "said"),
    [
        (
            tiny.build_flat(),
            ["flat gives its input back: there is no translation to break, and its numbers mean nothing (class same)"],
        ),
        (odd.constant(), ["constant gives the same picture whatever its input"]),
        (tiny.build_broken(), ["broken gives values that are not numbers"]),
    ],
)
def test_a_generator_whose_numbers_mean_nothing_is_named_with_its_classes(generator: Generator, said: list[str]) -> None:
    found = try_generator(generator)
    assert len(found) == 1
    assert found[0].startswith(said[0])
    assert found[0].endswith(f"(class {', '.join(generator.classes)})")


@pytest.mark.parametrize(("takes", "expected"), [((64, 96), [64]), ((96,), [64, 96])])
def test_a_net_that_takes_its_native_side_alone_is_tried_at_that_and_any_other_at_a_small_one(
    takes: tuple[int, ...], expected: list[int]
) -> None:
    sides: list[int] = []

    def translate(net: nn.Module, x_BCHW: Tensor, c_BK: Tensor) -> Tensor:
        sides.append(x_BCHW.shape[-1])
        if x_BCHW.shape[-1] not in takes:
            raise RuntimeError("takes 96 pixels")
        return -x_BCHW

    assert notes_on(Generator("sized", nn.Identity(), {"turned": ()}, 96, "sized", translate=translate)) == []
    assert sides == expected


def test_only_the_classes_that_are_asked_for_are_looked_at() -> None:
    def translate(net: nn.Module, x_BCHW: Tensor, c_BK: Tensor) -> Tensor:
        return torch.where(c_BK[:, :, None, None] > 0, -x_BCHW, x_BCHW)

    generator = Generator("one", nn.Identity(), {"turned": (1.0,), "same": (0.0,)}, 16, "one", translate=translate)
    assert try_generator(generator, ["turned"]) == []
    assert try_generator(generator) == try_generator(generator, ["same"])
    assert "(class same)" in try_generator(generator)[0]


def test_a_single_value_that_is_not_a_number_is_enough() -> None:
    def translate(net: nn.Module, x_BCHW: Tensor, c_BK: Tensor) -> Tensor:
        y_BCHW = -x_BCHW
        y_BCHW[1, 2, 3, 4] = float("inf")
        return y_BCHW

    assert "not numbers" in try_generator(dataclasses.replace(tiny.build_flat(), translate=translate))[0]


def test_half_a_level_is_no_translation_and_a_level_is_one() -> None:
    def moved(by: float) -> Generator:
        return dataclasses.replace(tiny.build_flat(), translate=lambda net, x, c: x + by)

    assert "gives its input back" in try_generator(moved(0.5 * 2 / 255 * 0.9))[0]
    assert try_generator(moved(2 / 255)) == []


@pytest.mark.parametrize(
    ("generator", "reason"),
    [
        (odd.larger(), r"makes \(2, 3, 32, 32\) of images \(2, 3, 16, 16\) for class plain.*interpolate\(y, size=x\.shape\[2:\]\)"),
        (odd.grey(), r"makes \(2, 1, 16, 16\) of images .*y\.expand\(-1, 3, -1, -1\)"),
        (odd.flat_vector(), r"makes \(2, 768\) of images .*translate must return \(B, 3, H, W\)"),
        (odd.pair(), "gives a tuple .*translate function that returns the images"),
        (odd.of_grey(), "fails on images .*to have 1 channels, but got 3 .*translate function that converts them"),
        (odd.half(), "fails on images .*float32 images"),
    ],
)
def test_a_generator_that_gives_no_picture_of_the_same_size_is_refused_with_the_fix(generator: Generator, reason: str) -> None:
    with pytest.raises(UnusableGeneratorError, match=reason) as refusal:
        try_generator(generator)
    assert "\n" not in str(refusal.value)


def test_the_drawn_pictures_are_two_different_photos_of_the_whole_range_and_no_random_number_is_drawn() -> None:
    before = torch.get_rng_state()
    x_BCHW = drawn_pictures(16)
    assert torch.equal(torch.get_rng_state(), before)
    assert x_BCHW.shape == (2, 3, 16, 16)
    assert x_BCHW.abs().max() <= 1
    assert (x_BCHW[0] - x_BCHW[1]).abs().mean() > 0.3
    assert x_BCHW.std() > 0.3
