"""Weights files as people have them, and as an attacker makes them."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.generators.checkpoint import CheckpointError, load_weights, read_metadata, read_state_dict, read_torch, save_weights
from pipeline.generators.cyclegan import CycleGANGenerator
from pipeline.generators.stargan import StarGANGenerator


@pytest.fixture
def net() -> StarGANGenerator:
    return StarGANGenerator(2, 2, 1)


def weights_equal(state: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return state.keys() == other.keys() and all(torch.equal(state[name], other[name]) for name in state)


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.target),)


def below(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state_dict with a prefix before each name."""
    return {f"{prefix}.{name}": weight for name, weight in state.items()}


def critic() -> dict[str, Tensor]:
    """The weights of a discriminator, some under the names of the generator's."""
    return {"main.0.weight": torch.ones(2, 3, 4, 4), "conv1.weight": torch.ones(1, 4, 3, 3)}


WRAPPED: dict[str, Callable[[dict[str, Tensor]], dict[Any, Any]]] = {
    "plain": lambda state: state,
    "module prefix": lambda state: {f"module.{name}": weight for name, weight in state.items()},
    "prefix twice": lambda state: {f"module.module.{name}": weight for name, weight in state.items()},
    "state_dict": lambda state: {"epoch": 3, "state_dict": state},
    "model": lambda state: {"model": state, "optimizer": {"state": {0: {"step": torch.ones(1)}}, "param_groups": [{"lr": 0.1}]}},
    "G": lambda state: {"G": state, "D": {"main.0.weight": torch.ones(1)}, "step": 7},
    "average before last": lambda state: {"G": {"main.0.weight": torch.ones(1)}, "G_ema": state, "rng": torch.ones(3)},
    "unknown name": lambda state: {"netG_A2B": state, "epoch": 3},
    "twice nested": lambda state: {"model": {"args": {"lr": 1}, "state_dict": {f"module.{k}": v for k, v in state.items()}}},
    "compiled": lambda state: below("_orig_mod", state),
    "compiled inside": lambda state: {name.replace("main.", "main._orig_mod.", 1): weight for name, weight in state.items()},
    "compiled, parallel": lambda state: below("_orig_mod.module", state),
    "parallel, compiled": lambda state: {"state_dict": below("module._orig_mod", state)},
    "averaged": lambda state: {"n_averaged": torch.tensor(5), **below("module", state)},
    "averaged, compiled, nested": lambda state: {"model": {"n_averaged": torch.tensor(5), **below("module._orig_mod", state)}},
    "sharded": lambda state: below("_fsdp_wrapped_module._checkpoint_wrapped_module", state),
    "Lightning": lambda state: {
        "epoch": 3,
        "state_dict": below("generator", state) | below("discriminator", critic()),
        "hyper_parameters": {"lr": 1e-4},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}}}],
    },
    "Lightning, averaged beside": lambda state: {
        "state_dict": below("generator", critic()) | below("generator_ema", state) | below("discriminator", critic())
    },
    "netG": lambda state: below("netG", state) | below("netD", critic()),
    "netG, parallel": lambda state: below("netG.module", state) | below("netD.module", critic()),
    "G among others": lambda state: below("G", state) | below("D", critic()) | {"loss.weight": torch.ones(3)},
    "model of Lightning": lambda state: {
        "state_dict": below("model.generator._orig_mod", state) | below("model.discriminator", critic())
    },
    "one more model": lambda state: below("model", state),
    "ema_pytorch": lambda state: {
        "initted": torch.tensor(True),
        "step": torch.tensor(9),
        **below("ema_model", state),
        **below("online_model", critic()),
    },
    "NumPy scalars beside": lambda state: {
        "state_dict": state,
        "best": np.float64(0.25),
        "epoch": np.int64(3),
        "name": np.str_("G"),
    },
    "NumPy scalars among": lambda state: {**state, "best": np.float32(0.25), "done": np.bool_(True)},
    "nested NumPy scalars": lambda state: {"model": {"args": {"lr": np.float64(1)}, "state_dict": below("netG", state)}},
    "numbers among": lambda state: {**state, "epoch": 3, "name": "G"},
    "parameters": lambda state: {name: nn.Parameter(weight) for name, weight in state.items()},
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED.keys())
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_the_weights_are_found_in_what_people_wrap_around_them(
    tmp_path: Path, net: nn.Module, wrap: Callable[[dict[str, Tensor]], dict[Any, Any]], zipped: bool
) -> None:
    path = tmp_path / "net.pth"
    torch.save(wrap(net.state_dict()), path, _use_new_zipfile_serialization=zipped)
    state = read_state_dict(path)
    assert weights_equal(state, net.state_dict())
    assert not any(weight.requires_grad for weight in state.values())


