"""The generator's weights among all that a file holds: in nested dicts, behind the prefixes of wrappers, beside other networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeGuard

from torch import Tensor

# Entries that hold the generator's state_dict, first choice first.
WRAPPERS = ("G_ema", "G", "generator", "netG", "net_G", "params_ema", "params", "state_dict", "model", "net", "weights",
            "ema_model", "generator_ema", "netG_ema", "gen")  # fmt: skip
# First parts of names that tell the generator from the other networks of one state_dict, first choice first.
PARTS = ("G_ema", "generator_ema", "netG_ema", "ema_model", "G", "generator", "netG", "net_G", "gen")
# What torch.compile, DataParallel, AveragedModel and FSDP put into the names of what they wrap.
_WRAPPED = {"_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_COUNTER = "n_averaged"
_DEEPEST = 4  # a file may nest a dict in itself


def find_state(content: object) -> dict[str, Tensor] | None:
    """The state_dict somewhere in nested dicts (see ``WRAPPERS``), as it is named there; None where there is not exactly one."""
    for _ in range(_DEEPEST):
        if is_state(content):
            return content
        if not isinstance(content, dict):
            return None
        states = [name for name, value in content.items() if is_state(value)]
        options = [name for name in WRAPPERS if name in states] or states
        options = options or [name for name in WRAPPERS if isinstance(content.get(name), dict)]
        if not options:  # weights with numbers and settings beside them
            return {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)} or None
        if len(options) > 1 and options[0] not in WRAPPERS:
            return None
        content = content[options[0]]
    return None


def is_state(value: object) -> TypeGuard[dict[str, Tensor]]:
    """Whether this is a dict of tensors by name, and not empty."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items())
    )


def plain_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The generator's weights of a state_dict without what wrappers put around their names, in any order and depth.

    Removed: ``module``, ``_orig_mod`` and their like anywhere in a name, the counter of an averaged model, and a first part that
    all names share (``model.main.0.weight``). Of several networks in one state_dict (``netG.*`` beside ``netD.*``) the generator is
    taken, an averaged one first (``PARTS``). Names that have nothing of this stay as they are.
    """
    plain = dict(state)
    while True:
        before = list(plain)
        plain = _without_wrappers(plain)
        parts = {name.partition(".")[0] for name in plain if "." in name}
        part = next((part for part in PARTS if part in parts), None) or _shared_part(parts, plain)
        if part is not None:
            plain = under(plain, part)
        if list(plain) == before:
            return plain


def under(state: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """The entries whose names begin with a part, without it."""
    return {name.removeprefix(f"{part}."): tensor for name, tensor in state.items() if name.startswith(f"{part}.")}


def _without_wrappers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    counted = {name: tensor for name, tensor in state.items() if name.rpartition(".")[2] != _COUNTER}
    named = {".".join(part for part in name.split(".") if part not in _WRAPPED): tensor for name, tensor in counted.items()}
    return named if len(named) == len(counted) and all(named) else state


def _shared_part(parts: set[str], state: Mapping[str, Tensor]) -> str | None:
    """The first part of all names, if it is one of a wrapper and not the net's own: ``model.1`` is a layer of a released net."""
    (part, *others) = parts or {""}
    inside = [name.split(".")[1] for name in state if name.count(".") > 1]
    wraps = not others and part in WRAPPERS and len(inside) == len(state) and not any(name.isdecimal() for name in inside)
    return part if wraps else None
