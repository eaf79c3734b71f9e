"""Nets are rebuilt from the shapes of their weights alone, whatever their width, with all quirks of released files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pipeline.generators.checkpoint import CheckpointError, load_weights, read_state_dict
from pipeline.generators.cyclegan import CycleGANGenerator, cyclegan_from_state
from pipeline.generators.ganimation import GANimationGenerator, ganimation_from_state
from pipeline.generators.pix2pixhd import Pix2PixHDGenerator, Pix2PixHDLocalEnhancer, pix2pixhd_from_state
from pipeline.generators.stargan import StarGANGenerator, stargan_from_state
from pipeline.generators.state_names import standard_names

BUILDERS: dict[str, Callable[[dict[str, Tensor]], nn.Module]] = {
    "stargan": stargan_from_state,
    "ganimation": ganimation_from_state,
    "pix2pixhd": pix2pixhd_from_state,
    "cyclegan": cyclegan_from_state,
}
NETS: list[tuple[str, Callable[[], nn.Module]]] = [
    ("stargan", lambda: StarGANGenerator(4, 2, 1)),
    ("stargan", lambda: StarGANGenerator(6, 7, 3)),
    ("ganimation", lambda: GANimationGenerator(4, 9, 2)),
    ("pix2pixhd", lambda: Pix2PixHDGenerator(2, in_channels=5, out_channels=1, downs=3, blocks=2)),
    ("pix2pixhd", lambda: Pix2PixHDLocalEnhancer(2, in_channels=5, out_channels=1, downs=2, blocks=2, enhancers=2, local_blocks=1)),
    ("pix2pixhd", lambda: Pix2PixHDLocalEnhancer(4, in_channels=5, downs=1, blocks=1)),
    ("cyclegan", lambda: CycleGANGenerator(4, blocks=6)),
    ("cyclegan", lambda: CycleGANGenerator(4, in_channels=1, out_channels=2, blocks=2, affine=True)),
]


def same(net: nn.Module, other: nn.Module) -> bool:
    ours, theirs = net.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def with_statistics(net: nn.Module) -> dict[str, Tensor]:
    """The state_dict as released: with the running statistics of its norms."""
    state = dict(net.state_dict())
    for name, layer in net.named_modules():
        if isinstance(layer, nn.InstanceNorm2d):
            state[f"{name}.running_mean"] = torch.randn(layer.num_features)
            state[f"{name}.running_var"] = torch.rand(layer.num_features)
            state[f"{name}.num_batches_tracked"] = torch.tensor(7)
    return state


def with_dropout(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state_dict as a training with dropout writes it: what follows index 3 of each block sits one further."""
    moves = {f"conv_block.{i}.": f"conv_block.{i + 1}." for i in (4, 5, 6)}
    return {
        next((name.replace(old, new) for old, new in moves.items() if old in name), name): weight for name, weight in state.items()
    }


@pytest.mark.parametrize(("system", "build"), NETS)
def test_the_shapes_of_the_weights_tell_the_net(system: str, build: Callable[[], nn.Module]) -> None:
    net = build()
    assert same(BUILDERS[system](net.state_dict()), net)


@pytest.mark.parametrize(("system", "build"), NETS)
def test_running_statistics_in_the_file_are_dropped(system: str, build: Callable[[], nn.Module]) -> None:
    net = build()
    assert len(with_statistics(net)) > len(net.state_dict())
    assert same(BUILDERS[system](with_statistics(net)), net)


def test_a_released_stargan_file_has_103_entries() -> None:
    with torch.device("meta"):
        assert len(with_statistics(StarGANGenerator())) == 103


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("statistics", [False, True])
def test_blocks_trained_with_dropout_move_back_in_place(affine: bool, statistics: bool) -> None:
    net = CycleGANGenerator(4, blocks=2, affine=affine)
    state = with_dropout(with_statistics(net) if statistics else dict(net.state_dict()))
    assert "model.10.conv_block.6.weight" in state
    assert "model.10.conv_block.5.weight" not in state
    assert same(cyclegan_from_state(state), net)


