"""Boxes in a picture: joined where they overlap, jittered within their limits, never outside."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from pipeline.images.boxes import JITTER, REACH, fit_box, grow_box, jitter_box, join_boxes, overlap
from pipeline.images.types import Box

SIZE = (300, 200)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    left, top = draw(st.integers(0, 280)), draw(st.integers(0, 180))
    return left, top, draw(st.integers(left + 1, 300)), draw(st.integers(top + 1, 200))


def inside(box: Box, hull: Box) -> bool:
    return hull[0] <= box[0] and hull[1] <= box[1] and box[2] <= hull[2] and box[3] <= hull[3]


@given(st.lists(boxes(), min_size=1, max_size=12))
def test_joined_boxes_hold_each_box_once_and_share_no_pixel(given_: list[Box]) -> None:
    joined = join_boxes(given_)
    assert sorted(number for _, numbers in joined for number in numbers) == list(range(len(given_)))
    assert all(inside(given_[number], hull) for hull, numbers in joined for number in numbers)
    assert not any(overlap(a, b) for (a, _), (b, _) in itertools.combinations(joined, 2))


def test_boxes_that_only_meet_at_an_edge_stay_apart() -> None:
    assert len(join_boxes([(10, 0, 20, 10), (0, 0, 10, 10), (0, 10, 20, 20)])) == 3
    assert join_boxes([(0, 0, 10, 10), (10, 0, 20, 10)]) == [((0, 0, 10, 10), (0,)), ((10, 0, 20, 10), (1,))]


def test_a_box_that_bridges_two_joins_all_three() -> None:
    assert join_boxes([(0, 0, 10, 10), (20, 0, 30, 10), (8, 2, 22, 5)]) == [((0, 0, 30, 10), (0, 1, 2))]


@given(boxes(), st.tuples(*[st.floats(-1, 1)] * 3))
def test_a_jittered_box_stays_in_the_picture_and_near_the_exact_one(box: Box, drawn: tuple[float, float, float]) -> None:
    moved = jitter_box(box, drawn, SIZE)
    assert inside(moved, (0, 0, *SIZE))
    assert moved[0] < moved[2]
    assert moved[1] < moved[3]
    assert inside(moved, grow_box(box, REACH, SIZE))
    for axis in (0, 1):
        before, after = box[axis + 2] - box[axis], moved[axis + 2] - moved[axis]
        assert abs(after - before) <= JITTER * before + 0.5


def test_the_numbers_of_a_jitter_are_shares_of_the_sides() -> None:
    assert jitter_box((100, 50, 200, 150), (1, -1, 0), SIZE) == (110, 40, 210, 140)
    assert jitter_box((100, 50, 200, 150), (0, 0, -1), SIZE) == (105, 55, 195, 145)
    assert jitter_box((0, 50, 100, 150), (-1, 0, 0), SIZE) == (0, 50, 100, 150)


def test_a_box_larger_than_the_picture_is_cut_to_its_sides_and_moved_inside() -> None:
    assert fit_box((10, 10), (400, 50), (300, 200)) == (0, 0, 300, 50)
    assert fit_box((290, 190), (40, 40), (300, 200)) == (260, 160, 300, 200)
