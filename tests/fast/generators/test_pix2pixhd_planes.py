"""pix2pixHD's input planes against a pixel-by-pixel definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.generators.pix2pixhd import edge_map, label_planes, one_hot_labels

ids = st.tuples(st.integers(1, 6), st.integers(1, 6)).flatmap(
    lambda size: st.lists(st.lists(st.integers(0, 3), min_size=size[1], max_size=size[1]), min_size=size[0], max_size=size[0])
)


@given(ids)
def test_an_edge_is_a_pixel_with_a_4_neighbour_of_another_id(rows: list[list[int]]) -> None:
    height, width = len(rows), len(rows[0])

    def differs(i: int, j: int) -> bool:
        around = [(i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)]
        return any(0 <= a < height and 0 <= b < width and rows[a][b] != rows[i][j] for a, b in around)

    expected = [[float(differs(i, j)) for j in range(width)] for i in range(height)]
    assert edge_map(torch.tensor([rows]))[0, 0].tolist() == expected


@given(ids)
def test_each_pixel_is_one_in_the_plane_of_its_label_alone(rows: list[list[int]]) -> None:
    planes = one_hot_labels(torch.tensor([rows]), 5)
    assert planes.shape == (1, 5, len(rows), len(rows[0]))
    assert planes.argmax(1)[0].tolist() == rows
    assert (planes.sum(1) == 1).all()


def test_ids_of_sixteen_bits_keep_their_difference() -> None:
    instances = torch.from_numpy(np.array([[[26001, 26001, 26257]]], dtype=np.uint16))  # 26001 and 26257 agree in their low byte
    assert edge_map(instances).tolist() == [[[[0, 1, 1]]]]


def test_the_input_of_pix2pixhd_has_35_label_planes_and_the_edges() -> None:
    labels = torch.tensor([[[7, 7], [7, 34]]], dtype=torch.uint8)
    planes = label_planes(labels, labels.int() * 1000)
    assert planes.shape == (1, 36, 2, 2)
    assert planes[0, 34].tolist() == [[0, 0], [0, 1]]
    assert planes[0, 35].tolist() == [[0, 1], [1, 1]]


@pytest.mark.parametrize("wrong", [-1, 35, 255])
def test_a_label_that_has_no_plane_is_refused(wrong: int) -> None:
    with pytest.raises(ValueError, match=rf"0\.\.34, found .*{wrong}"):
        one_hot_labels(torch.tensor([[[0, wrong]]]))


@pytest.mark.parametrize("wrong", [torch.zeros(1, 2, 2), torch.zeros(2, 2, dtype=torch.long)])
def test_ids_that_are_not_integer_maps_are_refused(wrong: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="integers"):
        edge_map(wrong)
