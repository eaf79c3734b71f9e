"""The state of a training: saved whole or not at all, refused where it does not fit, started from other nets."""

from __future__ import annotations

import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from pipeline.generators.checkpoint import CheckpointError, save_weights
from pipeline.training.options import TrainError
from pipeline.training.state import TrainState
from pipeline.training.step import StepSettings, train_step
from pipeline.training.systems.stargan import StarGANSystem
from pipeline.training.systems.system import Sizes
from tests.fast.training.small import SIZES, batch_of, differing, fresh


@pytest.fixture(scope="module")
def trained() -> TrainState:
    state = fresh()
    train_step(state, StarGANSystem(), batch_of(), StepSettings())
    return state


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """What a full disk is to a writer: the write that crosses the limit fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_restored_state_is_the_saved_one_bit_for_bit(trained: TrainState, tmp_path: Path) -> None:
    trained.save(tmp_path / "state.pt")
    other = fresh(seed=9)
    assert len(differing(trained, other)) > 100
    other.restore(tmp_path / "state.pt")
    assert differing(trained, other) == []
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


def test_a_full_disk_leaves_the_last_checkpoint_and_no_rest(trained: TrainState, tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    trained.save(path)
    before = path.read_bytes()
    with no_file_larger_than(len(before) // 2), pytest.raises(TrainError, match=r"cannot write .*state\.pt .* unharmed"):
        trained.save(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.pt"]


def test_weights_that_are_no_numbers_never_replace_a_checkpoint(tmp_path: Path) -> None:
    state = fresh()
    state.save(tmp_path / "state.pt")
    before = (tmp_path / "state.pt").read_bytes()
    next(state.nets.D.parameters()).data.view(-1)[0] = float("nan")
    with pytest.raises(TrainError, match="not a finite number at step 0; the last checkpoint is unharmed"):
        state.save(tmp_path / "state.pt")
    assert (tmp_path / "state.pt").read_bytes() == before


def test_a_checkpoint_of_another_system_or_size_is_refused_by_name(trained: TrainState, tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    trained.save(path)
    wider = TrainState.fresh(StarGANSystem(), Sizes(64, 8, 2), seed=0)
    with pytest.raises(
        TrainError, match="is of stargan at 64 px, widths 2 and 2, but this training is of stargan at 64 px, widths 8"
    ):
        wider.restore(path)
    other = TrainState.fresh(StarGANSystem(name="another"), SIZES, seed=0)
    with pytest.raises(TrainError, match=r"is of stargan .*, but this training is of another"):
        other.restore(path)
    fewer = TrainState.fresh(StarGANSystem(attributes=("Male",)), SIZES, seed=0)
    with pytest.raises(TrainError, match="G is of another shape"):
        fewer.restore(path)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut off"])
def test_a_damaged_checkpoint_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=re.escape(str(tmp_path / "state.pt"))):
        fresh().restore(tmp_path / "state.pt")


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        fresh().restore(tmp_path / "state.pt")


def test_a_training_starts_from_the_nets_of_another_and_nothing_else(trained: TrainState, tmp_path: Path) -> None:
    trained.save(tmp_path / "state.pt")
    state = fresh(seed=9)
    state.start_from(tmp_path / "state.pt")
    assert {name.split("/")[1] for name in differing(trained, state) if "opt" not in name} == {"rng", "step"}
    assert not state.opt_G.state_dict()["state"]


def test_a_training_starts_from_nets_saved_without_a_name_for_them(trained: TrainState, tmp_path: Path) -> None:
    bare = {"G": trained.nets.G["G"], "G_ema": trained.G_ema["G"], "D": trained.nets.D["D"]}
    torch.save({name: net.state_dict() for name, net in bare.items()}, tmp_path / "old.pt")
    state = fresh(seed=9)
    state.start_from(tmp_path / "old.pt")
    assert {name.split("/")[1] for name in differing(trained, state) if "opt" not in name} == {"rng", "step"}


def test_a_generators_weights_alone_start_both_copies_of_it(trained: TrainState, tmp_path: Path) -> None:
    save_weights(trained.nets.G["G"], tmp_path / "g.safetensors", metadata={})
    state = fresh(seed=9)
    state.start_from(tmp_path / "g.safetensors")
    for nets in (state.nets.G, state.G_ema):
        assert torch.equal(nets.state_dict()["G.main.0.weight"], trained.nets.G["G"].state_dict()["main.0.weight"])
    narrow = TrainState.fresh(StarGANSystem(), Sizes(64, 1, 2), seed=0)
    with pytest.raises(TrainError, match=r"cannot start from G .*of another shape"):
        narrow.start_from(tmp_path / "g.safetensors")


def of_side(side: int) -> TrainState:
    sizes = Sizes(side, SIZES.conv_dim, SIZES.d_conv_dim)
    return TrainState.fresh(StarGANSystem(d_layers=4), sizes, seed=side, dtype=torch.float64)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_discriminator_of_larger_pictures_starts_with_the_same_classes_of_the_same_features(times: int, tmp_path: Path) -> None:
    small, large = of_side(64), of_side(64 * times)
    small.save(tmp_path / "state.pt")
    large.start_from(tmp_path / "state.pt")
    conv, other = (state.nets.D["D"].get_submodule("conv2") for state in (large, small))
    features = torch.rand(2, 16, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    spread = torch.kron(features, torch.ones(1, 1, times, times, dtype=torch.float64))
    torch.testing.assert_close(conv(spread), other(features))


def test_a_discriminator_of_a_side_between_multiples_is_refused(tmp_path: Path) -> None:
    of_side(64).save(tmp_path / "state.pt")
    with pytest.raises(TrainError, match=r"cannot start from D .*of another shape"):
        of_side(96).start_from(tmp_path / "state.pt")


def test_new_nets_depend_on_the_seed_alone_and_leave_the_global_random_state_as_it_was() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = fresh(seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert differing(first, fresh(seed=4)) == []


@pytest.mark.parametrize("side", [0, 2, 32, 66, 63])
def test_a_side_that_the_discriminator_cannot_halve_is_refused(side: int) -> None:
    with pytest.raises(TrainError, match="--size must be a multiple of 4 and at least 64 pixels"):
        TrainState.fresh(StarGANSystem(), Sizes(side, 4, 2), seed=0)
