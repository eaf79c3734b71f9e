"""Random streams, starts and references: what is drawn for an image depends on its key and the seed alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.disruption.ascent import JITTER, STARTS, Linf
from pipeline.disruption.objectives import REFERENCES, image_reference
from pipeline.disruption.streams import streams_for

RECORDED = (0.6607616956012388, 0.4653147142018168, -0.08075011173736302)
"""Recorded with torch 2.13.0 on x86-64 Linux; other numbers would change the bytes of every protected file."""
keys = st.lists(st.text(max_size=12), min_size=1, max_size=5, unique=True)
quick = settings(deadline=None, max_examples=40)


@given(keys, st.integers(0, 2**40))
@quick
def test_an_image_has_the_same_numbers_in_any_batch_order_and_padding(names: list[str], seed: int) -> None:
    together = dict(zip(names, streams_for(names, seed, stored_sizes=[(4, 3)] * len(names)), strict=True))
    for name in reversed(names):
        (alone,) = streams_for([name], seed)
        padded = together[name].uniform_pixels((3, 6, 5))
        assert torch.equal(padded[:, :4, :3], alone.uniform_pixels((3, 4, 3)))
        assert padded[:, 4:].eq(0).all()
        assert padded[:, :, 3:].eq(0).all()


@given(keys, st.integers(0, 2**40))
@quick
def test_other_keys_and_other_seeds_give_other_numbers(names: list[str], seed: int) -> None:
    draws = [tuple(stream.uniform((8,)).tolist()) for s in (seed, seed + 1) for stream in streams_for(names, s)]
    assert len(set(draws)) == len(draws)


def test_the_numbers_are_the_ones_of_earlier_versions() -> None:
    (stream,) = streams_for(["a/b.jpg"], 7)
    assert stream.uniform((3,)).tolist() == pytest.approx(list(RECORDED), abs=1e-15)


def test_numbers_lie_evenly_between_minus_one_and_one() -> None:
    (stream,) = streams_for(["a"], 0)
    values = stream.uniform((20_000,))
    assert values.min() >= -1
    assert values.max() < 1
    assert values.mean().abs() < 0.02
    assert values.square().mean() == pytest.approx(1 / 3, abs=0.01)


def test_a_key_that_is_no_valid_text_has_a_stream_too() -> None:
    assert streams_for(["\udcff.jpg"], 0)[0].uniform((2,)).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", STARTS)
def test_a_start_keeps_the_precision_of_the_image(name: str, dtype: torch.dtype) -> None:
    x = torch.zeros(2, 3, 4, 4, dtype=dtype)
    assert STARTS[name](x, Linf(0.05), streams_for(["a", "b"], 0)).dtype == dtype


def test_the_clean_start_is_the_image_and_jitter_steps_off_it_by_less_than_half_a_level() -> None:
    x = torch.linspace(-1, 1, 300, dtype=torch.float64).view(1, 3, 10, 10)
    assert STARTS["clean"](x, Linf(0.05), streams_for(["a"], 0)) is x
    moved = STARTS["jitter"](x, Linf(0.05), streams_for(["a"], 0)) - x
    assert 0 < moved.abs().max() <= JITTER < 0.5 / 127.5
    assert (moved != 0).double().mean() > 0.9


def test_a_start_in_a_padded_batch_leaves_the_padding_alone() -> None:
    x = torch.zeros(2, 3, 6, 6)
    streams = streams_for(["a", "b"], 0, stored_sizes=[(4, 5), (6, 6)])
    for start in (STARTS["jitter"], STARTS["uniform"]):
        y = start(x, Linf(0.05), streams)
        assert y[0, :, 4:].eq(0).all()
        assert y[0, :, :, 5:].eq(0).all()


def test_references_are_what_their_names_say() -> None:
    x, out = torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 0.5)
    made = {name: reference(x, out, streams_for(["a", "b"], 0)) for name, reference in REFERENCES.items()}
    assert made["output"] is out
    assert made["input"] is x
    assert made["black"].eq(-1).all()
    assert made["white"].eq(1).all()
    assert made["noise"].shape == out.shape
    assert not torch.equal(made["noise"][0], made["noise"][1])
    assert made["noise"].abs().max() <= 1


def test_the_noise_of_an_image_does_not_depend_on_its_batch() -> None:
    out = torch.zeros(2, 3, 4, 4)
    together = REFERENCES["noise"](out, out, streams_for(["a", "b"], 3))
    alone = REFERENCES["noise"](out[1:], out[1:], streams_for(["b"], 3))
    assert torch.equal(together[1:], alone)


def test_the_input_is_no_reference_for_an_output_of_another_shape() -> None:
    with pytest.raises(ValueError, match="shaped like the input"):
        REFERENCES["input"](torch.zeros(1, 3, 4, 4), torch.zeros(1, 8, 2, 2), streams_for(["a"], 0))


def test_a_given_image_is_resized_to_the_output_for_every_photo() -> None:
    image = torch.zeros(3, 8, 6)
    image[0] = 0.25
    made = image_reference(image)(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4), streams_for(["a", "b"], 0))
    assert made.shape == (2, 3, 4, 4)
    torch.testing.assert_close(made[1, 0], torch.full((4, 4), 0.25))
    assert made[:, 1:].eq(0).all()
