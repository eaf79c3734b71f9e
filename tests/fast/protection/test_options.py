from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.disruption import recipes
from pipeline.disruption.ascent import BALLS, STARTS
from pipeline.disruption.objectives import DISTANCES, REFERENCES
from pipeline.disruption.recipes import RECIPES
from pipeline.disruption.robust import ROBUST_TO
from pipeline.jobs.options import ConfigError, flat
from pipeline.protection.options import ProtectConfig, signature
from tests.fast.tiny import photo_bytes
from tests.verbs import with_options

BASE = ProtectConfig(input="in", output="out")
ALONE = with_options(BASE, recipe="none", signals=Path("bundle.safetensors"))
OTHER_RESULTS: dict[str, Any] = {
    "universal": Path("universal.safetensors"),
    "gain_map": "skip",
    "find_signed": True,
    "identity": True,
    "input": "other",
    "input_as_typed": "typed",
    "generator": ("cyclegan",),
    "classes": ("Smile",),
    "epsilon": 7,
    "mask": True,
    "min_psnr": 40.0,
    "min_ssim": 0.95,
    "container": "folder",
    "image": "photo",
    "recipe": "spread-spectrum",
    "steps": 21,
    "until": 2.0,
    "step_size": 1.0,
    "last_step": 0.5,
    "momentum": 0.3,
    "step_rule": "apgd",
    "diversity": 0.5,
    "smooth_gradient": 1.0,
    "start": "jitter",
    "aim": "towards",
    "reference": "noise",
    "objective": "edge",
    "class_schedule": "joint",
    "ball": "l2",
    "blur": "eot",
    "layer": "main.3",
    "robust_to": ("jpeg", "blur"),
    "robust_mode": "eot",
    "region": "whole",
    "finder": "dlib 1",
    "jitter": True,
    "format": "webp",
    "portable_names": True,
    "seed": 1,
    "precision": "bf16",
    "max_megapixels": 50,
    "max_megabytes": 40,
    "measure_share": 0.5,
}
"""Options that change what a run writes, each with another value than the default."""
SAME_RESULTS: dict[str, Any] = {
    "output": "elsewhere",
    "weights": (Path("w.pt"),),
    "engine": "ray",
    "address": "local",
    "actors": 4,
    "gpus_per_actor": 0.5,
    "memory_per_actor": 1.5,
    "threads": 2,
    "batch_size": 3,
    "part_photos": 3,
    "limit": 5,
    "retry_failed": True,
    "dry_run": True,
    "preview": True,
    "quality": "high",
    "tracking": False,
    "experiment": "mine",
    "examples": 2,
    "config": Path("c.yaml"),
    "signals": Path("bundle.safetensors"),
    "key_file": Path("key"),
    "jpeg_quality": 97,
}
"""Options that do not (weights, signals and their key count by what is in them, the quality of JPEG only when it is written,
--quality by the options that it stands for)."""


def signed(config: ProtectConfig, *fingerprints: str) -> str:
    return signature(config, fingerprints or ("f00d",))


def test_every_option_is_known_to_change_results_or_not_to() -> None:
    names = set(flat(BASE))
    assert names == OTHER_RESULTS.keys() | SAME_RESULTS.keys()
    assert not OTHER_RESULTS.keys() & SAME_RESULTS.keys()


@given(st.sets(st.sampled_from(sorted(OTHER_RESULTS))), st.sets(st.sampled_from(sorted(SAME_RESULTS))))
@settings(deadline=None, max_examples=100)
def test_the_signature_depends_on_what_changes_results_and_on_nothing_else(results: set[str], others: set[str]) -> None:
    changed = with_options(BASE, **{name: OTHER_RESULTS[name] for name in results})
    run_otherwise = with_options(changed, **{name: SAME_RESULTS[name] for name in others})
    assert signed(changed) == signed(run_otherwise)
    assert (signed(changed) == signed(BASE)) == (not results)


