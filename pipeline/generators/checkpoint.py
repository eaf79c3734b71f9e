"""Weights from files that are not trusted: read without running code, compared name by name, refused with a reason."""

from __future__ import annotations

import errno
import json
import pickle
import re
import struct
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file as load_safetensors
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn

from pipeline.generators.state_names import StateDict, standard_names
from pipeline.generators.unwrap import find_state, is_state, plain_names
from pipeline.storage import write_uri

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

_NAMES_SHOWN = 4
_CUT_OFF = "damaged or cut-off safetensors file"
# What torch's readers raise on damaged files (found by flipping bytes); anything else is a bug here and may surface.
_DAMAGED = (RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, AssertionError, OverflowError, struct.error)


_RESAVE = "save the state_dict instead, where the file was made: torch.save(net.state_dict(), FILE)"


class _Ignored:
    """Takes the place of a NumPy scalar or its type; what is in it is dropped, and no code of NumPy runs."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


_NUMPY_NAMES = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype")
_NUMPY: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [(_Ignored, name) for name in _NUMPY_NAMES]


class CheckpointError(ValueError):
    """A weights file that cannot be used; the message names the file and says why."""


def read_state_dict(path: str | Path, *, part: str | None = None) -> dict[str, Tensor]:
    """The weights in a safetensors or torch file, by name and on the CPU; nothing in the file is ever executed.

    A dict around the state_dict is unwrapped, prefixes of wrappers are removed, and of several networks the generator is taken
    (`plain_names`). ``part`` names another entry; then only a ``module.`` prefix is removed.
    Raises CheckpointError for a file that is missing, empty, damaged, holds code, or holds no weights.
    """
    path = Path(path)
    head = _first_bytes(path)
    if _is_safetensors(path, head):
        content: object = _read_safetensors(path)
    elif head.startswith((b"PK\x03\x04", b"\x80")):
        content = read_torch(path)
    else:
        raise CheckpointError(f"{path}: neither safetensors nor a torch file; it starts with {head!r}")
    state = _state_in(content, path, part)
    odd = [name for name, tensor in state.items() if tensor.is_meta or tensor.is_quantized or tensor.layout != torch.strided]
    if odd:
        raise CheckpointError(f"{path}: holds tensors that are not plain arrays: {_shorten(odd)}")
    return {name: tensor.detach() for name, tensor in state.items()}


def read_metadata(path: str | Path) -> dict[str, str]:
    """What ``save_weights`` wrote beside the weights; empty for a torch file. Raises CheckpointError for a damaged file."""
    path = Path(path)
    if not _is_safetensors(path, _first_bytes(path)):
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except SafetensorError as error:
        raise CheckpointError(f"{path}: {_CUT_OFF} ({error})") from error


def load_weights(net: nn.Module, state: StateDict, *, source: str) -> None:
    """Put ``state`` into ``net``, in the net's precision; a net on the meta device is allocated on the CPU, after all checks.

    Released files are taken as they are (``standard_names``). Raises CheckpointError with the missing, unexpected, misshapen or
    unusable entries (not floats, or not finite); then ``net`` is unchanged. ``source`` names the file in that message.
    """
    wanted = net.state_dict()
    if state.keys() != wanted.keys():
        state = standard_names(state, keep=wanted.keys())
    faults = {
        "missing": [name for name in wanted if name not in state],
        "unexpected": [name for name in state if name not in wanted],
        "of another shape": [
            f"{name} {tuple(state[name].shape)} instead of {tuple(weight.shape)}"
            for name, weight in wanted.items()
            if name in state and state[name].shape != weight.shape
        ],
    }
    if not any(faults.values()):
        floats = [name for name, weight in wanted.items() if weight.is_floating_point()]
        faults["not finite numbers"] = [name for name in floats if not _is_finite(state[name])]
    if any(faults.values()):
        reasons = "; ".join(f"{len(names)} {fault} ({_shorten(names)})" for fault, names in faults.items() if names)
        raise CheckpointError(f"{source} does not fit {type(net).__name__}: {reasons}")
    if any(weight.is_meta for weight in wanted.values()):  # not by to_empty, which imports sympy: a second in every process
        empty = {name: torch.empty(weight.shape, dtype=weight.dtype) for name, weight in wanted.items()}
        net.load_state_dict(empty, strict=True, assign=True)
    net.load_state_dict(dict(state), strict=True)


def save_weights(net: nn.Module, path: str | Path, *, metadata: Mapping[str, str], half: bool = False) -> None:
    """Write the weights of ``net`` as safetensors, complete or not at all; the same weights give the same bytes.

    ``half`` stores floats as float16 (half the size; about three decimal digits). Raises CheckpointError for weights that are
    not finite as stored, which no loader would take.
    """
    path = Path(path)
    state = {name: tensor.detach().cpu() for name, tensor in net.state_dict().items()}
    if half:
        state = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    broken = [name for name, tensor in state.items() if tensor.is_floating_point() and not _is_finite(tensor)]
    if broken:
        raise CheckpointError(f"{path} is not written: not finite as {'float16' if half else 'stored'}: {_shorten(broken)}")
    # clone: safetensors refuses weights that share memory (tied layers)
    data = safetensors_bytes({name: tensor.clone().contiguous() for name, tensor in state.items()}, dict(metadata))
    write_uri(path, _sort_header(data))


def _first_bytes(path: Path) -> bytes:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such weights file")
    with path.open("rb") as file:
        head = file.read(16)
    if not head:
        raise CheckpointError(f"{path}: the file is empty")
    return head


def _is_safetensors(path: Path, head: bytes) -> bool:
    return path.suffix == ".safetensors" or head[8:9] == b"{"


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_safetensors(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path}: {_CUT_OFF} ({error})") from error


def read_torch(path: Path) -> object:
    """What a torch file holds, on the CPU; nothing in it is run, and NumPy scalars in it are left out as placeholders.

    Raises CheckpointError for a file that is damaged or holds code.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about old or odd files; the file is taken or refused, nothing between
            with torch.serialization.safe_globals(_NUMPY):
                return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        code = re.search(r"GLOBAL ([\w.]+)", str(error))
        if code:
            reason = f"holds pickled code ({code[1]}), which is never run; {_RESAVE}"
        else:
            reason = f"damaged, or holds more than weights (maybe code, which is never run); {_RESAVE}"
        raise CheckpointError(f"{path}: {reason}") from error
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # a seek before the start; all else is the machine's fault
            raise
        raise CheckpointError(f"{path}: damaged or cut-off torch file ({type(error).__name__}: {str(error)[:80]})") from error


