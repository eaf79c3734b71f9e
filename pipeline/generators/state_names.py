"""From a released state_dict to the names of this package, and to the widths of the net that wrote it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TypeAlias

import torch
from torch import Tensor

StateDict: TypeAlias = Mapping[str, Tensor]

WIDEST = 4096

_STATISTICS = (".running_mean", ".running_var", ".num_batches_tracked")
_ALIAS = re.compile(r"debug[1-4]\.")
_BLOCK = re.compile(r"(.*\bconv_block\.)(\d{1,9})(\..*)")


def standard_names(state: StateDict, *, keep: Collection[str] = ()) -> dict[str, Tensor]:
    """The same weights under the names that the nets of this package use.

    Dropped: running statistics (the nets always normalise with those of the image at hand) and ``debug1..4``, as far as they
    repeat weights of the same file. Moved: ``conv_block.6`` to ``conv_block.5`` in blocks that were trained with dropout. Names
    in ``keep`` (those that a net has itself) are never dropped. Applying it twice changes nothing. Source: FACTS section 3.
    """
    named = {key: tensor for key, tensor in state.items() if key in keep or not key.endswith(_STATISTICS)}
    own = {key: tensor for key, tensor in named.items() if not _ALIAS.match(key)}
    rest = {key: tensor for key, tensor in named.items() if key in own or key in keep or not _repeats(tensor, own)}
    return {_without_dropout(key, named): tensor for key, tensor in rest.items()}


def is_statistic(name: str) -> bool:
    """Whether an entry holds a running statistic of a norm."""
    return name.endswith(_STATISTICS)


def without_statistics(state: StateDict) -> dict[str, Tensor]:
    """The entries that are learned weights."""
    return {name: tensor for name, tensor in state.items() if not is_statistic(name)}


def with_kernel(state: StateDict, side: int) -> list[torch.Size]:
    """The shapes of all convolution weights whose kernel has this side, in the order of the file."""
    return [tensor.shape for tensor in state.values() if tensor.ndim == 4 and tensor.shape[2:] == (side, side)]


def widest(state: StateDict, *, kernel: int) -> int:
    """The most output channels of a convolution of this kernel, at most ``WIDEST``; 0 where there is none."""
    return max((shape[0] for shape in with_kernel(state, kernel) if shape[0] <= WIDEST), default=0)


def count_of(state: StateDict, shape: tuple[int, ...]) -> int:
    """How many weights have this shape."""
    return sum(tensor.shape == shape for tensor in state.values())


def dimension(state: StateDict, key: str, axis: int, default: int) -> int:
    """The size of one axis of a weight, or ``default`` where the file has no such weight or one beyond any real width."""
    tensor = state.get(key)
    size = tensor.shape[axis] if tensor is not None and tensor.ndim > axis else 0
    return size if 1 <= size <= WIDEST else default


def block_indices(state: StateDict, pattern: str) -> list[int]:
    """The sorted numbers that the one group of ``pattern`` (a regular expression over whole keys) matches."""
    return sorted({int(match[1]) for key in state if (match := re.fullmatch(pattern, key)) and len(match[1]) < 10})


def _repeats(tensor: Tensor, own: StateDict) -> bool:
    same = (other for other in own.values() if other.shape == tensor.shape and other.dtype == tensor.dtype)
    return any(torch.equal(tensor, other) for other in same)


def _without_dropout(key: str, state: StateDict) -> str:
    """The key as it would be without a dropout layer at index 4 of its block."""
    match = _BLOCK.fullmatch(key)
    if match is None or int(match[2]) < 6:
        return key
    shifted = f"{match[1]}6.weight" in state and f"{match[1]}5.weight" not in state  # else 6 is the affine norm of a block
    return f"{match[1]}{int(match[2]) - 1}{match[3]}" if shifted else key