def test_a_second_convolution_beside_the_first_is_not_lost_by_moving() -> None:
    state = CycleGANGenerator(2, blocks=1).state_dict()
    state["model.10.conv_block.6.weight"] = torch.zeros_like(state["model.10.conv_block.5.weight"])
    with pytest.raises(CheckpointError, match=r"1 unexpected \(model\.10\.conv_block\.6\.weight\)"):
        cyclegan_from_state(state)


def aliased(net: GANimationGenerator) -> dict[str, Tensor]:
    state = with_statistics(net)
    parts = {"debug1": range(3), "debug2": range(3, 6), "debug3": range(6, 9), "debug4": range(9, 11)}
    for name in list(state):
        index = int(name.split(".")[1])
        for part, layers in parts.items():
            if name.startswith("main.") and index in layers:
                state[f"{part}.{index - layers[0]}.{name.split('.', 2)[2]}"] = state[name].clone()
    return state


def test_the_debug_aliases_of_ganimation_are_dropped() -> None:
    net = GANimationGenerator(4, 5, 2)
    state = aliased(net)
    assert {name.split(".")[0] for name in state} == {"main", "im_reg", "im_att", "debug1", "debug2", "debug3", "debug4"}
    assert same(ganimation_from_state(state), net)


def test_a_debug_entry_that_repeats_no_weight_is_not_ignored() -> None:
    state = aliased(GANimationGenerator(4, 5, 2))
    state["debug2.0.weight"] = state["debug2.0.weight"] + 1
    with pytest.raises(CheckpointError, match=r"1 unexpected \(debug2\.0\.weight\)"):
        ganimation_from_state(state)


@pytest.mark.parametrize(("system", "build"), NETS)
def test_standard_names_are_standard_already(system: str, build: Callable[[], nn.Module]) -> None:
    once = standard_names(with_dropout(with_statistics(build())) if system == "cyclegan" else with_statistics(build()))
    assert list(standard_names(once)) == list(once)


@pytest.mark.parametrize(("system", "keys"), [("stargan", 52), ("ganimation", 53), ("pix2pixhd", 56), ("cyclegan", 48)])
def test_the_weights_of_no_system_are_compared_with_the_published_net(system: str, keys: int) -> None:
    other = nn.Sequential(nn.Linear(3, 3)).state_dict()
    with pytest.raises(CheckpointError, match=rf": {keys} missing .*2 unexpected \(0\.weight, 0\.bias\)"):
        BUILDERS[system](other)


def test_each_system_refuses_the_nets_of_the_others() -> None:
    for system, build in NETS:
        for other in BUILDERS.keys() - {system}:
            if {system, other} == {"cyclegan", "pix2pixhd"}:
                continue  # with two halvings these are one architecture
            with pytest.raises(CheckpointError, match="missing"):
                BUILDERS[other](build().state_dict())


def test_absurd_shapes_and_names_are_refused_as_quickly() -> None:
    vast = torch.zeros(1).expand(10**9, 10**9)
    names = [
        "model.1.weight",
        "model.99999999.conv_block.1.weight",
        f"model.{'9' * 9999}.conv_block.1.weight",
        *(f"model{n}_1.1.weight" for n in range(1, 99)),
    ]
    for builder in BUILDERS.values():
        with pytest.raises(CheckpointError, match="missing"):
            builder(dict.fromkeys([*names, "main.0.weight"], vast))


def test_a_net_that_keeps_running_statistics_gets_those_of_the_file() -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))

    net, other = build(), build()
    net.get_buffer("1.running_mean").fill_(3)
    load_weights(other, {**net.state_dict(), "0.running_mean": torch.ones(1)}, source="mine")
    assert same(net, other)


def test_building_draws_no_random_numbers(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save({"state_dict": {f"module.{k}": v for k, v in StarGANGenerator(4, 2, 1).state_dict().items()}}, path)
    before = torch.get_rng_state()
    stargan_from_state(read_state_dict(path))
    assert torch.equal(torch.get_rng_state(), before)