def test_every_single_option_has_a_signature_of_its_own() -> None:
    signatures = {signed(with_options(BASE, **{name: value})) for name, value in OTHER_RESULTS.items()}
    assert len(signatures) == len(OTHER_RESULTS)


@pytest.mark.parametrize("given_", [("jpeg,resize",), ("jpeg", "resize"), ("jpeg, resize",), ("jpeg,resize", "jpeg")])
def test_what_to_survive_is_given_by_commas_or_spaces(given_: tuple[str, ...]) -> None:
    config = with_options(BASE, robust_to=given_)
    config.check()
    assert config.resolved_recipe().robust_to == ("jpeg", "resize")


def test_none_takes_back_what_the_recipe_survives() -> None:
    config = with_options(BASE, recipe="robust")
    assert config.resolved_recipe().robust_to
    assert with_options(config, robust_to=("none",)).resolved_recipe().robust_to == ()
    assert signed(BASE) == signed(with_options(BASE, robust_to=("none",), robust_mode="turn", last_step=0.1))


def test_a_run_keeps_its_signature_as_long_as_the_format_of_results_stays() -> None:
    config = ProtectConfig("a", "b", generator=("stargan-faces",), until=2.5)
    assert signature(config, ("f",)) == "ff1283534b889de9"  # of format 9; with another one no run can be resumed


def test_the_names_of_the_options_are_those_of_the_tables() -> None:
    assert tuple(STARTS) == recipes.STARTS
    assert tuple(BALLS) == recipes.BALLS
    assert tuple(REFERENCES) == recipes.REFERENCES
    assert tuple(ROBUST_TO) == recipes.ROBUST_TO
    assert tuple(DISTANCES) == get_args(recipes.Objective)


@given(st.sets(st.sampled_from(sorted(OTHER_RESULTS.keys() - {"recipe", "universal", "measure_share"}))))
def test_signals_alone_do_not_depend_on_options_of_the_disruption(changed: set[str]) -> None:
    other = with_options(ALONE, **{name: OTHER_RESULTS[name] for name in changed})
    assert (signed(other) != signed(ALONE)) == bool(
        changed
        & {
            "input",
            "input_as_typed",
            "epsilon",
            "format",
            "max_megapixels",
            "max_megabytes",
            "container",
            "image",
            "gain_map",
            "find_signed",
        }
        | (changed & {"portable_names"})
    )


def test_signals_and_their_key_are_part_of_the_signature() -> None:
    facts = [{"signals": signals, "signal_key": key} for signals in "ab" for key in "cd"]
    assert len({signature(config, ("f",), fact) for config in (BASE, ALONE) for fact in [*facts, None]}) == 10
    assert signature(BASE, ("f",), None) == signature(BASE, ("f",), {}) == signature(BASE, ("f",))


def test_without_a_disruption_no_option_of_it_is_checked_or_used() -> None:
    config = with_options(ALONE, generator=(), start="nowhere", steps=0, reference="nofile.png", gpus_per_actor=1.0)
    config.check()
    assert config.resolved_recipe().steps == 0
    assert not config.disrupts()
    assert not config.used_compute().on_gpu


def test_doing_nothing_at_all_is_refused_with_the_fix() -> None:
    with pytest.raises(ConfigError, match="--recipe none disrupts nothing: give --signals BUNDLE"):
        with_options(BASE, recipe="none").check()
    with pytest.raises(
        ConfigError, match=r"--key-file is the secret of signals and of .*: give --signals BUNDLE or --universal BUNDLE"
    ):
        with_options(BASE, key_file=Path("key")).check()


def test_other_weights_change_the_signature() -> None:
    assert len({signed(BASE, "a"), signed(BASE, "b"), signed(BASE, "a", "b")}) == 3


def test_the_quality_counts_for_jpeg_only() -> None:
    jpeg = with_options(BASE, format="jpeg")
    assert signed(jpeg) != signed(with_options(jpeg, jpeg_quality=97))


