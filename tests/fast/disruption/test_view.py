from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torch import Tensor

from pipeline.disruption.view import BatchView, View, regions_of, upright
from pipeline.images.boxes import region_box
from pipeline.images.orientation import upright_size
from pipeline.images.types import Box
from tests.fast.tiny import picture

ORIENTATIONS = range(1, 9)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


def gradient_of(view: View | BatchView, x: Tensor, weights: Tensor | None = None) -> Tensor:
    x = x.clone().requires_grad_(True)
    shown = view(x)
    (g,) = torch.autograd.grad((shown * (torch.ones_like(shown) if weights is None else weights)).sum(), x)
    return g


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_photo_is_turned_as_pillow_turns_it(orientation: int) -> None:
    image = picture(7, 5)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    image.save(file, "PNG", exif=exif)
    shown = ImageOps.exif_transpose(Image.open(file))
    stored = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    assert np.array_equal(upright(stored, orientation)[0].permute(1, 2, 0).numpy(), np.asarray(shown))
    assert upright_size(7, 5, orientation) == shown.size


@given(st.integers(1, 500), st.integers(1, 500))
@settings(deadline=None)
def test_the_square_is_the_largest_one_and_in_the_middle(width: int, height: int) -> None:
    left, top, right, bottom = region_box("square", width, height, None)
    assert right - left == bottom - top == min(width, height)
    assert abs(left - (width - right)) <= 1
    assert abs(top - (height - bottom)) <= 1
    assert min(left, top) >= 0
    assert right <= width
    assert bottom <= height


def test_the_whole_region_is_the_photo_and_a_given_box_is_itself() -> None:
    assert region_box("whole", 30, 20, (1, 2, 3, 4)) == (0, 0, 30, 20)
    assert region_box("box", 30, 20, (1, 2, 30, 20)) == (1, 2, 30, 20)


@pytest.mark.parametrize("box", [(-1, 0, 5, 5), (0, 0, 31, 5), (0, 0, 5, 21), (5, 5, 5, 9), (9, 3, 5, 9)])
def test_a_box_that_is_empty_or_sticks_out_is_refused(box: Box) -> None:
    with pytest.raises(ValueError, match="not inside the upright photo of 30x20"):
        region_box("box", 30, 20, box)


def test_a_missing_box_is_refused_with_the_columns_it_needs() -> None:
    with pytest.raises(ValueError, match="columns left, top, right, bottom"):
        region_box("box", 30, 20, None)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("size", [4, 3, 8, 16])
def test_the_gradient_reaches_all_pixels_of_the_box_and_no_other(orientation: int, size: int) -> None:
    left, top, right, bottom = box = (1, 2, 9, 10)
    x = random(1, 3, 12, 14)
    reached = upright(gradient_of(View(box, orientation, size), x), orientation)
    assert (reached[:, :, top:bottom, left:right] > 0).all()
    reached[:, :, top:bottom, left:right] = 0
    assert reached.eq(0).all()


@pytest.mark.parametrize("orientation", [1, 6, 7])
def test_the_view_is_linear_and_its_gradient_is_its_adjoint(orientation: int) -> None:
    view, x, d, z = (
        View((2, 1, 11, 9), orientation, 5),
        random(1, 3, 12, 12),
        random(1, 3, 12, 12, seed=1),
        random(1, 3, 5, 5, seed=2),
    )
    torch.testing.assert_close(view(x + d), view(x) + view(d))
    adjoint = gradient_of(view, x, z)
    torch.testing.assert_close((view(d) * z).sum(), (d * adjoint).sum(), rtol=1e-12, atol=1e-12)


def test_the_gradient_passes_a_numerical_check() -> None:
    x = random(1, 1, 5, 6).requires_grad_(True)
    assert torch.autograd.gradcheck(View((0, 1, 5, 5), 8, 3), x)


@pytest.mark.parametrize(("width", "height", "size"), [(50, 50, 16), (37, 23, 16), (9, 13, 16), (64, 16, 16)])
def test_resizing_is_pillows_antialiased_bilinear_one(width: int, height: int, size: int) -> None:
    x = random(1, 3, height, width)
    shown = View((0, 0, width, height), 1, size)(x)
    for c in range(3):
        plane = Image.fromarray(x[0, c].float().numpy())
        expected = np.asarray(plane.resize((size, size), Image.Resampling.BILINEAR))
        np.testing.assert_allclose(shown[0, c].numpy(), expected, rtol=0, atol=2e-6)


def test_at_native_size_every_pixel_is_seen_as_it_is() -> None:
    x = random(1, 3, 16, 20)
    assert torch.equal(View((2, 0, 18, 16), 1, 16)(x), x[:, :, :, 2:18])


def test_a_grey_photo_is_seen_in_three_equal_channels() -> None:
    x = random(1, 1, 8, 8)
    view = View((0, 0, 8, 8), 1, 8)
    assert torch.equal(view(x), x.expand(1, 3, 8, 8))
    assert gradient_of(view, x).eq(3).all()


def test_padding_is_never_seen_and_never_reached() -> None:
    sizes = ((8, 6), (5, 10), (9, 10))
    views = tuple(
        View(region_box("square", *upright_size(w, h, o), None), o, 4) for (h, w), o in zip(sizes, (1, 6, 3), strict=True)
    )
    x, other = random(3, 3, 9, 10), random(3, 3, 9, 10, seed=1)
    for i, (h, w) in enumerate(sizes):
        other[i, :, :h, :w] = x[i, :, :h, :w]
    batch = BatchView(views, sizes)
    assert torch.equal(batch(x), batch(other))
    g = gradient_of(batch, x)
    for i, (h, w) in enumerate(sizes):
        alone = views[i](x[i : i + 1, :, :h, :w])
        assert torch.equal(batch(x)[i : i + 1], alone)
        assert g[i, :, h:].eq(0).all()
        assert g[i, :, :, w:].eq(0).all()


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_region_shows_of_its_part_what_the_view_shows_of_the_photo(orientation: int) -> None:
    box = (1, 2, 9, 10)
    stored_HWC = np.asarray(picture(14, 12, seed=orientation))
    (region,) = regions_of([box], (12, 14), orientation)
    of_photo, of_part = (
        view(torch.from_numpy(pixels_HWC.transpose(2, 0, 1).copy()).double()[None])
        for view, pixels_HWC in ((View(box, orientation, 5), stored_HWC), (region.view(5), region.cut(stored_HWC)))
    )
    assert torch.equal(of_photo, of_part)
    top, left = region.corner
    assert np.array_equal(region.cut(stored_HWC)[0, 0], stored_HWC[top, left])
    assert region.stored_size == (8, 8)
