"""A check of files against a goal: what it measures, and that it translates no more than it needs to."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.disruption.view import Region
from pipeline.generators.generator import Generator
from pipeline.images import THRESHOLD
from pipeline.photos.photo import U8
from pipeline.protection.stages.measure import Clean, check, look, measure
from pipeline.protection.stages.shown import pad
from tests.fast.tiny import build, build_other

SIDE = 16
REGION = Region((0, 0, SIDE, SIDE), 1, ((0, 0, SIDE, SIDE),), (0,))


class Gain(nn.Module):
    """Images times the first number of their condition; ``sizes`` notes how many are translated together."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def forward(self, x_BCHW: Tensor, c_BK: Tensor) -> Tensor:
        self.sizes.append(len(x_BCHW))
        return x_BCHW * c_BK[:, :1, None, None]


def gains(*values: float) -> tuple[Generator, Gain]:
    net = Gain()
    return Generator("gain", net, {f"c{i}": (value,) for i, value in enumerate(values)}, SIDE, "gain"), net


def noise(seed: int, levels: int = 20) -> U8:
    return np.random.default_rng(seed).integers(128 - levels, 128 + levels, (SIDE, SIDE, 3), dtype=np.uint8)


PHOTO, FILE, OTHER = noise(0), noise(1, levels=80), noise(2, levels=120)
CHANGE = float(np.mean((FILE / 127.5 - PHOTO / 127.5) ** 2))
"""L2 between photo and file, whose patterns have nothing in common."""


def looked_at(generators: Sequence[Generator], count: int) -> list[Clean]:
    return look(generators, (), pad([PHOTO] * count), [REGION] * count)


@pytest.mark.parametrize(("weak", "first", "translated"), [
    (3, 3, [1]), (4, 3, [1, 2]), (5, 3, [1, 2]), (6, 3, [1, 2, 5]), (2, 3, [1, 2, 5]), (None, 3, [1, 2, 5]), (None, 0, [1, 2, 5]),
])  # fmt: skip
def test_a_check_ends_with_the_first_outputs_that_fall_short(weak: int | None, first: int, translated: list[int]) -> None:
    generator, net = gains(*(0.1 if i == weak else 1.0 for i in range(8)))
    clean = looked_at([generator], 1)
    assert net.sizes == [8]  # the clean outputs, together
    net.sizes.clear()
    (found,) = check(clean, [0], pad([FILE]), [REGION], factor=CHANGE / 2 / THRESHOLD, first=[first])
    assert net.sizes == translated
    assert (found.boxes is None) == (weak is not None)
    least = 2 if weak is None else 0.01 * CHANGE / THRESHOLD  # no output falls further short than of the threshold itself
    assert found.least == pytest.approx(least, rel=1e-5)
    if weak is not None:
        assert found.weakest == weak


def test_each_file_of_a_batch_is_checked_from_its_own_first_output_and_left_where_it_falls_short() -> None:
    generator, net = gains(1, 1, 0.45, 1)  # a fifth of the L2, which is enough for OTHER alone
    clean = looked_at([generator], 3)
    net.sizes.clear()
    files = pad([FILE, FILE, OTHER])
    found = check(clean, [0, 1, 2], files, [REGION] * 3, factor=1.0, first=[2, 0, 1])
    assert net.sizes == [3, 4, 1]  # 2 | 0 | 1, then 1 2 | 2 3, then 0 of the only file that has not fallen short
    assert [one.boxes is not None for one in found] == [False, False, True]
    assert [one.weakest for one in found] == [2, 2, 2]
    assert found[2].boxes == measure(clean, [2], files[2:], [REGION])[0]


def test_a_check_that_is_passed_is_the_measurement_of_all_networks() -> None:
    generators = [build(), build_other()]
    rng = np.random.default_rng(0)
    photos, files = ([rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8) for _ in range(2)] for _ in range(2))
    clean = look(generators, (), pad(photos), [REGION] * 2)
    found = check(clean, [0, 1], pad(files), [REGION] * 2, factor=1e-5, first=[0, 2])
    for one, boxes in zip(found, measure(clean, [0, 1], pad(files), [REGION] * 2), strict=True):
        assert one.boxes is not None
        l2s = [[number.l2 for number in per_class] for per_class in boxes]
        assert [[number.l2 for number in per_class] for per_class in one.boxes] == [pytest.approx(row, rel=1e-4) for row in l2s]
        shares = [number.broken(1e-5) for number in boxes[0]]
        assert one.least == pytest.approx(min(shares), rel=1e-4)
        assert one.weakest == int(np.argmin(shares))


def test_an_output_of_another_tone_alone_falls_short() -> None:
    generator, _ = gains(1, 1)
    toned: U8 = (0.5 * PHOTO + 90).astype(np.uint8)
    (found,) = check(looked_at([generator], 1), [0], pad([toned]), [REGION], factor=0.1, first=[0])
    assert found.boxes is None
    assert found.least < 0.1


def test_an_output_that_is_no_number_never_passes() -> None:
    generator, _ = gains(1, 1)
    clean = looked_at([generator], 1)
    broken = dataclasses.replace(generator, translate=lambda net, x_BCHW, c_BK: net(x_BCHW, c_BK) * float("nan"))
    (found,) = check([dataclasses.replace(clean[0], generator=broken)], [0], pad([FILE]), [REGION], factor=0.01, first=[0])
    assert found.boxes is None


def test_clean_outputs_are_translated_one_by_one_where_they_must_equal_those_of_the_ascent() -> None:
    generator, net = gains(1, 2, 3)
    together = looked_at([generator], 2)[0].outputs_KBCHW
    alone = look([generator], (), pad([PHOTO] * 2), [REGION] * 2, one_by_one=True)[0].outputs_KBCHW
    assert net.sizes == [6, 2, 2, 2]
    assert torch.equal(together, alone)