def test_a_part_of_the_recipe_given_as_it_is_anyway_changes_nothing() -> None:
    assert signed(BASE) == signed(with_options(BASE, steps=60, step_size=4.0, start="uniform", blur="none", until=5.0))


def test_a_recipe_stops_early_only_where_it_climbs_what_counts() -> None:
    assert BASE.resolved_recipe() == RECIPES["quick"]
    assert with_options(BASE, until="none").resolved_recipe().until is None
    for other in ({"aim": "towards"}, {"reference": "noise"}, {"objective": "edge"}, {"blur": "eot"}, {"robust_to": ("jpeg",)}):
        assert with_options(BASE, **other).resolved_recipe().until is None
        with pytest.raises(ConfigError, match="--until"):
            with_options(BASE, until=2.0, **other).check()
    for name in RECIPES.keys() - {"quick"}:
        assert with_options(BASE, recipe=name).resolved_recipe() == RECIPES[name]
        assert RECIPES[name].until is None  # a published recipe takes its published steps
    assert with_options(BASE, recipe="ifgsm", until=2.0).resolved_recipe() == with_options(RECIPES["ifgsm"], until=2.0)


def test_apgd_takes_the_place_of_the_steps_of_a_recipe() -> None:
    given_ = {"start": "uniform", "steps": 60, "objective": "visible", "classes": "joint", "robust_mode": "eot"}
    apgd = with_options(BASE, step_rule="apgd").resolved_recipe()
    assert apgd == with_options(recipes.Recipe(), step_rule="apgd", step_size=None, **given_)
    same = {"last_step": 1.0, "momentum": 0.0, "until": "none", "class_schedule": "joint"}
    with_options(BASE, step_rule="apgd", **same).check()
    assert with_options(BASE, step_rule="apgd", class_schedule="weakest").resolved_recipe().classes == "weakest"
    for name in RECIPES.keys() - {"spread-spectrum"}:
        with_options(BASE, recipe=name, step_rule="apgd").check()
    assert signed(with_options(BASE, step_rule="fixed", diversity=0.0, smooth_gradient=0.0)) == signed(BASE)


@pytest.mark.parametrize(("changed", "option"), [
    ({"step_size": 1.0}, "--step-size"),
    ({"last_step": 0.5}, "--last-step"),
    ({"momentum": 0.5}, "--momentum"),
    ({"until": 2.0}, "--until"),
    ({"class_schedule": "iterative"}, "--class-schedule iterative"),
    ({"recipe": "spread-spectrum"}, "--blur spread-spectrum"),
    ({"recipe": "robust", "robust_mode": "turn"}, "--robust-mode turn"),
    ({"diversity": 0.5}, "--diversity"),
    ({"jitter": True}, "--jitter"),
])  # fmt: skip
def test_what_apgd_does_not_go_with_is_refused_by_name(changed: dict[str, Any], option: str) -> None:
    with pytest.raises(ConfigError, match=f"^{option} does not go with --step-rule apgd: "):
        with_options(BASE, step_rule="apgd", **changed).check()


def test_a_photo_that_is_shown_otherwise_in_each_step_takes_all_of_them() -> None:
    assert with_options(BASE, diversity=0.5).resolved_recipe().until is None
    assert with_options(BASE, smooth_gradient=1.0).resolved_recipe().until == 5.0
    with pytest.raises(ConfigError, match=r"--until .* --diversity"):
        with_options(BASE, diversity=0.5, until=2.0).check()
    with pytest.raises(ConfigError, match=r"--diversity shows the photo otherwise in each step, and --reference noise"):
        with_options(BASE, diversity=0.5, reference="noise").check()


