"""What a condition means: three-valued attributes, so that a photo without labels can be translated; or the published 0/1 labels.

Three-valued, ``c_i = +1`` sets attribute i, ``-1`` clears it, ``0`` leaves it as it is. Hair colours exclude each other: setting
one clears the others. A class is a named condition; the file of weights stores the table.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.training.options import TrainError

ATTRIBUTES = ("Black_Hair", "Brown_Hair", "Male", "Smiling", "Young")
"""The attributes of the shipped generator, hair colours first."""

HAIR = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")
"""Attributes of which an image has at most one; a photo with none of them is one whose hair colour is not known."""

OPPOSITES = {"Male": "Female", "Smiling": "Serious", "Young": "Old"}
"""How a cleared attribute is called as a class."""


def hair_count(attributes: Sequence[str]) -> int:
    """How many of the attributes are hair colours; raises TrainError unless they come first."""
    count = sum(name in HAIR for name in attributes)
    if any(name not in HAIR for name in attributes[:count]):
        raise TrainError(f"hair colours come first among the attributes, got {', '.join(attributes)}")
    return count


def class_conditions(attributes: Sequence[str] = ATTRIBUTES) -> dict[str, list[float]]:
    """Every class of a generator with its condition: each hair colour, and each other attribute set and cleared."""
    count = hair_count(attributes)
    hair, rest = attributes[:count], attributes[count:]
    classes = {name: [1.0 if name == other else -1.0 for other in hair] + [0.0] * len(rest) for name in hair}
    for i, name in enumerate(rest):
        for sign, label in ((1.0, name), (-1.0, OPPOSITES.get(name, f"Not_{name}"))):
            classes[label] = [0.0] * count + [sign if i == j else 0.0 for j in range(len(rest))]
    return dict(sorted(classes.items()))


def label_conditions(attributes: Sequence[str] = ATTRIBUTES) -> dict[str, list[float]]:
    """Every class of a generator that takes the labels, 0 or 1, that an image is to have; no two are the same.

    A user's photo has no labels, so all classes describe one person but for one thing: the last hair colour and all other
    attributes set. A class sets another hair colour or clears one attribute. Source: the targets of [C18]'s released evaluation.
    """
    count = hair_count(attributes)
    hair, rest = attributes[:count], attributes[count:]
    classes = {name: [float(name == other) for other in hair] + [1.0] * len(rest) for name in hair}
    for name in rest:
        person = [float(other == hair[-1]) for other in hair]
        classes[OPPOSITES.get(name, f"Not_{name}")] = person + [float(name != other) for other in rest]
    return dict(sorted(classes.items()))


def source_condition(labels_BK: Tensor) -> Tensor:
    """Labels 0/1 as a condition that asks for exactly these labels, -1/+1."""
    return labels_BK * 2 - 1


def draw_target(labels_BK: Tensor, known_BK: Tensor, *, hair: int, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A random translation of each image: (c, labels after it, which of them are known, c that leads back).

    The first ``hair`` attributes are exclusive hair colours and change as one group, each other attribute is a group of its
    own. At least one group changes, each further one with probability 1/4. All tensors are (B, K).
    """
    B, K = labels_BK.shape
    groups = ([list(range(hair))] if hair else []) + [[k] for k in range(hair, K)]
    c_BK = torch.zeros_like(labels_BK)
    back_BK = torch.zeros_like(labels_BK)
    target_BK, target_known_BK = labels_BK.clone(), known_BK.clone()
    first = torch.randint(0, len(groups), (B,), generator=rng)
    more = torch.rand(B, len(groups), generator=rng) < 0.25
    pick = torch.rand(B, generator=rng)
    for b in range(B):
        for g, members in enumerate(groups):
            if g != int(first[b]) and not more[b, g]:
                continue
            if len(members) > 1:
                choices = [k for k in members if labels_BK[b, k] == 0]
                chosen = choices[int(pick[b] * len(choices))]
                target_BK[b, members] = 0
                target_BK[b, chosen] = 1
            else:
                target_BK[b, members[0]] = 1 - labels_BK[b, members[0]]
            target_known_BK[b, members] = 1
            c_BK[b, members] = source_condition(target_BK[b, members])
            back_BK[b, members] = source_condition(labels_BK[b, members])
    return c_BK, target_BK, target_known_BK, back_BK
