"""The space of a search: which ranges are taken, which are refused, and the trainings that values become."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution, IntDistribution

from pipeline.jobs.options import ConfigError
from pipeline.training.options import TrainConfig
from pipeline.training.systems.signals import SignalSystem
from tests.verbs import with_options
from tune.options import OF_TRAINING, SearchConfig, signature, training_options
from tune.space import PARAMETERS, first_values, position, read_space


def config(**options: object) -> SearchConfig:
    return with_options(SearchConfig("samples", Path("out")), **options)


def test_the_usual_space_searches_everything_but_the_weight_that_the_others_are_relative_to() -> None:
    space = read_space([])
    assert {name for name, values in space.items() if values.single()} == {"detection"}


def test_the_values_that_a_training_starts_with_lie_in_the_usual_space_and_are_the_first_trial() -> None:
    start = first_values(read_space([]))
    system = SignalSystem()
    assert start["signals"] == system.count
    assert all(start[name] == getattr(system, name) for name in start if name != "signals")
    assert first_values(read_space(["magnitude=100:200", "budget=2:3"])) == start | {"magnitude": 100, "budget": 2}


def test_a_range_is_moved_and_a_single_value_is_fixed() -> None:
    space = read_space(["magnitude=1:1000", "signals=4", "k=0.5:0.5"])
    assert space["magnitude"] == FloatDistribution(1, 1000, log=True)
    assert space["signals"] == IntDistribution(4, 4, step=2)
    assert space["k"].single()
    assert read_space(["separation=0"])["separation"].single()


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("magnitude=9:1", "9 is above 1"),
        ("magnitud=1:9", "did you mean magnitude"),
        ("magnitude", "NAME=LOW:HIGH"),
        ("magnitude=a:b", "NAME=LOW:HIGH"),
        ("magnitude=0:9", "above 0"),
        ("magnitude=nan:9", "within"),
        ("separation=-1:9", "within 0 to 1e"),
        ("signals=2.5:4", "whole numbers"),
        ("signals=0:4", "within 2 to 4096"),
        ("signals=3:4", "even numbers"),
        ("budget=0.1:3", "within 0.5 to 16"),
        ("k=0.5:1.5", "within 0 to 1"),
    ],
)
def test_a_range_that_cannot_be_is_refused_with_what_was_expected(word: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_space([word])


def test_a_space_of_single_values_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing to search"):
        read_space([f"{name}={row.usual.low}" for name, row in PARAMETERS.items()])


@given(st.sampled_from(sorted(PARAMETERS)), st.floats(0, 1))
def test_a_value_at_a_share_of_a_range_has_that_position(name: str, share: float) -> None:
    usual = PARAMETERS[name].usual
    value = usual.low * (usual.high / usual.low) ** share if usual.log else usual.low + share * (usual.high - usual.low)
    assert position(usual, value) == pytest.approx(0.5 if usual.single() else share, abs=1e-9)


def test_options_of_a_training_keep_their_names_and_what_is_not_given_is_left_out() -> None:
    fields = {field.name for field in dataclasses.fields(TrainConfig)}
    assert set(OF_TRAINING) <= fields
    options = training_options(config(), first_values(read_space([])))
    assert options.keys() == {"system", "signals", "budget", "loss"}
    assert f"magnitude={SignalSystem().magnitude:g}" in options["loss"]
    assert training_options(config(size=16, batch=4), first_values(read_space([]))).keys() == options.keys() | {"size", "batch"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"trials": 0}, "--trials must be from 1"),
        ({"grace": 200}, "--grace 200 is more than the 150 --steps"),
        ({"every": 151}, "--every 151 is more"),
        ({"photos": 1}, "--photos must be from 2"),
        ({"minutes": 0.0}, "--minutes must be from"),
        ({"held_out_generator": ()}, "--held-out-generator needs at least one"),
        ({"held_out_weights": (Path("a"), Path("b"))}, "one file for each of the 1"),
        ({"range": ("signals=6:2",)}, "6 is above 2"),
    ],
)
def test_an_option_that_cannot_be_is_refused_with_what_was_expected(options: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config(**options).check()


def test_two_searches_share_a_signature_when_their_trials_are_the_same() -> None:
    assert signature(config()) == signature(config(threads=2, minutes=1.0, final_steps=0, output=Path("b"), tracking=False))
    assert signature(config()) == signature(config(range=("magnitude=5:500",)))
    for other in ({"seed": 1}, {"range": ("magnitude=5:501",)}, {"trials": 25}, {"least_psnr": 40.0}, {"every": 10}):
        assert signature(config()) != signature(config(**other))
