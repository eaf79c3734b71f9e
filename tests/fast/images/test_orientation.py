from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.disruption.view import upright
from pipeline.images.orientation import stored_box, to_stored, to_upright, upright_size


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 8))
def test_turning_a_picture_for_show_is_what_torch_does_and_back_is_its_inverse(height: int, width: int, orientation: int) -> None:
    stored_HWC = np.arange(height * width * 3).reshape(height, width, 3)
    upright_HWC = to_upright(stored_HWC, orientation)
    by_torch = upright(torch.from_numpy(stored_HWC).permute(2, 0, 1)[None], orientation)[0].permute(1, 2, 0)
    assert np.array_equal(upright_HWC, by_torch)
    assert np.array_equal(to_stored(upright_HWC, orientation), stored_HWC)
    assert upright_HWC.shape[1::-1] == upright_size(width, height, orientation)


@given(st.data(), st.integers(1, 9), st.integers(1, 9), st.integers(1, 8))
def test_a_box_of_the_shown_photo_holds_the_same_pixels_as_its_box_of_the_stored_one(
    data: st.DataObject, height: int, width: int, orientation: int
) -> None:
    upright_HWC = np.arange(height * width).reshape(height, width, 1)
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    right, bottom = data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height))
    x0, y0, x1, y1 = stored_box((left, top, right, bottom), width, height, orientation)
    part_HWC = to_stored(upright_HWC, orientation)[y0:y1, x0:x1]
    assert np.array_equal(to_upright(part_HWC, orientation), upright_HWC[top:bottom, left:right])
