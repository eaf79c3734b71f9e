"""The options of a training: what a user can get wrong, and which of them decide the weights."""

from __future__ import annotations

import dataclasses
import math
import typing
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.jobs.options import ConfigError, flat
from pipeline.training.job import NO_WEIGHTS, plan
from pipeline.training.options import HOW_IT_RUNS, LIMITS, LOSS_LIMITS, OF_SIGNALS, SAMPLES, TrainConfig, signature
from pipeline.training.state import TrainState
from pipeline.training.step import StepSettings, learning_rate, train_step
from pipeline.training.systems.faces_game import FacesGame
from pipeline.training.systems.system import Sizes
from pipeline.training.systems.table import SYSTEMS
from tests.verbs import with_options

BASE = TrainConfig(data=SAMPLES, output=Path("out"), adversarial="both")
OTHER_RESULTS: dict[str, Any] = {
    "data": "elsewhere",
    "system": "cyclegan",
    "regime": "published",
    "game": "log",
    "warm_up": 3,
    "adversarial": "generator",
    "epsilon": 7.0,
    "attack_steps": 4,
    "attack_step_size": 1.0,
    "attack_reference": "input",
    "attack_start": "jitter",
    "consistency": 1.0,
    "blur": 1.5,
    "steps": 9,
    "size": 96,
    "conv_dim": 16,
    "d_conv_dim": 16,
    "batch": 4,
    "lr": 1e-4,
    "d_steps": 5,
    "loss": ("rec=5",),
    "licence": ("MIT",),
    "image": "photo",
    "init_from": Path("state.pt"),
    "vgg": Path("vgg.pt"),
    "seed": 1,
    "precision": "bf16",
    "compile": True,
}
"""Options that change the trained weights, each with another value than the default."""
SAME_RESULTS: dict[str, Any] = {
    "output": Path("elsewhere"),
    "minutes": 2.0,
    "workers": 4,
    "gpus_per_worker": 0.5,
    "address": "local",
    "retries": 0,
    "threads": 2,
    "accumulate": 2,
    "memory_mb": 9.0,
    "every": 5,
    "grid_every": 5,
    "tracking": False,
    "experiment": "mine",
    "register": "mine",
    "config": Path("c.yaml"),
}


def test_every_option_is_known_to_change_results_or_not_to() -> None:
    assert flat(BASE).keys() == OTHER_RESULTS.keys() | SAME_RESULTS.keys() | OF_SIGNALS
    assert SAME_RESULTS.keys() == HOW_IT_RUNS


@given(st.sets(st.sampled_from(sorted(OTHER_RESULTS))), st.sets(st.sampled_from(sorted(SAME_RESULTS))))
@settings(deadline=None, max_examples=60)
def test_the_signature_depends_on_what_changes_results_and_on_nothing_else(results: set[str], others: set[str]) -> None:
    changed = dataclasses.replace(BASE, **{name: OTHER_RESULTS[name] for name in results})
    run_otherwise = with_options(changed, **{name: SAME_RESULTS[name] for name in others})
    assert signature(changed) == signature(run_otherwise)
    assert (signature(changed) == signature(BASE)) == (not results)


def test_options_of_an_attack_count_only_where_there_is_one() -> None:
    plain = dataclasses.replace(BASE, adversarial="none")
    assert signature(plain) == signature(dataclasses.replace(plain, epsilon=9.0, attack_steps=9, attack_start="jitter"))


@pytest.mark.parametrize(
    ("options", "game", "gp", "r1"),
    [
        ({}, "hinge", 0, 5),
        ({"game": "log"}, "log", 0, 5),
        ({"game": "wasserstein"}, "wasserstein", 10, 0),
        ({"game": "wasserstein", "loss": ("gp=3", "r1=1")}, "wasserstein", 3, 1),
        ({"game": "log", "regime": "published"}, "log", 0, 5),
        ({"game": "hinge", "regime": "sharp"}, "hinge", 0, 1),
        ({"game": "log", "system": "ganimation"}, "log", 0, 5),
    ],
)
def test_a_game_brings_its_penalty_unless_one_is_given(options: dict[str, Any], game: str, gp: float, r1: float) -> None:
    system = plan(dataclasses.replace(BASE, **options)).system
    assert isinstance(system, FacesGame)
    assert (system.game, system.gp, system.r1) == (game, gp, r1)


