"""The options of a training: what a user can get wrong, and which of them decide the weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.jobs.options import ConfigError
from pipeline.training.config import HOW_IT_RUNS, LIMITS, OF_SIGNALS, SAMPLES, TrainConfig, signature
from pipeline.training.setup import plan

BASE = TrainConfig(data=SAMPLES, output=Path("out"), adversarial="both")
OTHER_RESULTS: dict[str, Any] = {
    "data": "elsewhere",
    "system": "cyclegan",
    "regime": "published",
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
    "every": 5,
    "grid_every": 5,
    "tracking": False,
    "experiment": "mine",
    "register": "mine",
    "config": Path("c.yaml"),
}


def test_every_option_is_known_to_change_results_or_not_to() -> None:
    names = {field.name for field in dataclasses.fields(TrainConfig)}
    assert names == OTHER_RESULTS.keys() | SAME_RESULTS.keys() | OF_SIGNALS
    assert SAME_RESULTS.keys() == HOW_IT_RUNS


@given(st.sets(st.sampled_from(sorted(OTHER_RESULTS))), st.sets(st.sampled_from(sorted(SAME_RESULTS))))
@settings(deadline=None, max_examples=60)
def test_the_signature_depends_on_what_changes_results_and_on_nothing_else(results: set[str], others: set[str]) -> None:
    changed = dataclasses.replace(BASE, **{name: OTHER_RESULTS[name] for name in results})
    run_otherwise = dataclasses.replace(changed, **{name: SAME_RESULTS[name] for name in others})
    assert signature(changed) == signature(run_otherwise)
    assert (signature(changed) == signature(BASE)) == (not results)


def test_options_of_an_attack_count_only_where_there_is_one() -> None:
    plain = dataclasses.replace(BASE, adversarial="none")
    assert signature(plain) == signature(dataclasses.replace(plain, epsilon=9.0, attack_steps=9, attack_start="jitter"))


def test_the_order_of_loss_weights_does_not_count() -> None:
    first, second = (dataclasses.replace(BASE, loss=words) for words in (("rec=5", "cls=2"), ("cls=2.0", "rec=5")))
    assert signature(first) == signature(second)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"data": " "}, "DATA is empty"),
    ({"data": "nowhere"}, "no such folder; the word samples takes the sample photos"),
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
    ({"batch": 8, "workers": 3}, "--batch 8 cannot be shared evenly by 3 workers in 1 parts each; take 9"),
    ({"batch": 8, "accumulate": 5}, "by 1 workers in 5 parts each; take 10"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_a_wrong_value_is_refused_with_what_was_expected(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as refusal:
        plan(dataclasses.replace(BASE, **options))
    assert message in str(refusal.value)
    assert type(refusal.value).__module__.startswith("pipeline.")


@pytest.mark.parametrize("flag", LIMITS)
def test_a_number_outside_its_limits_is_refused_with_limits_and_unit(flag: str) -> None:
    low, high, unit = LIMITS[flag]
    name = flag.removeprefix("--").replace("-", "_")
    for value in (low - 1, high * 2):
        wrong: dict[str, Any] = {name: value}
        with pytest.raises(ConfigError, match=rf"{flag} must be from .* to .* \({unit}\)"):
            dataclasses.replace(BASE, **wrong).check()


def test_loss_weights_and_sizes_reach_the_system() -> None:
    job = plan(dataclasses.replace(BASE, loss=("rec=3", "r1_every=4"), size=128, conv_dim=16, batch=12, steps=7, lr=0.01))
    assert {"rec": 3.0, "r1_every": 4}.items() <= dataclasses.asdict(job.system).items()  # type: ignore[call-overload]
    assert (job.sizes.image, job.sizes.conv_dim, job.batch, job.settings.steps, job.settings.lr) == (128, 16, 12, 7, 0.01)
    assert (job.settings.adversarial.mode, job.settings.adversarial.epsilon) == ("both", 6.0)


def test_the_published_recipe_of_stargan_moves_g_in_every_fifth_step() -> None:
    assert [plan(dataclasses.replace(BASE, regime=regime)).settings.d_steps for regime in (None, "published")] == [1, 5]
