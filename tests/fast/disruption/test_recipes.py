"""Whole disruptions of a tiny generator: every recipe by name, batches of ragged photos, classes, blurs, frozen weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from pipeline.disruption.disrupt import Target, disrupt, target_objective
from pipeline.disruption.objectives import DISTANCES, REFERENCES, away_from
from pipeline.disruption.recipes import RECIPES, Blur, Classes, Recipe
from pipeline.disruption.recipes import Objective as Name
from pipeline.disruption.streams import streams_for
from pipeline.disruption.view import BatchView, View
from pipeline.generators.generator import Generator
from pipeline.images.blur import BLURS
from pipeline.images.boxes import region_box
from pipeline.protection.row import Effect
from pipeline.protection.stages.write import verdict
from tests.fast.tiny import CLASSES, build, build_other

EPSILON = 6 / 127.5
KEYS = ("a.jpg", "b.jpg", "c.jpg")


def photos(B: int, C: int, H: int, W: int) -> Tensor:
    """Smooth random photos."""
    coarse = torch.rand((B, C, 4, 4), generator=torch.Generator().manual_seed(5), dtype=torch.float64) * 1.8 - 0.9
    return torch.nn.functional.interpolate(coarse, (H, W), mode="bilinear")


def double(generator: Generator) -> Generator:
    generator.net.double()
    return generator


def target(generator: Generator, layer: str = "") -> Target:
    outputs = {name: generator.features(name, layer) if layer else generator.output(name) for name in generator.classes}
    return Target(view=lambda x_BCHW: x_BCHW, outputs=outputs)


def run(x: Tensor, recipe: Recipe, generator: Generator, keys: Sequence[str] = KEYS[:1]) -> Tensor:
    return disrupt(x, [target(generator, recipe.layer)], recipe, epsilon=EPSILON, streams=streams_for(keys, 0))


def shortened(recipe: Recipe) -> Recipe:
    return dataclasses.replace(recipe, steps=min(recipe.steps, 4))


@pytest.mark.parametrize("ball", ["linf", "l2"])
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_moves_the_photo_inside_the_ball_and_reaches_its_aim(name: str, ball: str) -> None:
    generator, x, recipe = double(build()), photos(1, 3, 16, 16), dataclasses.replace(shortened(RECIPES[name]), ball=ball)
    y = run(x, recipe, generator)
    eta = y - x
    assert eta.abs().max() > 0.2 * EPSILON
    assert eta.abs().max() <= EPSILON + 1e-12
    assert y.abs().max() <= 1
    if ball == "l2":
        assert eta.square().mean().sqrt() <= EPSILON / 2 + 1e-12
    objective = target_objective(target(generator, recipe.layer), x, recipe, reference=REFERENCES[recipe.reference],
                                 streams=streams_for(KEYS[:1], 0))  # fmt: skip
    assert sum(float(objective(y, t) - objective(x, t)) for t in range(18)) > 0


def test_fgsm_from_the_clean_photo_does_not_move_and_is_reported_as_such() -> None:
    x = photos(1, 3, 16, 16)
    y = run(x, dataclasses.replace(RECIPES["fgsm"], start="clean"), double(build()))
    assert torch.equal(x, y)
    status, reason = verdict(Effect(list(CLASSES), [0.3, 0.3], [0.3, 0.3], moved=not torch.equal(x, y)))
    assert status == "not_disrupted"
    assert reason is not None
    assert "did not move" in reason


@pytest.mark.parametrize("ball", ["linf", "l2"])
@pytest.mark.parametrize("start", ["jitter", "uniform"])
@pytest.mark.parametrize("reference", ["output", "noise"])
def test_a_batch_of_ragged_photos_gives_what_each_gives_alone(ball: str, start: str, reference: str) -> None:
    generator = double(build())
    sizes: tuple[tuple[int, int], ...] = ((20, 16), (16, 24), (23, 24))
    padded = photos(3, 3, 23, 24)
    for i, (h, w) in enumerate(sizes):
        padded[i, :, h:], padded[i, :, :, w:] = 0, 0
    recipe = Recipe(start=start, ball=ball, steps=4, reference=reference)
    views = [View(region_box("square", w, h, None), 1, 16) for h, w in sizes]

    def protect(x: Tensor, which: slice) -> Tensor:
        batch = Target(BatchView(tuple(views[which]), sizes[which]), {n: generator.output(n) for n in generator.classes})
        values = torch.tensor([3 * h * w for h, w in sizes[which]])[:, None, None, None]
        streams = streams_for(KEYS[which], 0, stored_sizes=sizes[which])
        return disrupt(x, [batch], recipe, epsilon=EPSILON, streams=streams, values=values)

    together = protect(padded, slice(0, 3))
    for i, (h, w) in enumerate(sizes):
        alone = protect(padded[i : i + 1, :, :h, :w], slice(i, i + 1))
        torch.testing.assert_close(together[i : i + 1, :, :h, :w], alone, rtol=0, atol=1e-9)
        assert together[i, :, h:].eq(0).all()
        assert together[i, :, :, w:].eq(0).all()


def test_each_class_is_driven_from_its_own_reference_in_its_own_step() -> None:
    generator, x = double(build()), photos(2, 3, 16, 16)
    y = x + 0.01
    objective = target_objective(target(generator), x, Recipe(), reference=REFERENCES["output"], streams=streams_for(KEYS[:2], 0))
    joint = target_objective(target(generator), x, Recipe(classes="joint"), reference=REFERENCES["output"],
                             streams=streams_for(KEYS[:2], 0))  # fmt: skip
    values = [away_from(generator.output(name), generator(x, name))(y, 0) for name in generator.classes]
    for t in range(4):
        torch.testing.assert_close(objective(y, t), values[t % 2])
        torch.testing.assert_close(joint(y, t), (values[0] + values[1]) / 2)


def test_spread_spectrum_shows_every_class_every_blur() -> None:
    x = photos(1, 3, 16, 16)
    seen: set[tuple[str, str]] = set()

    def watched(class_name: str, y: Tensor) -> Tensor:
        seen.update((class_name, blur) for blur, f in BLURS.items() if torch.equal(f(x), y))
        return y

    outputs = {"one": lambda y: watched("one", y), "two": lambda y: watched("two", y)}
    objective = target_objective(Target(lambda v: v, outputs), x, RECIPES["spread-spectrum"], reference=REFERENCES["output"],
                                 streams=streams_for(KEYS[:1], 0))  # fmt: skip
    seen.clear()
    for t in range(18):
        objective(x, t)
        assert len(seen) == t + 1


@pytest.mark.parametrize("blur", ["none", "white-box", "eot", "spread-spectrum"])
def test_the_reference_of_a_blurred_photo_is_the_output_on_that_blurred_photo(blur: Blur) -> None:
    x = photos(2, 3, 16, 16)
    streams = streams_for(KEYS[:2], 0)
    objective = target_objective(target(double(build())), x, Recipe(blur=blur), reference=REFERENCES["output"], streams=streams)
    for t in range(18):
        assert objective(x, t).abs().max() < 1e-20
        assert objective(x + 0.05 * x.flip(3), t).min() > 1e-6


def test_an_ensemble_is_the_mean_of_its_generators() -> None:
    x = photos(1, 3, 16, 16)
    both = [target(double(build())), target(double(build_other()))]
    recipe = dataclasses.replace(RECIPES["pgd-joint"], steps=6)
    y = disrupt(x, both, recipe, epsilon=EPSILON, streams=streams_for(KEYS[:1], 0))
    for generator in (double(build()), double(build_other())):
        for name in generator.classes:
            assert (generator(y, name) - generator(x, name)).square().mean() > 0.1


@pytest.mark.parametrize("measure", DISTANCES)
def test_every_objective_makes_its_own_measure_larger_and_larger(measure: Name) -> None:
    generator, x = double(build()), photos(1, 3, 16, 16)

    def reached(objective: Name, steps: int) -> float:
        y = run(x, dataclasses.replace(RECIPES["pgd-joint"], steps=steps, objective=objective), generator)
        return sum(DISTANCES[measure](generator(y, name), generator(x, name)).item() for name in generator.classes)

    values = [reached(measure, steps) for steps in (0, 2, 10)]
    assert values[0] < values[1] < values[2]
    if measure == "local":
        assert values[2] > reached("l2", 10)


def test_the_weakest_of_networks_and_classes_gets_more_than_by_the_mean() -> None:
    x, generators = photos(1, 3, 16, 16), (double(build()), double(build_other()))

    def least(schedule: Classes) -> float:
        recipe = dataclasses.replace(RECIPES["pgd"], steps=10, classes=schedule)
        y = disrupt(x, [target(one) for one in generators], recipe, epsilon=EPSILON / 3, streams=streams_for(KEYS[:1], 0))
        return min((one(y, name) - one(x, name)).square().mean().item() for one in generators for name in one.classes)

    assert least("weakest") > 1.05 * least("joint")


def test_a_given_image_replaces_the_named_reference() -> None:
    generator, x = double(build()), photos(1, 3, 16, 16)
    recipe = Recipe(aim="towards", steps=6)
    goal = generator(photos(1, 3, 16, 16).flip(3), "Smile")
    y = disrupt(x, [target(generator)], recipe, epsilon=EPSILON, streams=streams_for(KEYS[:1], 0), reference=lambda x, out, s: goal)
    assert (generator(y, "Smile") - goal).square().mean() < (generator(x, "Smile") - goal).square().mean()


def test_weights_are_frozen_and_never_get_a_gradient() -> None:
    for recipe in (RECIPES["pgd"], RECIPES["feature"]):
        generator = build()
        run(photos(1, 3, 16, 16).float(), shortened(recipe), generator)
        assert all(p.grad is None and not p.requires_grad for p in generator.net.parameters())
        assert not generator.net.training


def test_nothing_to_disrupt_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one objective"):
        disrupt(photos(1, 3, 4, 4), [], Recipe(), epsilon=EPSILON, streams=streams_for(KEYS[:1], 0))
