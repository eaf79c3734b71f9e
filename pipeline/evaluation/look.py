"""Look: pairs of files in, what generators are to see of them out. Decodes, compares, applies the channels; holds no net."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.channels.channels import Channel, ChannelError, find_channels
from pipeline.containers.listing import PhotoRef
from pipeline.containers.read import UnusablePhotoError, read_photo
from pipeline.disruption.view import View
from pipeline.evaluation.options import EvaluateConfig
from pipeline.evaluation.pairs import Pair
from pipeline.evaluation.row import EvaluationRow
from pipeline.images.boxes import region_box
from pipeline.images.orientation import to_upright
from pipeline.images.quality import psnr, ssim
from pipeline.images.resize import pixels_to_tensor
from pipeline.images.types import Box
from pipeline.photos.ball import linf_levels
from pipeline.photos.faces import crop_faces, find_faces, finder_version, largest
from pipeline.photos.photo import U8, Photo

Seen = NDArray[np.float32]
"""What a generator sees of the original, the protected file and the original with noise, in each box: (boxes, 3, 3, size, size) in
[-1, 1]."""

CHANGED, ORIGINAL_CHANGED = "changed since it was protected", "original changed since"
LOSSY, BEYOND, TURNED = "lossy format", "further from the original than epsilon", "stored with another orientation"


@dataclass(frozen=True)
class Looked:
    """A pair as the generators are to see it: by channel and native side, and the row of its file without a generator.

    ``problems`` holds the reason for each channel that cannot be applied. A pair that has ended has nothing but its row.
    """

    row: EvaluationRow
    seen: Mapping[tuple[str, int], Seen] = dataclasses.field(default_factory=dict)
    problems: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Eyes:
    """Through which channels a pair is looked at, and the native sides of the generators that look."""

    channels: Sequence[Channel]
    sizes: tuple[int, ...]


class UnfitError(ValueError):
    """Two files that are no pair, or that cannot be shown to a generator; the message says why."""


@dataclass(frozen=True)
class File:
    """A file that was read: its bytes and its decoded photo."""

    data: bytes
    photo: Photo


def look(pairs: Sequence[Pair], config: EvaluateConfig, sizes: Sequence[int]) -> list[Looked]:
    """What generators of these native sides are to see of each pair, in the same order."""
    channels = find_channels(config.channels)
    return [_look(pair, config, channels, sizes) for pair in pairs]


def _look(pair: Pair, config: EvaluateConfig, channels: Sequence[Channel], sizes: Sequence[int]) -> Looked:
    if pair.ended:
        return Looked(pair.ended)
    row = EvaluationRow(key=pair.key, status="measured", protected=pair.protected.key if pair.protected else None)
    stage = "read"
    try:
        original, protected = (
            _read(what, ref, data, config)
            for what, ref, data in (
                ("original", pair.original, pair.original_data),
                ("protected", pair.protected, pair.protected_data),
            )
        )
        stage = "pair"
        row = _compare_files(row, pair, original, protected, config)
        stage = "view"
        files = _alike(_upright(original.photo), _upright(protected.photo))
        return _apply_channels(row, pair, files, config, Eyes(channels, tuple(dict.fromkeys(sizes))))
    except UnfitError as error:
        return Looked(dataclasses.replace(row, status="failed", stage=stage, reason=str(error)))
    except MemoryError:
        return Looked(dataclasses.replace(row, status="failed", stage=stage, reason="not enough memory for photos of this size"))


def _read(what: str, ref: PhotoRef | None, data: bytes | None, config: EvaluateConfig) -> File:
    if ref is None:
        raise UnfitError(f"{what}: there is none")
    try:
        return File(*read_photo(ref, max_pixels=config.photos.max_pixels, max_bytes=config.photos.max_bytes, data=data))
    except UnusablePhotoError as error:
        raise UnfitError(f"{what}: {error.reason}") from error


def _compare_files(row: EvaluationRow, pair: Pair, original: File, protected: File, config: EvaluateConfig) -> EvaluationRow:
    """The row with what the two files say of each other: quality, flags."""
    a, b = original.photo, protected.photo
    turned = a.orientation != b.orientation
    before, after = _alike(_upright(a), _upright(b)) if turned else _alike(a.pixels_HWC, b.pixels_HWC)
    if before.shape[:2] != after.shape[:2]:
        sizes = " and ".join(f"{pixels.shape[1]} x {pixels.shape[0]}" for pixels in (_upright(a), _upright(b)))
        raise UnfitError(f"the two are of different sizes, {sizes} pixels: no pair, or the protected file was resized")
    distance = linf_levels(before, after)
    epsilon = pair.epsilon or config.epsilon
    said = [
        (CHANGED, pair.sha256_out is not None and _sha256(protected.data) != pair.sha256_out),
        (ORIGINAL_CHANGED, pair.sha256_in is not None and _sha256(original.data) != pair.sha256_in),
        (LOSSY, is_lossy(protected)),
        (BEYOND, pair.epsilon is not None and distance > pair.epsilon),
        (TURNED, turned),
    ]
    return dataclasses.replace(
        row,
        flags=(*pair.flags, *(flag for flag, holds in said if holds)),
        psnr=psnr(before, after),
        ssim=ssim(before, after),
        linf_levels=distance,
        epsilon=epsilon,
    )


def _apply_channels(row: EvaluationRow, pair: Pair, files: tuple[U8, U8], config: EvaluateConfig, eyes: Eyes) -> Looked:
    """Both files and the noisy original through each channel, as generators of each size see them."""
    original_HWC, protected_HWC = files
    noisy_HWC = with_noise(original_HWC, row.epsilon or 0, seed_of(config.seed, pair.key, "noise"))
    region, boxes = _boxes(config, pair, original_HWC)  # a box that does not fit the photo is wrong for every channel
    row = dataclasses.replace(row, faces=len(boxes) if region == "faces" else None)
    seen: dict[tuple[str, int], Seen] = {}
    problems: dict[str, str] = {}
    for channel in eyes.channels:
        seed = seed_of(config.seed, pair.key, channel.name)
        try:
            arrived = [channel.apply(pixels, seed) for pixels in (original_HWC, protected_HWC, noisy_HWC)]
            moved = [_move(region, box, channel, original_HWC, arrived[0]) for box in boxes]
            size_now = (arrived[0].shape[1], arrived[0].shape[0])
            regions = [channel.shift_box(box, size_now, seed + number) for number, box in enumerate(moved)]
        except ChannelError as error:
            problems[channel.name] = f"{channel.name}: {error}"
            continue
        for size in eyes.sizes:
            views = [View(region, 1, size) for region in regions]
            tensors = [pixels_to_tensor(pixels) for pixels in arrived]
            seen[channel.name, size] = torch.stack([torch.cat([view(x) for x in tensors]) for view in views]).numpy()
    return Looked(row, seen, problems)


def _boxes(config: EvaluateConfig, pair: Pair, original_HWC: U8) -> tuple[str, tuple[Box, ...]]:
    """The region of a photo, which is its square where it has no face, and the boxes of the upright original that generators see.

    Raises UnfitError for a box that does not fit.
    """
    height, width = original_HWC.shape[:2]
    region: str = config.region or "square"
    if region == "faces":
        boxes = pair.boxes or (crop_faces(find_faces(original_HWC), (width, height)) if finder_version() else ())
        return ("faces", largest(boxes)[0]) if boxes else ("square", (region_box("square", width, height, None),))
    given = pair.original.boxes if pair.original and region == "box" else ()
    try:
        return region, largest([region_box(region, width, height, box) for box in given or (None,)])[0]
    except ValueError as error:
        raise UnfitError(str(error)) from error


def _move(region: str, box: Box, channel: Channel, before_HWC: U8, after_HWC: U8) -> Box:
    """Where a box lies after the channel; a square and the whole picture are those of the picture that arrives."""
    if region in ("square", "whole"):
        return region_box(region, after_HWC.shape[1], after_HWC.shape[0], None)
    return channel.move_box(box, before_HWC, after_HWC)


def with_noise(pixels_HWC: U8, epsilon: int, seed: int) -> U8:
    """The pixels with a whole number of levels from -epsilon to epsilon added to each value, uniform, clipped to 0..255."""
    noise_HWC = np.random.default_rng(seed).integers(-epsilon, epsilon, pixels_HWC.shape, dtype=np.int16, endpoint=True)
    noise_HWC += pixels_HWC
    noisy_HWC: U8 = np.clip(noise_HWC, 0, 255).astype(np.uint8)
    return noisy_HWC


def seed_of(seed: int, key: str, purpose: str) -> int:
    """A seed that depends on the run's seed, the photo's key and the purpose alone, below 2^63."""
    digest = hashlib.sha256(f"{seed}\0{purpose}\0{key}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def is_lossy(file: File) -> bool:
    """Whether the format of a file loses pixels: JPEG, and WebP unless it is lossless."""
    if file.photo.format == "WEBP":
        return b"VP8L" not in (file.data[12:16], *_webp_chunks(file.data))
    return file.photo.format in {"JPEG", "MPO"}


def _webp_chunks(data: bytes) -> list[bytes]:
    """The names of the chunks of a WebP file."""
    names, at = [], 12
    while at + 8 <= len(data):
        names.append(data[at : at + 4])
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + length + length % 2
    return names


def _upright(photo: Photo) -> U8:
    """The photo's pixels turned the way they are shown."""
    return np.ascontiguousarray(to_upright(photo.pixels_HWC, photo.orientation))


def _alike(a_HWC: U8, b_HWC: U8) -> tuple[U8, U8]:
    """Both as they are, or both with three channels when one is grey and the other not."""
    if a_HWC.shape[2] == b_HWC.shape[2]:
        return a_HWC, b_HWC
    a, b = (pixels if pixels.shape[2] == 3 else np.repeat(pixels, 3, axis=2) for pixels in (a_HWC, b_HWC))
    return a, b


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