def _state_in(content: object, path: Path, part: str | None) -> dict[str, Tensor]:
    if part is None:
        state = find_state(content)
        if state is None:
            raise CheckpointError(f"{path}: no single set of weights in it; it holds {_contents(content)}{_way_out(content)}")
        return plain_names(state)
    if not isinstance(content, dict) or part not in content:
        raise CheckpointError(f"{path}: has no entry {part!r}; it holds {_contents(content)}")
    state = find_state(content[part])
    if state is None:
        raise CheckpointError(f"{path}: no single set of weights in {part}; it holds {_contents(content[part])}")
    while all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return state


def _way_out(content: object) -> str:
    """What to do with a file that holds several networks."""
    states = [str(name)[:100] for name, value in content.items() if is_state(value)] if isinstance(content, dict) else []
    return f"; save the one you mean alone: torch.save(torch.load(FILE)[{states[0]!r}], NEW_FILE)" if states else ""


def _is_finite(tensor: Tensor) -> bool:
    return tensor.dtype in FLOATS and bool(tensor.isfinite().all())


def _contents(content: object) -> str:
    return _shorten([str(name) for name in content]) or "nothing" if isinstance(content, dict) else f"a {type(content).__name__}"


def _shorten(names: Iterable[str]) -> str:
    shown = [name[:100] for name in names]
    return ", ".join(shown[:_NAMES_SHOWN]) + (", ..." if len(shown) > _NAMES_SHOWN else "")


def _sort_header(data: bytes) -> bytes:
    """The same safetensors file with its metadata in order of name: the library writes it in random order."""
    size = int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(data[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text = text.ljust(-(-len(text) // 8) * 8)
    return len(text).to_bytes(8, "little") + text + data[8 + size :]
