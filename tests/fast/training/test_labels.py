"""What a random translation asks for: exclusive hair, flipped attributes, a way back."""

from __future__ import annotations

import pytest
import torch

from pipeline.generators.zoo import CELEBA
from pipeline.training.data.faces import balanced_weights
from pipeline.training.data.labels import ATTRIBUTES, class_conditions, draw_target, label_conditions


@pytest.fixture(scope="module")
def drawn() -> tuple[torch.Tensor, ...]:
    rng = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (400, 5), generator=rng).float()
    labels[:, :2] = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [1.0, 0.0]])[torch.arange(400) % 4]
    known = torch.ones(400, 5)
    known[2::4, :2] = 0
    return (labels, known, *draw_target(labels, known, hair=2, rng=rng))


def test_every_image_is_asked_for_at_least_one_change_and_the_target_shows_it(drawn: tuple[torch.Tensor, ...]) -> None:
    labels, _, c, target, _, _ = drawn
    assert (c != 0).any(1).all()
    changed = c != 0
    assert torch.equal(target[changed], (c[changed] + 1) / 2)
    assert torch.equal(target[~changed], labels[~changed])


def test_hair_colours_exclude_each_other_and_always_change_together(drawn: tuple[torch.Tensor, ...]) -> None:
    labels, _, c, target, target_known, _ = drawn
    asked = (c[:, :2] != 0).any(1)
    assert (c[asked, :2] != 0).all()
    assert (target[asked, :2].sum(1) == 1).all()
    assert (target_known[asked, :2] == 1).all()
    assert not torch.equal(labels[asked, :2], target[asked, :2])


def test_the_way_back_asks_for_the_old_labels_of_exactly_what_changed(drawn: tuple[torch.Tensor, ...]) -> None:
    labels, _, c, _, _, back = drawn
    assert torch.equal(back != 0, c != 0)
    assert torch.equal(back[c != 0], labels[c != 0] * 2 - 1)


def test_all_groups_are_drawn(drawn: tuple[torch.Tensor, ...]) -> None:
    c = drawn[2]
    assert ((c != 0).float().mean(0) > 0.25).all()


def test_the_classes_set_or_clear_one_group_each() -> None:
    classes = class_conditions()
    assert len(classes) == 2 * len(ATTRIBUTES) - 2
    assert classes["Black_Hair"] == [1, -1, 0, 0, 0]
    assert classes["Male"] == [0, 0, 1, 0, 0]
    assert classes["Female"] == [0, 0, -1, 0, 0]


def test_classes_of_published_labels_are_zeros_and_ones_and_those_of_celeba_are_those_of_the_released_net() -> None:
    assert {value for c in label_conditions().values() for value in c} == {0, 1}
    celeba = label_conditions(("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young"))
    assert {name: tuple(c) for name, c in celeba.items()} == CELEBA


@pytest.mark.parametrize("conditions", [class_conditions(), label_conditions()], ids=["three-valued", "labels"])
def test_no_two_classes_have_the_same_condition(conditions: dict[str, list[float]]) -> None:
    assert len({tuple(c) for c in conditions.values()}) == len(conditions)


def test_balanced_weights_with_power_one_give_every_combination_the_same_chance() -> None:
    labels = torch.tensor([[0.0], [0.0], [0.0], [1.0]])
    weights = balanced_weights(labels, power=1.0)
    assert weights[:3].sum().item() == pytest.approx(0.5)
    assert weights[3].item() == pytest.approx(0.5)
