"""JPEG, resizing, cropping, blur and noise as differentiable transforms, against the real ones; and disruptions that go through."""

from __future__ import annotations

import dataclasses
import io
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from pipeline.disruption.disrupt import Target, disrupt, target_objective
from pipeline.disruption.jpeg import CHROMA, LUMA, jpeg, quantiser_steps
from pipeline.disruption.objectives import REFERENCES
from pipeline.disruption.recipes import Recipe
from pipeline.disruption.robust import ROBUST_TO, crop_to_size, edge_blur, robust_variants, scale_and_back
from pipeline.disruption.streams import Stream, streams_for
from pipeline.disruption.view import BatchView, View
from pipeline.images.boxes import region_box
from pipeline.images.levels import level_to_unit, pixels_to_unit, unit_to_pixels
from tests.fast.tiny import build, picture

EVERY = tuple(ROBUST_TO)
KEYS = ("a.jpg", "b.jpg", "c.jpg")
SIZES = ((20, 16), (16, 24), (23, 24))


def photo(shared: Path, mode: str = "RGB", box: tuple[int, int, int, int] = (0, 0, 128, 128)) -> Image.Image:
    return Image.open(shared / "data" / "faces" / "openpeople_P001_00_neutral.jpg").crop(box).convert(mode)


def tensor(image: Image.Image) -> Tensor:
    pixels = np.array(image)
    pixels = pixels if pixels.ndim == 3 else pixels[:, :, None]
    return pixels_to_unit(torch.from_numpy(pixels.transpose(2, 0, 1).copy()).double())[None]


def levels_apart(ours: Tensor, image: Image.Image) -> Tensor:
    return (unit_to_pixels(ours) - unit_to_pixels(tensor(image))).abs()


def coded(image: Image.Image, quality: int, subsampling: str) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling=subsampling)
    return Image.open(file)


def ragged() -> Tensor:
    """Three smooth photos of different sizes, padded with mid-grey."""
    padded = torch.zeros(3, 3, 23, 24, dtype=torch.float64)
    for i, (h, w) in enumerate(SIZES):
        padded[i, :, :h, :w] = tensor(picture(w, h, seed=i))[0]
    return padded


def target(sizes: tuple[tuple[int, int], ...]) -> Target:
    generator = build()
    generator.net.double()
    views = tuple(View(region_box("square", w, h, None), 1, 16) for h, w in sizes)
    return Target(BatchView(views, sizes), {name: generator.output(name) for name in generator.classes})