def test_the_order_of_loss_weights_does_not_count() -> None:
    first, second = (dataclasses.replace(BASE, loss=words) for words in (("rec=5", "cls=2"), ("cls=2.0", "rec=5")))
    assert signature(first) == signature(second)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"data": " "}, "DATA is empty"),
    ({"data": "nowhere"}, "no such folder or container; the word samples takes the sample photos"),
    ({"system": "stargna"}, "did you mean stargan?"),
    ({"regime": "publishd"}, "did you mean published?"),
    ({"size": 66}, "--size must be a multiple of 4, such as 64 or 68, not 66"),
    ({"attack_reference": "outptu"}, "did you mean output?"),
    ({"attack_start": "unifrom"}, "did you mean uniform?"),
    ({"attack_start": "clean"}, "where the gradient is zero"),
    ({"loss": ("rec",)}, "--loss takes NAME=WEIGHT with a number, such as rec=10, not 'rec'"),
    ({"loss": ("rec=much",)}, "not 'rec=much'"),
    ({"loss": ("rec=-1",)}, "--loss rec must be from 0"),
    ({"loss": ("recc=1",)}, "did you mean rec?"),
    ({"init_from": Path("nowhere.pt")}, "--init-from nowhere.pt: no such file"),
    ({"vgg": Path("vgg.pt")}, "--vgg is for pix2pixhd"),
    ({"vgg": Path("vgg.pt"), "system": "pix2pixhd"}, "--vgg vgg.pt: no such file"),
    ({"loss": ("rec=nan",)}, "--loss rec must"),
    ({"loss": ("rec=inf",)}, "--loss rec must"),
    ({"loss": ("rec_share=1.5",)}, "--loss rec_share must"),
    ({"loss": ("r1_every=0",)}, "--loss r1_every must"),
    ({"loss": ("r1_every=2.5",)}, "--loss r1_every must be a whole number"),
    ({"loss": ("rec_every=0",), "system": "ganimation"}, "--loss rec_every must"),
    ({"loss": ("pool=-1",), "system": "cyclegan"}, "--loss pool must"),
    ({"loss": ("pool=3",), "system": "cyclegan", "batch": 4}, "--loss pool=3 is smaller than --batch 4"),
    ({"loss": ("d_layers=2.5",)}, "--loss d_layers must be a whole number"),
    ({"loss": ("same_share=2",)}, "--loss same_share must"),
    ({"game": "log", "system": "cyclegan"}, "--game is for stargan and ganimation"),
    ({"warm_up": 3, "system": "ganimation"}, "--warm-up is for stargan"),
    ({"warm_up": -1}, "--warm-up must"),
    ({"loss": ("warm_up=3",)}, "--loss"),
    ({"blur": 1e-200}, "--blur must"),
    ({"gpus_per_worker": 1.5}, "--gpus-per-worker is"),
    ({"gpus_per_worker": 1e-9}, "--gpus-per-worker is"),
    ({"batch": 8, "workers": 3}, "--batch 8 cannot be shared evenly by 3 workers in 1 parts each; take 9"),
    ({"batch": 8, "accumulate": 5}, "by 1 workers in 5 parts each; take 10"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_a_wrong_value_is_refused_with_what_was_expected(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as refusal:
        plan(dataclasses.replace(BASE, **options))
    assert message in str(refusal.value)
    assert type(refusal.value).__module__.startswith("pipeline.")


@pytest.mark.parametrize("name", LIMITS)
def test_a_number_outside_its_limits_is_refused_with_limits_and_unit(name: str) -> None:
    low, high, unit = LIMITS[name]
    flag = "--" + name.replace("_", "-")
    for value in (low - 1, high * 2):
        wrong: dict[str, Any] = {name: value}
        with pytest.raises(ConfigError, match=rf"{flag} must be from .* to .* \({unit}\)"):
            dataclasses.replace(BASE, **wrong).check()


def test_every_option_that_is_a_number_has_limits_that_refuse_what_is_no_number() -> None:
    hints = typing.get_type_hints(TrainConfig)
    numbers = {name for name, kind in hints.items() if {int, float} & {kind, *typing.get_args(kind)}}
    assert numbers == LIMITS.keys()
    for name in numbers:
        for value in (math.nan, math.inf, -math.inf):
            wrong: dict[str, Any] = {name: value}
            with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')} must"):
                dataclasses.replace(BASE, **wrong).check()


FACES = {
    "image": torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1,
    "A": torch.zeros(2, 3, 64, 64),
    "B": torch.zeros(2, 3, 64, 64),
}
KEYS = [
    (system, regime, field.name)
    for system in ("stargan", "ganimation", "cyclegan")
    for regime, recipe in SYSTEMS[system].recipes.items()
    for field in dataclasses.fields(recipe.system)  # type: ignore[arg-type]
    if type(field.default) in (int, float) and field.name not in NO_WEIGHTS
]
"""All keys of --loss of systems that take any pictures."""


@pytest.mark.parametrize(("name", "regime", "key"), KEYS)
@pytest.mark.parametrize("end", [0, 1])
def test_a_step_can_be_taken_at_both_ends_of_every_loss_key(name: str, regime: str, key: str, end: int) -> None:
    limit = LOSS_LIMITS.get(key, (0, 100))[end]
    job = plan(TrainConfig(data=SAMPLES, output=Path("out"), system=name, regime=regime, loss=(f"{key}={limit}",)))
    labels = torch.eye(7)[:2, : len(SYSTEMS[name].columns)]
    batch = (
        {"A": FACES["A"], "B": FACES["B"]} if name == "cyclegan" else {"image": FACES["image"], "labels": labels, "known": labels}
    )
    state = TrainState.fresh(job.system, Sizes(64, 1, 1), seed=0)
    losses = train_step(state, job.system, batch, StepSettings())
    assert all(map(math.isfinite, losses.values()))


def test_loss_weights_and_sizes_reach_the_system() -> None:
    job = plan(dataclasses.replace(BASE, loss=("rec=3", "r1_every=4"), size=128, conv_dim=16, batch=12, steps=7, lr=0.01))
    assert {"rec": 3.0, "r1_every": 4}.items() <= dataclasses.asdict(job.system).items()  # type: ignore[call-overload]
    assert (job.sizes.image, job.sizes.conv_dim, job.batch, job.settings.steps, job.settings.lr) == (128, 16, 12, 7, 0.01)
    assert (job.settings.adversarial.mode, job.settings.adversarial.epsilon) == ("both", 6.0)


@pytest.mark.parametrize(
    ("system", "batch", "lr", "d_steps", "decay_from"),
    [
        ("stargan", 16, 1e-4, 5, 0.5),
        ("ganimation", 25, 1e-4, 5, 2 / 3),
        ("cyclegan", 1, 2e-4, 1, 1 / 2),
        ("pix2pixhd", 1, 2e-4, 1, 1 / 2),
    ],
)
def test_published_means_the_numbers_of_the_papers(system: str, batch: int, lr: float, d_steps: int, decay_from: float) -> None:
    job = plan(TrainConfig(data=SAMPLES, output=Path("out"), system=system, regime="published", steps=600))
    settings = job.settings
    assert (job.batch, settings.lr, settings.d_steps) == (batch, lr, d_steps)
    assert [learning_rate(round(600 * share), settings) for share in (0, decay_from, (1 + decay_from) / 2, 1)] == pytest.approx(
        [lr, lr, lr / 2, 0]
    )
    assert settings.ema_decay == 0
    assert not job.recipe.balanced


def test_the_few_images_regime_keeps_its_numbers() -> None:
    job = plan(BASE)
    assert (job.batch, job.settings.lr, job.settings.d_steps, job.settings.ema_decay) == (8, 2e-4, 1, 0.998)
    assert learning_rate(job.settings.steps, job.settings) == pytest.approx(0.05 * 2e-4)
    assert job.recipe.balanced
