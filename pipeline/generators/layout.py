"""Weights under other names: the same layers, in one order only, with the same shapes.

A layer is what lies at one path of the names: a weight, or a weight and a bias. Layers of a path follow each other, and those
whose names differ in a number follow that number (``block2`` after ``block1``). Where exactly one such order fits the layers of the
net, this is the order. Where several do, the order of the file decides, unless its names are sorted, as in safetensors, and it says
nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

import torch
from torch import Tensor

from pipeline.generators.state_names import StateDict, is_statistic, without_statistics

# Last parts of names that mean the same.
_KINDS = {"weight": "weight", "w": "weight", "gamma": "weight", "scale": "weight"}
_KINDS |= {"bias": "bias", "b": "bias", "beta": "bias", "shift": "bias"}
_MOST_NODES, _MOST_STEPS = 500, 20_000


class MisfitError(ValueError):
    """Weights that are not those of a net under other names; the message says why."""


@dataclass(frozen=True)
class Layer:
    """The weights at one path: their names and shapes by kind (weight, bias)."""

    path: str
    names: Mapping[str, str]
    shapes: Mapping[str, torch.Size]


@dataclass
class _Node:
    """A part of a path: its place in order of appearance, its own weights, if any, and what lies below."""

    place: int
    layer: Layer | None = None
    below: dict[str, _Node] = field(default_factory=dict)


Queue = tuple[_Node, ...]
"""Nodes that follow each other."""


def has_layers_of(state: StateDict, wanted: StateDict) -> bool:
    """Whether both hold equally many layers of each shape, in any order; running statistics do not count."""
    theirs, ours = (Counter(map(_signature, _layers(without_statistics(one)))) for one in (state, wanted))
    return theirs == ours


def respell(state: StateDict, wanted: StateDict) -> dict[str, str]:
    """For each name of ``wanted`` (a net's state_dict) the name of the same weight in ``state``, which `has_layers_of` it.

    Raises MisfitError unless the layers fit in exactly one order and are spelled alike in all blocks of the net.
    """
    theirs, ours = _layers(without_statistics(state)), _layers(without_statistics(wanted))
    found = list(islice(_orders(theirs, ours), 2))
    if not found:
        raise MisfitError("its layers have the right shapes, but another order")
    if len(found) > 1 and (found[0] != tuple(theirs) or _is_sorted(state)):
        one, other = next((a, b) for a, b in zip(*found, strict=True) if a != b)
        raise MisfitError(
            f"its names do not tell the order of {one.path} and {other.path}, which have the same shapes; "
            "number the layers in their order, or save the state_dict with torch.save, which keeps it"
        )
    pairs = list(zip(found[0], ours, strict=True))
    _check_alike(pairs)
    names = {new.names[kind]: old.names[kind] for old, new in pairs for kind in new.names}
    paths = {new.path: old.path for old, new in pairs}
    statistics = {name: f"{paths[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}" for name in wanted if is_statistic(name)}
    if lost := [old for old in statistics.values() if old not in state and not old.endswith("num_batches_tracked")]:
        raise MisfitError(f"the running statistics of its batch norms are not beside their weights ({lost[0][:100]})")
    return names | {new: old for new, old in statistics.items() if old in state}


def _is_sorted(state: StateDict) -> bool:
    """Whether the entries are in the order of safetensors, by name within each type, which says nothing of the layers."""
    names: dict[torch.dtype, list[str]] = {}
    for name, tensor in state.items():
        names.setdefault(tensor.dtype, []).append(name)
    return all(some == sorted(some) for some in names.values())


def renamed(state: StateDict, names: Mapping[str, str]) -> dict[str, Tensor]:
    """The weights under the new names that `respell` found for them."""
    return {new: state[old] for new, old in names.items()}


def _layers(state: StateDict) -> list[Layer]:
    layers: dict[str, Layer] = {}
    for name, tensor in state.items():
        path, kind = _split(name)
        layer = layers.get(path, Layer(path, {}, {}))
        if kind in layer.names:
            raise MisfitError(f"{name[:100]} is no name of a weight")
        layers[path] = Layer(path, {**layer.names, kind: name}, {**layer.shapes, kind: tensor.shape})
    return list(layers.values())


def _split(name: str) -> tuple[str, str]:
    path, _, last = name.rpartition(".")
    return path, _KINDS.get(last, last)


def _signature(layer: Layer) -> frozenset[tuple[str, torch.Size]]:
    return frozenset(layer.shapes.items())


def _orders(layers: list[Layer], wanted: list[Layer]) -> Iterator[tuple[Layer, ...]]:
    """All orders of ``layers`` that the names allow and that have the shapes of ``wanted``, that of the file first."""
    places = iter(range(_MOST_NODES))
    root = _Node(next(places))
    for layer in layers:
        node = root
        for part in layer.path.split("."):
            if part not in node.below:
                if (place := next(places, None)) is None:
                    raise MisfitError("its names are nested too deeply")
                node.below[part] = _Node(place)
            node = node.below[part]
        node.layer = layer
    steps = iter(range(_MOST_STEPS))

    def orders(open_queues: tuple[tuple[Queue, ...], ...], done: int) -> Iterator[tuple[Layer, ...]]:
        """The orders of what is left: for each node that was entered its queues, of which any may go on; the innermost first."""
        while open_queues and not open_queues[-1]:
            open_queues = open_queues[:-1]
        if not open_queues:
            yield ()
            return
        for i, (node, *rest) in sorted(enumerate(open_queues[-1]), key=lambda queue: queue[1][0].place):
            if next(steps, None) is None:
                raise MisfitError("its names allow too many orders of its layers; number the layers in their order")
            if node.layer and node.layer.shapes != wanted[done].shapes:
                continue
            left = (*open_queues[-1][:i], *([tuple(rest)] if rest else []), *open_queues[-1][i + 1 :])
            first = (node.layer,) if node.layer else ()
            for others in orders((*open_queues[:-1], left, _queues(node)), done + len(first)):
                yield (*first, *others)

    return orders((_queues(root),), 0)


def _queues(node: _Node) -> tuple[Queue, ...]:
    """What lies below a node: names that differ in their number alone in one queue, by number; queues in order of appearance."""
    queues: dict[str, list[tuple[int, _Node]]] = {}
    for part, below in node.below.items():
        text, number = re.fullmatch(r"(.*?)(\d{0,9})", part, re.DOTALL).groups()  # type: ignore[union-attr]
        queues.setdefault(text, []).append((int(number or -1), below))
    return tuple(tuple(below for _, below in sorted(queue, key=lambda pair: pair[0])) for queue in queues.values())


def _check_alike(pairs: Iterable[tuple[Layer, Layer]]) -> None:
    """Raise MisfitError unless the same weight of every block, and the same kind of weight in every layer, is spelled alike."""
    spelled: dict[object, set[str]] = {}
    for old, new in pairs:
        parts = new.path.split(".")
        number = next((i for i, part in enumerate(parts) if part.isdecimal()), len(parts))
        dimensions = max(map(len, new.shapes.values()))
        for kind in new.names:
            spelled.setdefault((kind, new.names[kind].rpartition(".")[2], dimensions), set()).add(
                old.names[kind].rpartition(".")[2]
            )
            if len(parts) - number > 1:  # in a block
                weight = (*parts[:number], "", *parts[number + 1 :], kind)
                spelled.setdefault(weight, set()).add(re.sub(r"\d+", "#", old.names[kind]))
    odd = next((sorted(ways) for ways in spelled.values() if len(ways) > 1), None)
    if odd:
        raise MisfitError(f"the same weight is spelled in several ways: {odd[0][:100]} and {odd[1][:100]}")