def test_a_name_that_is_no_wrapper_stays_as_it_is(tmp_path: Path) -> None:
    net = CycleGANGenerator(2, blocks=1)
    for state in (net.state_dict(), {"netG_A." + name: weight for name, weight in net.state_dict().items()}):
        torch.save(state, tmp_path / "net.pth")
        assert weights_equal(read_state_dict(tmp_path / "net.pth"), dict(state))
    twins = {"module.main.0.weight": torch.ones(1), "main.0.weight": torch.zeros(1)}
    torch.save(twins, tmp_path / "net.pth")
    assert weights_equal(read_state_dict(tmp_path / "net.pth"), twins)


WRAPPERS = ("module", "_orig_mod", "generator", "netG", "G", "G_ema", "_fsdp_wrapped_module")


@settings(max_examples=60)
@given(
    prefixes=st.lists(st.sampled_from(WRAPPERS), max_size=5),
    entries=st.lists(st.sampled_from(["state_dict", "model", "G"]), max_size=3),
)
def test_wrappers_are_removed_in_any_order_and_depth(
    tmp_path_factory: pytest.TempPathFactory, prefixes: list[str], entries: list[str]
) -> None:
    state = StarGANGenerator(2, 2, 1).state_dict()
    content: dict[str, Any] = below(".".join(prefixes), state) if prefixes else dict(state)
    for entry in entries:
        content = {entry: content, "epoch": 3}
    path = tmp_path_factory.mktemp("wrapped") / "net.pth"
    torch.save(content, path)
    assert weights_equal(read_state_dict(path), state)


def test_one_part_of_a_file_can_be_asked_for(tmp_path: Path, net: nn.Module) -> None:
    path = tmp_path / "both.pth"
    torch.save({"G_A": net.state_dict(), "G_B": CycleGANGenerator(2, blocks=1).state_dict()}, path)
    assert weights_equal(read_state_dict(path, part="G_A"), net.state_dict())
    with pytest.raises(CheckpointError, match=r"it holds G_A, G_B; save the one you mean alone: .*torch\.load\(FILE\)\['G_A'\]"):
        read_state_dict(path)
    with pytest.raises(CheckpointError, match="has no entry 'G'; it holds G_A, G_B"):
        read_state_dict(path, part="G")


@pytest.mark.parametrize("content", [{}, [1, 2], {"lr": 0.1}, torch.ones(2), {"model": {"model": {}}}])
def test_a_file_without_weights_is_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "net.pth"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="no single set of weights"):
        read_state_dict(path)


def test_a_dict_that_holds_itself_ends(tmp_path: Path) -> None:
    path, endless = tmp_path / "net.pth", dict[str, Any]()
    endless["model"] = endless
    torch.save(endless, path)
    with pytest.raises(CheckpointError, match="no single set of weights"):
        read_state_dict(path)


@pytest.mark.parametrize(
    ("protocol", "reason"),
    [
        (None, r"pickled code \(posix\.mkdir\), which is never run"),
        (0, "neither safetensors nor a torch file"),
        (2, r"pickled code \(posix\.mkdir\), which is never run"),
        (4, "holds more than weights"),  # torch does not read this far
    ],
)
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path, net: nn.Module, protocol: int | None, reason: str) -> None:
    path, target = tmp_path / "net.pth", tmp_path / "made by the payload"
    if protocol is None:
        torch.save({**net.state_dict(), "main.0.weight": Payload(target)}, path)
    else:
        path.write_bytes(pickle.dumps(Payload(target), protocol=protocol))
    with pytest.raises(CheckpointError, match=reason) as caught:
        read_state_dict(path)
    assert not target.exists()
    assert len(str(caught.value)) < 400
    pickle.loads(pickle.dumps(Payload(target)))  # the payload itself works
    assert target.exists()


