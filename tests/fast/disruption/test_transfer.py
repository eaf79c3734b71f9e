"""Photos shown smaller and elsewhere, and smoothed gradients: what they do by themselves, by photo and in a whole disruption."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from pipeline.disruption.disrupt import Target, disrupt, target_objective
from pipeline.disruption.objectives import REFERENCES
from pipeline.disruption.recipes import Recipe
from pipeline.disruption.streams import streams_for
from pipeline.disruption.transfer import LEAST_SHARE, draw_placings, place, smooth_gradient
from pipeline.disruption.view import BatchView, View
from pipeline.images.blur import gaussian_blur
from pipeline.images.boxes import region_box
from tests.fast.tiny import build

SIZES = ((20, 16), (16, 24), (23, 24))
KEYS = ("a", "b", "c")


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 1.8 - 0.9


def outputs() -> Target:
    generator = build()
    generator.net.double()
    return Target(lambda y: y, {name: generator.output(name) for name in generator.classes})


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.3])
def test_the_gradient_of_one_pixel_becomes_the_kernel_and_the_images_stay(sigma: float) -> None:
    x = random(2, 3, 31, 31).requires_grad_(True)
    y = smooth_gradient(x, sigma=sigma)
    assert torch.equal(y, x)
    (g,) = torch.autograd.grad(y[1, 2, 15, 15], x)
    at = torch.arange(-15.0, 16, dtype=torch.float64)
    line = torch.exp(-at.square() / (2 * sigma**2)) * (at.abs() <= -(-3 * sigma // 1))
    line = line / line.sum()
    torch.testing.assert_close(g[1, 2], line[:, None] * line, rtol=0, atol=1e-12)
    assert g[0].eq(0).all()
    assert g[1, :2].eq(0).all()


def test_a_smoothed_disruption_follows_the_smoothed_gradient_of_what_the_network_sees() -> None:
    x, target = random(1, 3, 16, 16), outputs()
    y = (x + 0.05 * random(1, 3, 16, 16, seed=1)).requires_grad_(True)

    def gradient(recipe: Recipe) -> Tensor:
        objective = target_objective(target, x, recipe, reference=REFERENCES["output"], streams=streams_for("a", 0))
        (g,) = torch.autograd.grad(objective(y, 0).sum(), y)
        return g

    plain, smooth = gradient(Recipe()), gradient(Recipe(smooth_gradient=1.5))
    torch.testing.assert_close(smooth, gaussian_blur(plain, sigma=1.5, k=11), rtol=0, atol=1e-12)
    assert not torch.allclose(smooth, plain)


def test_a_gradient_is_smoothed_in_full_precision_under_autocast() -> None:
    x = random(1, 3, 16, 16).float().requires_grad_(True)
    with torch.autocast("cpu", torch.bfloat16):
        (g,) = torch.autograd.grad(smooth_gradient(x, sigma=1.0)[0, 0, 8, 8], x)
    assert g.dtype == torch.float32
    assert float(g.sum()) == pytest.approx(1, abs=1e-6)


def test_a_placed_photo_is_smaller_and_lies_on_mid_grey() -> None:
    x = torch.full((2, 3, 40, 20), 0.5, dtype=torch.float64)
    y = place(x, [(0.9, 1.0, 0.5), None])
    expected = torch.zeros(3, 40, 20, dtype=torch.float64)
    expected[:, 4:, 1:19] = 0.5
    torch.testing.assert_close(y[0], expected)
    assert torch.equal(y[1], x[1])


def test_as_many_steps_as_asked_show_it_otherwise_within_the_range_of_the_paper() -> None:
    drawn = [one for (one,) in draw_placings(streams_for("a", 0), 0.3, 2000)]
    placed = torch.tensor([one for one in drawn if one is not None])
    assert len(placed) / 2000 == pytest.approx(0.3, abs=0.04)
    assert placed[:, 0].min() >= LEAST_SHARE
    assert placed.amax() < 1
    torch.testing.assert_close(placed.mean(0), torch.tensor([(1 + LEAST_SHARE) / 2, 0.5, 0.5]), rtol=0, atol=0.05)
    assert None not in [one for (one,) in draw_placings(streams_for("a", 0), 1.0, 50)]
    assert {one for (one,) in draw_placings(streams_for("a", 0), 0.0, 50)} == {None}


def test_a_photo_is_placed_by_its_own_stream_alone() -> None:
    together = draw_placings(streams_for(KEYS, 0), 0.5, 9)
    for i, key in enumerate(KEYS):
        assert [step[i] for step in together] == [one for (one,) in draw_placings(streams_for([key], 0), 0.5, 9)]
    assert [step[0] for step in together] != [step[1] for step in together]
    assert together != draw_placings(streams_for(KEYS, 1), 0.5, 9)


def test_without_diversity_nothing_is_drawn_and_every_step_sees_the_photo_itself() -> None:
    x, target = random(1, 3, 16, 16), outputs()
    plain = disrupt(x, [target], Recipe(steps=6), epsilon=0.05, streams=streams_for("a", 0))
    assert torch.equal(plain, disrupt(x, [target], Recipe(steps=6, diversity=0.0), epsilon=0.05, streams=streams_for("a", 0)))
    objectives = [
        target_objective(
            target, x, Recipe(), reference=REFERENCES["output"], streams=streams_for("a", 0), placings=placings
        )
        for placings in ((), draw_placings(streams_for("a", 0), 0.0, 6))
    ]  # fmt: skip
    for t in range(6):
        assert torch.equal(objectives[0](x + 0.01, t), objectives[1](x + 0.01, t))


@pytest.mark.parametrize("classes", ["iterative", "joint"])
def test_the_reference_of_a_placed_photo_is_the_output_on_the_photo_placed_alike(classes: str) -> None:
    x, target = random(2, 3, 16, 16), outputs()
    target = dataclasses.replace(target, clean={name: output(x) for name, output in target.outputs.items()})
    recipe = Recipe(classes="joint" if classes == "joint" else "iterative")
    placings = draw_placings(streams_for(KEYS[:2], 0), 0.7, 12)
    reference, streams = REFERENCES["output"], streams_for(KEYS[:2], 0)
    objective = target_objective(target, x, recipe, reference=reference, streams=streams, placings=placings)
    for t in range(12):
        assert objective(x, t).abs().max() < 1e-20
        assert objective(x + 0.05 * x.flip(3), t).min() > 1e-6


def test_the_network_sees_each_photo_as_it_was_placed_in_that_step() -> None:
    x, seen = random(2, 3, 12, 12), []

    def watched(y: Tensor) -> Tensor:
        seen.append(y)
        return y

    placings = draw_placings(streams_for(KEYS[:2], 0), 0.5, 8)
    objective = target_objective(
        Target(lambda y: y, {"one": watched}), x, Recipe(), reference=REFERENCES["black"], streams=[], placings=placings
    )
    for t, one in enumerate(placings):
        objective(x + 0.1, t)
        assert torch.equal(seen[-1], place(x + 0.1, one))


@pytest.mark.parametrize("recipe", [
    Recipe(start="uniform", steps=6, diversity=0.6),
    Recipe(start="uniform", steps=6, smooth_gradient=1.0, momentum=0.9),
    Recipe(start="uniform", steps=6, smooth_gradient=1.0, diversity=0.6, classes="joint", ball="l2"),
    Recipe(start="uniform", steps=6, smooth_gradient=1.0, step_rule="apgd", step_size=None, classes="joint"),
])  # fmt: skip
def test_a_batch_of_ragged_photos_gives_what_each_gives_alone(recipe: Recipe) -> None:
    photos = [random(1, 3, h, w, seed=i) for i, (h, w) in enumerate(SIZES)]

    def protect(which: list[int]) -> list[Tensor]:
        some = tuple(SIZES[i] for i in which)
        H, W = (max(side) for side in zip(*some, strict=True))
        x = torch.cat([torch.nn.functional.pad(photos[i], (0, W - w, 0, H - h)) for i, (h, w) in zip(which, some, strict=True)])
        view = BatchView(tuple(View(region_box("square", w, h, None), 1, 16) for h, w in some), some)
        streams = streams_for([KEYS[i] for i in which], 0, stored_sizes=some)
        values = torch.tensor([3 * h * w for h, w in some])[:, None, None, None]
        target = dataclasses.replace(outputs(), view=view)
        y = disrupt(x, [target], recipe, epsilon=6 / 127.5, streams=streams, values=values)
        for k, (h, w) in enumerate(some):
            assert y[k, :, h:].eq(0).all()
            assert y[k, :, :, w:].eq(0).all()
        return [y[k, :, :h, :w] for k, (h, w) in enumerate(some)]

    alone = [protect([i])[0] for i in range(3)]
    for which in ([0, 1, 2], [2, 0]):
        for i, y in zip(which, protect(which), strict=True):
            torch.testing.assert_close(y, alone[i], rtol=0, atol=1e-9)


def test_a_photo_that_is_shown_otherwise_does_not_stop_early() -> None:
    with pytest.raises(ValueError, match="climbs something else"):
        disrupt(random(1, 3, 8, 8), [outputs()], Recipe(until=2.0, diversity=0.5), epsilon=0.05, streams=streams_for("a", 0))
