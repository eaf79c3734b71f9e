"""A folder of photos without labels as squares, for what needs no label: with labels.csv its splits and licences count."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pipeline.containers.find import find_photos
from pipeline.photos.decode import decode_photo
from pipeline.photos.photo import U8, PhotoBrokenError, PhotoRefusedError
from pipeline.storage import open_storage, read_bytes
from pipeline.training.errors import TrainError
from pipeline.training.faces import Faces, load_faces

TABLE = "labels.csv"
HELD_OUT = 10
"""One photo in so many is held out where no table says so."""


def load_squares(folder: Path, *, split: str, licences: Sequence[str] | None, size: int) -> Faces:
    """The photos of ``split`` (train, val or test) below ``folder``, each its largest centred square, without labels.

    A ``labels.csv`` with the columns file, split and licence says which photo is in which split; without one a tenth of the
    photos, those whose names have the lowest hashes, is val and test alike. Photos that cannot be read are skipped and counted.
    Raises TrainError when none is left.
    """
    if (folder / TABLE).is_file():
        return load_faces(folder, attributes=(), split=split, licences=licences, size=size)
    if licences is not None:
        raise TrainError(f"--licence needs {folder / TABLE} with the columns file, split and licence")
    by_hash = sorted(find_photos(folder).refs, key=lambda ref: _hash(ref.key))
    few = -(-len(by_hash) // HELD_OUT)
    refs = sorted(by_hash[few:] if split == "train" else by_hash[:few], key=lambda ref: ref.key)
    read = [(ref.key, square) for ref in refs if ref.refused is None and (square := _square(ref.uri, size)) is not None]
    if not read:
        raise TrainError(f"no photo of split {split!r} below {folder} can be read; give more photos, or {TABLE} that names splits")
    return Faces(
        names=tuple(key for key, _ in read),
        u8_NCHW=torch.from_numpy(np.stack([square for _, square in read])).permute(0, 3, 1, 2).contiguous(),
        labels_NK=torch.zeros(len(read), 0),
        known_NK=torch.zeros(len(read), 0),
        skipped=len(refs) - len(read),
    )


def centred_square(pixels_HWC: U8, size: int) -> U8:
    """The largest centred square of a photo as (size, size, 3)."""
    height, width = pixels_HWC.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    window = pixels_HWC[top : top + side, left : left + side]
    image = Image.fromarray(window if window.shape[2] == 3 else window.repeat(3, axis=2))
    return np.asarray(image if side == size else image.resize((size, size), Image.Resampling.LANCZOS), dtype=np.uint8)


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _square(uri: str, size: int) -> U8 | None:
    try:
        return centred_square(decode_photo(read_bytes(*open_storage(uri))).pixels_HWC, size)
    except (OSError, PhotoBrokenError, PhotoRefusedError):
        return None
