"""Batches to train on. The batch of a step depends on the seed and the step alone, so a continued training sees the same order."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from pipeline.training.data.augment import crop_flip_resize, resized
from pipeline.training.data.faces import Faces, balanced_weights
from pipeline.training.errors import TrainError
from pipeline.training.systems.system import Batch


class Source(Protocol):
    """Where a training's images come from."""

    @property
    def skipped(self) -> int:
        """How many images could not be read and were left out."""

    def batch(self, step: int) -> Batch:
        """The whole batch of a step, on the CPU: images float32 in [-1, 1]; the same for the same step, whoever asks and when."""

    def held_out(self) -> Batch:
        """A few images that are never trained on, for sample grids; the tensors of ``batch``."""


@dataclass(frozen=True)
class FacesSource:
    """Labelled faces, rare combinations of labels drawn more often; ``image`` (B, 3, S, S), ``labels`` and ``known`` (B, K)."""

    train: Faces
    val: Faces
    size: int
    count: int
    """Images in a batch."""
    seed: int
    samples: int = 8
    _weights_N: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.count < 1:
            raise TrainError(f"a batch of {self.count} images cannot be; expected at least 1")
        object.__setattr__(self, "_weights_N", balanced_weights(self.train.labels_NK))

    @property
    def skipped(self) -> int:
        """Unreadable images in both parts."""
        return self.train.skipped + self.val.skipped

    def batch(self, step: int) -> Batch:
        """Faces mirrored, cropped and lit at random."""
        rng = stream_of(self.seed, step)
        index_B = torch.multinomial(self._weights_N, self.count, replacement=True, generator=rng)
        images_BCHW = crop_flip_resize(self.train.u8_NCHW[index_B], self.size, rng)
        return {"image": images_BCHW, "labels": self.train.labels_NK[index_B], "known": self.train.known_NK[index_B]}

    def held_out(self) -> Batch:
        """Faces at even distances in the list, as they are."""
        pick = torch.linspace(0, len(self.val.names) - 1, min(self.samples, len(self.val.names))).long()
        images_BCHW = resized(self.val.u8_NCHW[pick], self.size)
        return {"image": images_BCHW, "labels": self.val.labels_NK[pick], "known": self.val.known_NK[pick]}


def stream_of(seed: int, step: int) -> torch.Generator:
    """The random numbers of one step's batch."""
    digest = hashlib.sha256(f"{seed} {step}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
