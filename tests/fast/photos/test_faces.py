"""Faces found, the crops around them, and what is said without the finder."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.images.types import U8
from pipeline.photos import faces
from pipeline.photos.faces import MOST_FACES, FinderMissingError, check_finder, crop_faces, find_faces, largest
from tests.fast.tiny import picture

needs_finder = pytest.mark.skipif(faces.finder_version() is None, reason="the extra faces is not installed")


@pytest.fixture(scope="module")
def portrait() -> U8:
    people = pytest.importorskip("pipeline.jobs.samples").sample_people
    pytest.importorskip("openpeople", reason='the sample photos are not installed: pip install -e ".[samples]"')
    data = (people()[0] / "assets" / "studio_portrait.jpg").read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB").resize((400, 400), Image.Resampling.LANCZOS))


def test_a_crop_is_twice_the_face_with_the_eyes_at_45_percent_of_its_height() -> None:
    ((left, top, right, bottom),) = crop_faces([(400, 300, 500, 400)], (1000, 1000))
    assert (right - left, bottom - top) == (200, 200)
    assert (left + right) / 2 == 450
    eyes = 300 + 0.3 * 100
    assert (eyes - top) / 200 == pytest.approx(0.45)


@pytest.mark.parametrize("face", [(-10, -20, 90, 80), (950, 920, 1050, 1020), (0, 400, 700, 1100)])
def test_a_crop_near_the_edge_is_moved_inside_or_smaller_and_stays_square(face: tuple[int, int, int, int]) -> None:
    ((left, top, right, bottom),) = crop_faces([face], (1000, 800))
    assert 0 <= left < right <= 1000
    assert 0 <= top < bottom <= 800
    assert right - left == bottom - top == min(2 * (face[2] - face[0]), 800)


def test_of_ten_thousand_faces_the_largest_are_taken_and_the_rest_is_said() -> None:
    many = [(10 * i, 0, 10 * i + 40 + i, 40 + i) for i in range(10_000)]
    boxes, notes = largest([*many, *many])
    assert boxes == tuple(many[: -MOST_FACES - 1 : -1])
    assert notes == (f"of 10000 faces the {MOST_FACES} largest are protected",)
    assert largest(many[:MOST_FACES])[1] == ()


def test_without_the_finder_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces, "finder_version", lambda: None)
    with pytest.raises(FinderMissingError, match=r"pip install 'disrupt\[faces\]'"):
        check_finder()


def test_another_version_of_the_finder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces, "finder_version", lambda: "dlib 2")
    check_finder("dlib 2")
    with pytest.raises(FinderMissingError, match="found by dlib 2 here, but the run began with dlib 1"):
        check_finder("dlib 1")


@needs_finder
def test_a_picture_without_faces_has_none() -> None:
    assert find_faces(np.asarray(picture(200, 150))) == []


@needs_finder
def test_the_face_of_a_portrait_is_found_in_colour_and_grey_and_always_in_the_same_place(portrait: U8) -> None:
    (face,) = find_faces(portrait)
    assert find_faces(portrait.copy()) == [face]
    (grey,) = find_faces(portrait.mean(2, keepdims=True).round().astype(np.uint8))
    assert np.abs(np.subtract(grey, face)).max() <= 2
    assert 400 * 0.25 < face[2] - face[0] < 400 * 0.5
    assert abs((face[0] + face[2]) / 2 - 200) < 20


@needs_finder
def test_faces_of_a_larger_and_a_smaller_photo_lie_in_its_own_pixels_the_largest_first(portrait: U8) -> None:
    group = np.full((700, 900, 3), 128, np.uint8)
    small = np.asarray(Image.fromarray(portrait).resize((200, 200), Image.Resampling.LANCZOS))
    group[40:240, 20:220] = small
    group[200:600, 400:800] = portrait
    large, little = find_faces(group)
    assert 550 < (large[0] + large[2]) / 2 < 650
    assert 90 < (little[0] + little[2]) / 2 < 150
    big = np.asarray(Image.fromarray(group).resize((3600, 2800)))
    scaled = find_faces(big)
    assert len(scaled) == 2
    assert np.abs(np.subtract(scaled[0], np.multiply(large, 4))).max() < 200