def test_code_beside_numpy_scalars_is_refused_and_not_run(tmp_path: Path, net: nn.Module) -> None:
    path, target = tmp_path / "net.pth", tmp_path / "made by the payload"
    for content in ({"best": np.float64(1), "run": Payload(target)}, {"best": np.float64(1), "hook": np.load}):
        torch.save({"state_dict": net.state_dict(), **content}, path)
        with pytest.raises(
            CheckpointError, match=r"pickled code \((posix\.mkdir|numpy\.load)\), which is never run; save .*state_dict\(\), FILE"
        ):
            read_state_dict(path)
    assert not target.exists()


def test_numpy_arrays_are_no_scalars(tmp_path: Path, net: nn.Module) -> None:
    torch.save({"state_dict": net.state_dict(), "curve": np.ones(3)}, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match=r"pickled code \(numpy\._core\.multiarray\._reconstruct\)"):
        read_state_dict(tmp_path / "net.pth")


def test_no_code_of_numpy_runs_for_its_scalars(tmp_path: Path, net: nn.Module) -> None:
    path = tmp_path / "net.pth"
    torch.save({"state_dict": net.state_dict(), "best": np.float64(1)}, path)
    content = read_torch(path)
    assert isinstance(content, dict)
    assert not isinstance(content["best"], np.generic | float)
    with pytest.raises(pickle.UnpicklingError, match="multiarray"):  # nothing is allowed for the rest of the process
        torch.load(path, weights_only=True)


def test_a_pickled_net_is_refused_by_its_class(tmp_path: Path, net: nn.Module) -> None:
    path = tmp_path / "net.pth"
    torch.save(net, path)
    with pytest.raises(CheckpointError, match=r"StarGANGenerator\), which is never run; save the state_dict"):
        read_state_dict(path)


def test_a_missing_an_empty_and_a_foreign_file_are_named(tmp_path: Path) -> None:
    for name, content, reason in (
        ("none.pth", None, "no such weights file"),
        ("empty.pth", b"", "the file is empty"),
        ("empty.safetensors", b"", "the file is empty"),
        ("pointer.pth", b"version https://git-lfs.github.com/spec/v1\n", "neither .* it starts with b'version https://"),
        ("page.pth", b"<!DOCTYPE html><html></html>", "neither .* it starts with b'<!DOCTYPE html>"),
        ("text.safetensors", b"hello, this is no header", "damaged or cut-off safetensors"),
    ):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=rf"{name}: {reason}"):
            read_state_dict(tmp_path / name)
    with pytest.raises(CheckpointError, match="no such weights file"):
        read_state_dict(tmp_path)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path: Path, net: nn.Module, kind: str, share: float) -> None:
    path = tmp_path / "net"
    if kind == "safetensors":
        save_file(net.state_dict(), path)
    else:
        torch.save(net.state_dict(), path, _use_new_zipfile_serialization=kind == "zip")
    data = path.read_bytes()
    path.write_bytes(data[: max(int(share * len(data)), 9)])
    with pytest.raises(CheckpointError, match=r"damaged"):
        read_state_dict(path)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(flips=st.lists(st.tuples(st.integers(0, 900), st.integers(0, 255)), min_size=1, max_size=4), zipped=st.booleans())
def test_flipped_bytes_give_weights_or_a_reason_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[int, int]], zipped: bool
) -> None:
    path = tmp_path_factory.mktemp("flips") / "net.pth"
    torch.save({"a.b": torch.ones(3, 4), "c": torch.zeros(5)}, path, _use_new_zipfile_serialization=zipped)
    data = bytearray(path.read_bytes())
    for position, value in flips:
        data[position % len(data)] = value
    path.write_bytes(data)
    try:
        assert all(isinstance(weight, Tensor) for weight in read_state_dict(path).values())
    except CheckpointError as error:
        assert len(str(error)) < 600


def test_tensors_without_plain_values_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save({"a": torch.ones(2), "b": torch.eye(2).to_sparse(), "c": torch.empty(2, device="meta")}, path)
    with pytest.raises(CheckpointError, match="not plain arrays: b, c"):
        read_state_dict(path)