@pytest.mark.parametrize("changed", [{"aim": "towards"}, {"reference": "black"}, {"layer": "main.3"}])
def test_a_recipe_that_breaks_visibly_compares_by_l2_where_there_is_nothing_to_break(changed: dict[str, str]) -> None:
    assert with_options(BASE, **changed).resolved_recipe().objective == "l2"
    with_options(BASE, **changed).check()


def test_the_content_of_a_reference_image_counts(tmp_path: Path) -> None:
    image = tmp_path / "goal.png"
    config = with_options(BASE, reference=str(image))
    image.write_bytes(photo_bytes(suffix=".png"))
    before = signed(config)
    image.write_bytes(photo_bytes(suffix=".png", seed=1))
    assert signed(config) != before


def test_options_change_single_parts_of_the_named_recipe() -> None:
    config = with_options(BASE, recipe="fgsm", start="clean", class_schedule="joint")
    assert config.resolved_recipe() == with_options(RECIPES["fgsm"], start="clean", classes="joint")


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_passes_the_check(recipe: str) -> None:
    with_options(BASE, recipe=recipe).check()


WRONG = [
    ("epsilon", 0, "from 1 to 64 (levels"),
    ("epsilon", 300, "not 300"),
    ("steps", 0, "--steps must be from 1"),
    ("step_size", 0.0, "--step-size must be from 0.01 to 255 (levels)"),
    ("step_size", float("nan"), "--step-size"),
    ("recipe", "pdg", "did you mean pgd?"),
    ("recipe", "spread-spectrums", "did you mean spread-spectrum?"),
    ("until", 0.5, "--until must be from 1 to 80 (times the threshold of 0.05; or none)"),
    ("last_step", 0.0, "--last-step must be from 0.001 to 1"),
    ("diversity", 1.5, "--diversity must be from 0 to 1 (share of the steps)"),
    ("smooth_gradient", 0.1, "--smooth-gradient must be from 0.2 to 16 (pixels of what the network sees; or 0)"),
    ("robust_to", ("jpeg", "resise"), "did you mean resize?"),
    ("robust_to", ("none,jpeg",), "stands alone, not beside jpeg"),
    ("start", "unifrom", "did you mean uniform?"),
    ("ball", "l1", "known: linf, l2"),
    ("reference", "nofile.png", "or an image file, not 'nofile.png'"),
    ("jpeg_quality", 80, "lower qualities would undo the protection"),
    ("actors", 0, "--actors must be from 1"),
    ("gpus_per_actor", -1.0, "GPUs"),
    ("memory_per_actor", -1.0, "GB"),
    ("threads", 0, "--threads"),
    ("batch_size", 0, "--batch-size"),
    ("part_photos", 0, "--part-photos"),
    ("max_megapixels", 0, "million pixels"),
    ("max_megabytes", 0, "million bytes"),
    ("examples", 13, "from 0 to 12"),
    ("limit", 0, "--limit"),
    ("weights", (Path("a"), Path("b")), "one file for each of the 1 generators, got 2"),
    ("generator", (), "at least one name"),
]


@pytest.mark.parametrize(("name", "value", "message"), WRONG, ids=lambda value: str(value)[:20])
def test_a_wrong_value_is_refused_with_what_was_expected(name: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        with_options(BASE, **{name: value}).check()
    assert message in str(refusal.value)


def test_a_reference_image_that_is_no_image_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "goal.png"
    text.write_text("hello")
    with pytest.raises(ConfigError, match="not an image"):
        with_options(BASE, reference=str(text)).check()


@pytest.mark.parametrize("reference", ["input", "black", "white"])
def test_a_layer_is_not_compared_with_a_picture(reference: str) -> None:
    with pytest.raises(ConfigError, match="--layer compares activations"):
        with_options(BASE, layer="main.3", reference=reference).check()


@pytest.mark.parametrize("changed", [{"objective": "local", "reference": "black"}, {"objective": "edge", "layer": "main.3"}])
def test_an_objective_that_finds_no_structure_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"--objective"):
        with_options(BASE, **changed).check()