@pytest.mark.parametrize("quality", [95, 85, 75, 50, 20])
@pytest.mark.parametrize("subsampling", ["4:2:0", "4:4:4"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("box", [(0, 0, 128, 128), (3, 5, 120, 98)])
def test_jpeg_is_close_to_the_real_file(
    shared: Path, quality: int, subsampling: str, mode: str, box: tuple[int, int, int, int]
) -> None:
    image = photo(shared, mode, box)
    ours = jpeg(tensor(image), quality=quality, subsampled=subsampling == "4:2:0")
    apart = levels_apart(ours, coded(image, quality, subsampling))
    assert apart.mean() < (0.9 if mode == "RGB" else 0.3)
    assert apart.mean() < 0.8 * levels_apart(ours, image).mean() + 0.1


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("corner", [(16, 32), (21, 38)])
def test_a_part_of_a_photo_meets_the_jpeg_blocks_of_the_whole_file(shared: Path, mode: str, corner: tuple[int, int]) -> None:
    x = tensor(photo(shared, mode))
    top, left = corner
    parts = []
    for where, pixels in ((None, x), ([corner], x[:, :, top : top + 80, left : left + 64])):
        streams = streams_for(["a"], 0, corners=where)
        parts.append([variant(pixels) for variant in robust_variants(("jpeg",), streams, pixels.shape[1:])])
    for of_photo, of_part in zip(*parts, strict=True):
        inside = of_photo[:, :, top + 20 : top + 60, left + 20 : left + 44] - of_part[:, :, 20:60, 20:44]
        assert inside.abs().max() < 1e-6


@pytest.mark.parametrize("quality", [1, 10, 49, 50, 51, 75, 92, 95, 100])
def test_the_steps_of_the_quantiser_are_those_in_real_files(quality: int) -> None:
    found = coded(picture(), quality, "4:2:0").quantization  # type: ignore[attr-defined]
    assert quantiser_steps(LUMA, quality).flatten().tolist() == list(found[0])
    assert quantiser_steps(CHROMA, quality).flatten().tolist() == list(found[1])


def test_an_even_photo_passes_jpeg_at_its_nearest_level() -> None:
    for level in (-1.0, -0.3, 0.0, 1.0):
        even = torch.full((1, 3, 17, 9), level, dtype=torch.float64)
        assert (jpeg(even, quality=95) - even).abs().max() <= 1.5 / 127.5


@pytest.mark.parametrize(("share", "passes"), [(0.2, 0.0), (0.4, 1.0), (0.6, 1.0), (-0.2, 0.0), (-0.4, 1.0)])
def test_a_gradient_reaches_the_coefficients_that_the_file_keeps_or_nearly_keeps(share: float, passes: float) -> None:
    at = torch.arange(8, dtype=torch.float64)
    wave = (torch.cos((2 * at + 1) * 3 * torch.pi / 16) / 2).expand(8, 8) * 8**-0.5  # the basis picture of frequency (0, 3)
    step = float(quantiser_steps(LUMA, 75)[0, 3])
    x = (level_to_unit(60.5 + share * step * wave))[None, None].requires_grad_(True)
    (g,) = torch.autograd.grad((jpeg(x, quality=75) * wave).sum(), x)
    torch.testing.assert_close(g[0, 0], passes * wave, rtol=0, atol=1e-12)


def test_no_transform_leaves_the_pixel_range_or_changes_the_size() -> None:
    x = ragged().sign()
    for transform in robust_variants(EVERY, streams_for(KEYS, 0, stored_sizes=SIZES), x.shape[1:]):
        y = transform(x)
        assert y.shape == x.shape
        assert y.abs().max() <= 1 + 1e-12


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_half_size_and_back_is_what_pillow_does(shared: Path, mode: str) -> None:
    image = photo(shared, mode, (0, 0, 126, 98))
    real = image.resize((63, 49), Image.Resampling.BICUBIC).resize((126, 98), Image.Resampling.BICUBIC)
    assert levels_apart(scale_and_back(tensor(image), share=0.5), real).mean() < 0.4


def test_a_blur_keeps_the_edge_of_an_even_photo() -> None:
    even = torch.full((1, 3, 6, 7), 0.7, dtype=torch.float64)
    torch.testing.assert_close(edge_blur(even, sigma=1.2), even)


def test_a_window_shows_the_photo_inside_it() -> None:
    ramp = torch.linspace(-0.9, 0.9, 101, dtype=torch.float64).expand(1, 1, 101, 101)
    middle = crop_to_size(ramp, share=0.8, across=0.5, down=0.5)
    torch.testing.assert_close(middle[0, 0, 50, 50], ramp[0, 0, 50, 50], rtol=0, atol=1e-9)
    assert crop_to_size(ramp, share=0.8, across=1.0, down=0.0)[0, 0, 50, 50] > middle[0, 0, 50, 50] + 0.1
    assert torch.equal(crop_to_size(ramp, share=1.0, across=0.3, down=0.9), ramp)


def test_the_untouched_photo_is_the_first_variant_and_every_word_adds_some() -> None:
    x = ragged()
    streams = streams_for(KEYS, 0, stored_sizes=SIZES)
    assert torch.equal(robust_variants((), streams, x.shape[1:])[0](x), x)
    for name, draws in ROBUST_TO.items():
        first, *others = robust_variants((name,), streams, x.shape[1:])
        assert torch.equal(first(x), x)
        assert len(others) == len(draws) > 0
        assert all(not torch.equal(other(x), x) for other in others)


@pytest.mark.parametrize("name", EVERY)
def test_what_a_photo_goes_through_depends_on_its_own_stream_and_pixels_alone(name: str) -> None:
    x = ragged()
    together = robust_variants((name,), streams_for(KEYS, 0, stored_sizes=SIZES), x.shape[1:])
    for i, (h, w) in enumerate(SIZES):
        one = x[i : i + 1, :, :h, :w]
        alone = robust_variants((name,), streams_for(KEYS[i : i + 1], 0), one.shape[1:])
        for in_batch, by_itself in zip(together, alone, strict=True):
            y = in_batch(x)
            torch.testing.assert_close(y[i : i + 1, :, :h, :w], by_itself(one), rtol=0, atol=1e-12)
            assert y[i, :, h:].eq(0).all()
            assert y[i, :, :, w:].eq(0).all()


@pytest.mark.parametrize("name", EVERY)
def test_another_photo_or_seed_draws_other_values(name: str) -> None:
    x = tensor(picture(128, 120))

    def drawn(key: str, seed: int) -> list[Tensor]:
        return [transform(x) for transform in robust_variants((name,), streams_for([key], seed), x.shape[1:])]

    first = drawn("a", 0)
    assert all(torch.equal(p, q) for p, q in zip(first, drawn("a", 0), strict=True))
    for other in (drawn("b", 0), drawn("a", 1)):
        assert any(not torch.equal(p, q) for p, q in zip(first, other, strict=True))


@pytest.mark.parametrize("name", sorted(set(EVERY) - {"jpeg"}))
def test_the_gradients_of_smooth_transforms_are_exact(name: str) -> None:
    x = (0.5 * tensor(picture(7, 5))).requires_grad_(True)
    for transform in robust_variants((name,), streams_for(["a"], 0), x.shape[1:])[1:]:
        assert torch.autograd.gradcheck(transform, (x,), atol=1e-6)


def test_jpeg_stays_in_the_precision_of_the_photo_under_autocast() -> None:
    x = tensor(picture(32, 32)).float()
    for transform in robust_variants(EVERY, streams_for(["a"], 0), x.shape[1:]):
        with torch.autocast("cpu", torch.bfloat16):
            lowered = transform(x)
        assert lowered.dtype == torch.float32
        assert torch.equal(lowered, transform(x))


@pytest.mark.parametrize("mode", ["turn", "eot"])
@pytest.mark.parametrize("classes", ["iterative", "joint"])
def test_each_transform_has_the_output_on_the_transformed_clean_photo_as_its_reference(
    mode: Literal["turn", "eot"], classes: Literal["iterative", "joint"]
) -> None:
    x = tensor(picture(20, 16))
    recipe = Recipe(classes=classes, robust_to=EVERY, robust_mode=mode)
    objective = target_objective(target(((16, 20),)), x, recipe, reference=REFERENCES["output"], streams=streams_for(["a"], 0))
    moved = (x + 0.1 * torch.linspace(-1, 1, 20, dtype=x.dtype)).clamp(-1, 1)
    for t in range(11 if mode == "turn" else 2):
        assert objective(x, t).abs().max() < 1e-20
        assert objective(moved, t).min() > 1e-7


def test_in_turn_every_class_meets_every_transform_and_the_mean_is_over_all() -> None:
    x = tensor(picture(48, 40))
    seen: set[tuple[str, int]] = set()
    streams = streams_for(["b"], 0)
    shown = [transform(x) for transform in robust_variants(("jpeg", "resize"), streams_for(["b"], 0), x.shape[1:])]

    def watched(class_name: str, y: Tensor) -> Tensor:
        seen.update((class_name, i) for i, one in enumerate(shown) if torch.equal(one, y))
        return y

    watcher = Target(lambda v: v, {name: partial(watched, name) for name in ("one", "two")})
    recipe = Recipe(robust_to=("jpeg", "resize"))
    objective = target_objective(watcher, x, recipe, reference=REFERENCES["output"], streams=streams)
    seen.clear()
    for t in range(2 * len(shown)):
        objective(x, t)
        assert len(seen) == t + 1
    recipe = dataclasses.replace(recipe, classes="joint", robust_mode="eot")
    objective = target_objective(watcher, x, recipe, reference=REFERENCES["output"], streams=streams_for(["b"], 0))
    seen.clear()
    objective(x, 0)
    assert len(seen) == 2 * len(shown)


@pytest.mark.parametrize("mode", ["turn", "eot"])
def test_a_batch_of_ragged_photos_gives_what_each_gives_alone(mode: Literal["turn", "eot"]) -> None:
    steps = 7 if mode == "turn" else 2
    recipe = Recipe(start="uniform", steps=steps, robust_to=("resize", "crop", "blur", "noise"), robust_mode=mode)
    x = ragged()
    streams = streams_for(KEYS, 0, stored_sizes=SIZES)
    together = disrupt(x, [target(SIZES)], recipe, epsilon=6 / 127.5, streams=streams)
    for i, (h, w) in enumerate(SIZES):
        one = x[i : i + 1, :, :h, :w]
        alone = disrupt(one, [target(SIZES[i : i + 1])], recipe, epsilon=6 / 127.5, streams=streams_for(KEYS[i : i + 1], 0))
        torch.testing.assert_close(together[i : i + 1, :, :h, :w], alone, rtol=0, atol=1e-9)


def test_without_anything_to_survive_nothing_is_drawn_and_nothing_changes() -> None:
    stream = Stream(torch.Generator().manual_seed(3))
    before = stream.rng.get_state()
    robust_variants((), [stream], (3, 8, 8))
    assert torch.equal(stream.rng.get_state(), before)


def test_a_robust_disruption_keeps_more_through_a_real_jpeg_file_than_a_plain_one(shared: Path) -> None:
    image = photo(shared).resize((64, 64), Image.Resampling.BICUBIC)
    x, size = tensor(image), ((64, 64),)
    seen, outputs = target(size).view, target(size).outputs

    def kept(robust_to: tuple[str, ...]) -> float:
        recipe = Recipe(start="uniform", steps=32, robust_to=robust_to)
        y = disrupt(x, [target(size)], recipe, epsilon=6 / 127.5, streams=streams_for(["a"], 0))
        pixels = unit_to_pixels(y)[0].permute(1, 2, 0).numpy().astype(np.uint8)
        arrived, clean = (tensor(coded(i, 75, "4:2:0")) for i in (Image.fromarray(pixels), image))
        return float(np.mean([(f(seen(arrived)) - f(seen(clean))).square().mean() for f in outputs.values()]))

    assert kept(("jpeg",)) > 1.2 * kept(())
