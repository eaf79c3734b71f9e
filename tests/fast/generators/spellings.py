"""Other spellings of a net's state_dict, as people's files have them: the same weights in the same order."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from torch import Tensor

State = dict[str, Tensor]


def each_name(change: Callable[[str], str]) -> Callable[[State], State]:
    """The state_dict with every name changed; two that become one are a mistake of the test."""

    def respelled(state: State) -> State:
        names = [change(name) for name in state]
        assert len(set(names)) == len(names)
        return dict(zip(names, state.values(), strict=True))

    return respelled


def words(changes: Mapping[str, str]) -> Callable[[State], State]:
    """Parts of names replaced by others, wherever they stand."""
    return each_name(lambda name: ".".join(changes.get(part, part) for part in name.split(".")))


def in_sections(name: str) -> str:
    """Layers of the one long Sequential in sections of their own: down, blocks, up."""
    layer = re.fullmatch(r"(?:main|model)\.(\d+)\.(.*)", name)
    if layer is None:
        return name
    section = "blocks" if "." in layer[2] else "down" if int(layer[1]) < 9 else "up"
    return f"{section}.{layer[1]}.{layer[2]}"


def norm_words(state: State) -> State:
    """gamma and beta in layers whose weight is a vector."""
    vectors = {name.rpartition(".")[0] for name, tensor in state.items() if name.endswith("weight") and tensor.ndim == 1}
    greek = {"weight": "gamma", "bias": "beta"}

    def change(name: str) -> str:
        path, _, last = name.rpartition(".")
        return f"{path}.{greek.get(last, last)}" if path in vectors else name

    return each_name(change)(state)


SPELLINGS: dict[str, Callable[[State], State]] = {
    "as released": lambda state: state,
    "block": words({"conv_block": "block", "main": "layers", "model": "net_", "res": "residual", "im_reg": "image"}),
    "one more level": each_name(lambda name: f"translator.net.{name}"),
    "numbers in words": each_name(lambda name: re.sub(r"\.(\d+)\.", r"_\1.", name, count=1)),
    "numbers with steps": each_name(lambda name: re.sub(r"\d+", lambda match: str(3 * int(match[0]) + 7), name)),
    "in sections": each_name(in_sections),
    "norms in Greek": norm_words,
    "all numbers": lambda state: each_name(_numbered(state))(state),
    "one word more": each_name(lambda name: re.sub(r"\.(\w+)$", r".layer.\1", name)),
}


def _numbered(state: State) -> Callable[[str], str]:
    """Every layer under its rank alone, whatever block it is in."""
    ranks = {path: rank for rank, path in enumerate(dict.fromkeys(name.rpartition(".")[0] for name in state))}
    return lambda name: f"layer{ranks[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}"