def test_a_file_of_another_architecture_is_refused_with_what_is_missing_and_unexpected(net: nn.Module) -> None:
    before = {name: weight.clone() for name, weight in net.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_weights(net, CycleGANGenerator(2).state_dict(), source="horse.pth")
    message = str(caught.value)
    assert message.startswith("horse.pth does not fit StarGANGenerator: 22 missing (main.0.weight, main.1.weight,")
    assert "48 unexpected (model.1.weight, model.1.bias, model.4.weight, model.4.bias, ...)" in message
    assert len(message) < 400
    assert weights_equal(net.state_dict(), before)


def test_a_weight_of_another_shape_is_refused_with_both_shapes(net: nn.Module) -> None:
    state = {**net.state_dict(), "main.0.weight": torch.zeros(2, 8, 7, 7)}
    with pytest.raises(CheckpointError, match=r"1 of another shape \(main\.0\.weight \(2, 8, 7, 7\) instead of \(2, 5, 7, 7\)\)"):
        load_weights(net, state, source="face.pth")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, net: nn.Module, value: float) -> None:
    state = {name: weight.clone() for name, weight in net.state_dict().items()}
    state["main.1.bias"][1] = value
    with pytest.raises(CheckpointError, match=r"1 not finite numbers \(main\.1\.bias\)"):
        load_weights(net, state, source="face.pth")


def test_weights_that_are_integers_are_refused(net: nn.Module) -> None:
    state = {**net.state_dict(), "main.1.bias": torch.zeros(2, dtype=torch.int8)}
    with pytest.raises(CheckpointError, match=r"1 not finite numbers \(main\.1\.bias\)"):
        load_weights(net, state, source="face.pth")


def test_saved_weights_come_back_with_their_metadata(tmp_path: Path, net: nn.Module) -> None:
    path = tmp_path / "net.safetensors"
    save_weights(net, path, metadata={"system": "stargan", "attributes": "Männlich,Young", "size": "128"})
    assert weights_equal(read_state_dict(path), net.state_dict())
    assert read_metadata(path) == {"system": "stargan", "attributes": "Männlich,Young", "size": "128"}
    assert [file.name for file in tmp_path.iterdir()] == ["net.safetensors"]


def test_half_precision_halves_the_file_and_loads_as_float32(tmp_path: Path, net: nn.Module) -> None:
    whole, half = tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    save_weights(net, whole, metadata={})
    save_weights(net, half, metadata={}, half=True)
    tensors = sum(weight.numel() for weight in net.state_dict().values())
    assert whole.stat().st_size - half.stat().st_size == pytest.approx(2 * tensors, abs=40)
    other = StarGANGenerator(2, 2, 1)
    load_weights(other, read_state_dict(half), source="half")
    for ours, theirs in zip(net.parameters(), other.parameters(), strict=True):
        assert theirs.dtype == torch.float32
        torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-6)


def test_weights_too_large_for_half_precision_are_not_written(tmp_path: Path, net: nn.Module) -> None:
    with torch.no_grad():
        net.get_parameter("main.1.bias").fill_(70_000)
    with pytest.raises(CheckpointError, match=r"not finite as float16: main\.1\.bias"):
        save_weights(net, tmp_path / "net.safetensors", metadata={}, half=True)
    assert not list(tmp_path.iterdir())


def test_the_same_weights_and_metadata_give_the_same_bytes(tmp_path: Path, net: nn.Module) -> None:
    path, found = tmp_path / "net.safetensors", set()
    for letters in ("abcdefgh", "hgfedcba", "abcdefgh"):
        save_weights(net, path, metadata={letter: letter for letter in letters})
        found.add(path.read_bytes())
    assert len(found) == 1


def test_a_torch_file_has_no_metadata(tmp_path: Path, net: nn.Module) -> None:
    torch.save(net.state_dict(), tmp_path / "net.pth")
    assert read_metadata(tmp_path / "net.pth") == {}


def test_a_net_on_the_meta_device_is_filled_in_the_precision_it_has(net: nn.Module) -> None:
    with torch.device("meta"):
        empty = StarGANGenerator(2, 2, 1)
    load_weights(empty, {name: weight.double() for name, weight in net.state_dict().items()}, source="double")
    assert weights_equal(empty.state_dict(), net.state_dict())
    assert {p.dtype for p in empty.parameters()} == {torch.float32}
