"""Weights under other names load bit for bit, or are refused with what to do."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from pipeline.generators.checkpoint import CheckpointError
from pipeline.generators.cyclegan import CycleGANGenerator
from pipeline.generators.ganimation import GANimationGenerator
from pipeline.generators.layout import MisfitError, has_layers_of, respell
from pipeline.generators.multistyle import MultistyleGenerator
from pipeline.generators.pix2pixhd import Pix2PixHDGenerator
from pipeline.generators.stargan import StarGANDiscriminator, StarGANGenerator
from pipeline.generators.zoo import load_generator
from tests.fast.generators.spellings import SPELLINGS, State, words
from tests.fast.generators.test_from_state import aliased, with_dropout, with_statistics

torch.manual_seed(0)
NETS: dict[str, tuple[str, nn.Module]] = {
    "stargan": ("stargan", StarGANGenerator(4, 5, 2)),
    "ganimation": ("ganimation", GANimationGenerator(4, 17, 2)),
    "cyclegan": ("cyclegan", CycleGANGenerator(4, blocks=3)),
    "cyclegan affine": ("cyclegan", CycleGANGenerator(4, blocks=3, affine=True)),
    "cyclegan batch norm": ("cyclegan", CycleGANGenerator(4, blocks=3, batch_norm=True, bias=False)),
    "multistyle": ("multistyle", MultistyleGenerator()),
}


def loaded(name: str, state: State, path: Path) -> nn.Module:
    torch.save(state, path)
    return load_generator(name, weights=path).net


def same(net: nn.Module, state: State) -> bool:
    ours = net.state_dict()
    return ours.keys() == state.keys() and all(torch.equal(ours[name], state[name]) for name in ours)


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("net", NETS)
def test_a_file_under_other_names_has_the_weights_of_the_released_one_and_says_so(net: str, spelling: str, tmp_path: Path) -> None:
    row, original = NETS[net]
    state = dict(original.state_dict())
    torch.save(SPELLINGS[spelling](state), tmp_path / "w.pth")
    generator = load_generator(row, weights=tmp_path / "w.pth")
    assert same(generator.net, state)
    assert any("matched by order and shapes" in note for note in generator.notes) == (
        SPELLINGS[spelling](state).keys() != state.keys()
    )


@torch.no_grad()
@pytest.mark.parametrize("net", NETS)
def test_a_file_under_other_names_gives_the_same_picture_and_fingerprint(net: str, tmp_path: Path) -> None:
    row, original = NETS[net]
    torch.save(original.state_dict(), tmp_path / "released.pth")
    torch.save(SPELLINGS["in sections"](SPELLINGS["block"](dict(original.state_dict()))), tmp_path / "other.pth")
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    released, other = (load_generator(row, weights=tmp_path / name) for name in ("released.pth", "other.pth"))
    assert other.fingerprint == released.fingerprint
    for class_name in list(released.classes)[:2]:
        assert torch.equal(other(x, class_name), released(x, class_name))


PARTS = ("main", "model", "conv_block", "im_reg", "im_att", "contract", "res", "expand", "norm")
WORDS = st.lists(st.from_regex(r"[a-z_]{1,6}", fullmatch=True), min_size=len(PARTS), max_size=len(PARTS), unique=True)


@settings(max_examples=40)
@given(st.sampled_from(sorted(NETS)), WORDS, st.randoms(use_true_random=False), st.integers(0, 3), st.integers(1, 4))
def test_any_words_for_the_parts_of_names_do_and_so_does_any_order_of_the_entries(
    net: str, chosen: list[str], rng: random.Random, first: int, step: int
) -> None:
    state = NETS[net][1].state_dict()
    named = words(dict(zip(PARTS, chosen, strict=True)))(dict(state))
    numbered = {re.sub(r"(?<=\.)\d+", lambda m: str(first + step * int(m[0])), name): tensor for name, tensor in named.items()}
    shuffled = list(numbered.items())
    rng.shuffle(shuffled)
    expected = dict(zip(state, numbered, strict=True))
    assert respell(numbered, state) == expected
    try:
        assert respell(dict(shuffled), state) == expected
    except MisfitError:  # words without numbers, whose order the shuffling lost
        assert net in ("ganimation", "multistyle")


@pytest.mark.parametrize("net", ["stargan", "cyclegan", "cyclegan affine"])
def test_safetensors_which_sort_their_names_are_put_in_order_by_their_numbers(net: str, tmp_path: Path) -> None:
    row, original = NETS[net]
    state = dict(original.state_dict())
    save_file(SPELLINGS["numbers in words"](state), tmp_path / "w.safetensors")
    assert same(load_generator(row, weights=tmp_path / "w.safetensors").net, state)


QUIRKS: dict[str, Callable[[nn.Module], State]] = {
    "statistics": with_statistics,
    "dropout": lambda net: with_dropout(dict(net.state_dict())),
    "statistics and dropout": lambda net: with_dropout(with_statistics(net)),
}


@pytest.mark.parametrize("quirk", QUIRKS)
@pytest.mark.parametrize("net", ["cyclegan", "cyclegan affine", "cyclegan batch norm"])
def test_quirks_of_released_files_may_come_under_other_names_too(net: str, quirk: str, tmp_path: Path) -> None:
    row, original = NETS[net]
    state = dict(original.state_dict())
    assert same(loaded(row, QUIRKS[quirk](original), tmp_path / "w.pth"), state)
    assert same(loaded(row, SPELLINGS["block"](QUIRKS[quirk](original)), tmp_path / "w.pth"), state)


def test_aliases_of_ganimation_may_come_with_other_names(tmp_path: Path) -> None:
    row, original = NETS["ganimation"]
    assert isinstance(original, GANimationGenerator)
    state = words({"im_reg": "image", "im_att": "mask"})(aliased(original))
    assert same(loaded(row, state, tmp_path / "w.pth"), dict(original.state_dict()))


def refusal(row: str, state: State, path: Path) -> str:
    torch.save(state, path)
    with pytest.raises(CheckpointError) as refused:
        load_generator(row, weights=path)
    return str(refused.value)


def with_blocks_in_words(state: State) -> State:
    """The two convolutions of a block, of the same shape, under words that do not tell which comes first."""
    return {
        name.replace(".conv_block.1.", ".block.outer.").replace(".conv_block.5.", ".block.inner."): w for name, w in state.items()
    }


@pytest.mark.parametrize("mixed", [False, True])
def test_names_without_order_are_taken_in_the_order_of_a_torch_file_and_refused_in_a_sorted_one(
    tmp_path: Path, mixed: bool
) -> None:
    row, original = NETS["cyclegan"]
    state = dict(original.state_dict())
    respelled = with_blocks_in_words(state)
    assert same(loaded(row, respelled, tmp_path / "w.pth"), state)
    halves = {name: w.half() if w.ndim == 1 else w for name, w in respelled.items()}  # sorted within each type
    save_file(halves if mixed else respelled, tmp_path / "w.safetensors")
    with pytest.raises(
        CheckpointError, match=r"do not tell the order of .*(inner|outer).*; number the layers .* or save .* torch\.save"
    ):
        load_generator(row, weights=tmp_path / "w.safetensors")


def test_only_an_order_that_is_not_that_of_the_names_says_something() -> None:
    wanted = {"0.weight": torch.zeros(3), "0.bias": torch.zeros(3), "1.weight": torch.zeros(3), "1.bias": torch.zeros(3)}
    later_first = {f"{layer}.{kind}": torch.zeros(3) for layer in "ba" for kind in ("weight", "bias")}
    assert respell(later_first, wanted) == {"0.weight": "b.weight", "0.bias": "b.bias", "1.weight": "a.weight", "1.bias": "a.bias"}
    for as_saved in (dict(sorted(later_first.items())), _by_type(later_first)):
        with pytest.raises(MisfitError, match="do not tell the order of a and b"):
            respell(as_saved, wanted)


def _by_type(state: State) -> State:
    """As safetensors are saved with weights of two types: by name within each type."""
    halves = {name: w.half() if name.endswith("weight") else w for name, w in state.items()}
    return dict(sorted(halves.items(), key=lambda entry: (str(entry[1].dtype), entry[0])))


def test_names_without_order_are_refused_where_the_entries_are_shuffled(tmp_path: Path) -> None:
    row, original = NETS["cyclegan"]
    entries = list(with_blocks_in_words(dict(original.state_dict())).items())
    random.Random(0).shuffle(entries)
    assert "do not tell the order" in refusal(row, dict(entries), tmp_path / "w.pth")


def test_one_block_spelled_in_another_way_is_refused(tmp_path: Path) -> None:
    row, original = NETS["stargan"]
    state = {name.replace("main.10.main.", "main.10.body."): w for name, w in original.state_dict().items()}
    assert "the same weight is spelled in several ways: main.#.body" in refusal(row, state, tmp_path / "w.pth")


def test_the_right_layers_in_an_order_that_the_net_does_not_have_are_refused(tmp_path: Path) -> None:
    row, original = NETS["stargan"]
    state = {re.sub(r"^main\.(\d+)", lambda m: f"main.{40 - int(m[1])}", name): w for name, w in original.state_dict().items()}
    assert "its layers have the right shapes, but another order" in refusal(row, state, tmp_path / "w.pth")


def test_a_weight_of_another_shape_is_refused_under_any_names(tmp_path: Path) -> None:
    row, original = NETS["cyclegan"]
    state = SPELLINGS["block"](dict(original.state_dict()))
    state["net_.13.weight"] = state["net_.13.weight"].transpose(0, 1)  # upsampled by resizing instead of a transposed convolution
    reason = refusal(row, state, tmp_path / "w.pth")
    assert "missing" in reason
    assert "near to CycleGAN" in reason
    assert "write a builder (--generator my_module:build" in reason


def test_weights_that_are_not_numbers_are_refused_under_any_names(tmp_path: Path) -> None:
    row, original = NETS["stargan"]
    state = {name: w.clone() for name, w in original.state_dict().items()}
    state["main.1.bias"][0] = float("nan")
    assert "1 not finite numbers (main.1.bias)" in refusal(row, state, tmp_path / "w.pth")
    assert "1 not finite numbers (main.1.bias)" in refusal(row, SPELLINGS["block"](state), tmp_path / "w.pth")


def test_the_output_must_be_a_picture_where_the_names_proved_nothing(tmp_path: Path) -> None:
    row, original = NETS["cyclegan"]
    state = {name: torch.zeros_like(w) for name, w in original.state_dict().items()}
    torch.save(state, tmp_path / "w.pth")
    assert load_generator(row, weights=tmp_path / "w.pth").notes == ()
    assert "its layers in this order are no translation" in refusal(row, SPELLINGS["block"](state), tmp_path / "w.pth")


def test_one_of_several_networks_of_a_file_is_found_by_its_layers(tmp_path: Path) -> None:
    row, original = NETS["stargan"]
    state = dict(original.state_dict())
    critic = StarGANDiscriminator(16, 4, 5, 2).state_dict()
    both = {f"translator.{name}": w for name, w in state.items()} | {f"critic.{name}": w for name, w in critic.items()}
    torch.save(both, tmp_path / "w.pth")
    generator = load_generator(row, weights=tmp_path / "w.pth")
    assert same(generator.net, state)
    assert "its part translator was taken" in generator.notes[0]


def test_two_networks_that_fit_are_refused_by_name(tmp_path: Path) -> None:
    row, original = NETS["cyclegan"]
    both = {f"{way}.{name}": w for way in ("netG_A", "netG_B") for name, w in original.state_dict().items()}
    assert "holds several networks that fit: netG_A, netG_B; save the one you mean alone" in refusal(row, both, tmp_path / "w.pth")


NEAREST: list[tuple[str, nn.Module, str]] = [
    (
        "stargan",
        CycleGANGenerator(4, blocks=6),
        "nearest architecture is CycleGAN (100% of the kernels in common): give --generator cyclegan",
    ),
    (
        "stargan",
        GANimationGenerator(4, 17, 6),
        "nearest architecture is GANimation (100% of the kernels in common): give --generator ganimation",
    ),
    (
        "cyclegan",
        StarGANGenerator(4, 5, 3),
        "nearest architecture is StarGAN (100% of the kernels in common): give --generator stargan",
    ),
    ("stargan", MultistyleGenerator(), "nearest architecture is multistyle (100% of the kernels in common)"),
    (
        "cyclegan",
        Pix2PixHDGenerator(2, in_channels=36, downs=4, blocks=9),
        "pix2pixHD (100% of the kernels in common): it translates label maps",
    ),
    ("stargan", StarGANDiscriminator(128, 4, 5, 6), "StarGAN's discriminator (100% of the kernels in common): it is no generator"),
    ("cyclegan", nn.Sequential(nn.Conv2d(3, 8, 11), nn.Linear(8, 8), nn.Linear(8, 3)), "no architecture of the table is near it"),
]


@pytest.mark.parametrize(("row", "net", "reason"), NEAREST)
def test_a_checkpoint_of_another_architecture_names_it(row: str, net: nn.Module, reason: str, tmp_path: Path) -> None:
    said = refusal(row, dict(net.state_dict()), tmp_path / "w.pth")
    assert reason in said
    assert "\n" not in said


def test_batch_norms_run_with_their_running_statistics_and_it_is_said(tmp_path: Path) -> None:
    row, original = NETS["cyclegan batch norm"]
    state = {name: w.clone() for name, w in original.state_dict().items()}
    state["model.2.running_mean"] += 0.3
    del state["model.2.num_batches_tracked"]  # as in files from before torch 0.4.1
    torch.save(state, tmp_path / "w.pth")
    generator = load_generator(row, weights=tmp_path / "w.pth")
    assert generator.notes == ("w.pth: its batch norms run with the running statistics of their training",)
    x = torch.rand(2, 3, 16, 16)
    original.load_state_dict(state, strict=False)
    assert torch.equal(generator(x, "translated"), original.eval()(x))


def test_norms_with_weights_statistics_and_bias_before_them_are_instance_norms_and_it_is_said(tmp_path: Path) -> None:
    row, original = NETS["cyclegan affine"]
    torch.save(with_statistics(original), tmp_path / "w.pth")
    assert "taken as instance norms" in load_generator(row, weights=tmp_path / "w.pth").notes[0]
    torch.save(original.state_dict(), tmp_path / "w.pth")
    assert load_generator(row, weights=tmp_path / "w.pth").notes == ()


def test_batch_norms_without_their_statistics_are_refused(tmp_path: Path) -> None:
    row, original = NETS["cyclegan batch norm"]
    state = SPELLINGS["block"](dict(original.state_dict()))
    del state["net_.5.running_var"]
    assert "running statistics of its batch norms are not beside their weights (net_.5.running_var)" in refusal(
        row, state, tmp_path / "w.pth"
    )


def test_absurdly_nested_and_many_names_are_refused_as_quickly() -> None:
    net = NETS["stargan"][1].state_dict()
    deep = {f"{'a.' * 600}{name}": w for name, w in net.items()}
    with pytest.raises(MisfitError, match="nested too deeply"):
        respell(deep, net)
    twins = {f"{chr(97 + i)}.weight": torch.zeros(1) for i in range(20)}
    with pytest.raises(MisfitError, match="do not tell the order"):
        respell(dict(sorted(twins.items())), {f"{i}.weight": torch.zeros(1) for i in range(20)})
    assert not has_layers_of(twins, {f"{i}.weight": torch.zeros(1) for i in range(21)})
