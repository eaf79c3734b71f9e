"""The loop: killed and continued equals unbroken, hooks are called when they should be, and what is written can be used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from pipeline.generators.zoo import load_generator
from pipeline.training.adversarial import Adversarial
from pipeline.training.data.batches import FacesSource
from pipeline.training.errors import TrainError
from pipeline.training.export import export, load_nets
from pipeline.training.loop import Hooks, Rhythm, run
from pipeline.training.picture import grid
from pipeline.training.quality import READINGS, agreement, per_class, reconstruction
from pipeline.training.state import TrainState
from pipeline.training.step import StepSettings
from pipeline.training.systems.stargan import StarGANSystem
from pipeline.training.systems.system import Nets
from pipeline.training.systems.table import SYSTEMS
from tests.fast.training.small import differing, faces, fresh

SYSTEM = StarGANSystem(r1_every=2)
SETTINGS = StepSettings(lr=1e-3, steps=6, adversarial=Adversarial("both", steps=1))


def source() -> FacesSource:
    return FacesSource(faces(9), faces(3), size=64, count=2, seed=7)


def begun() -> TrainState:
    return fresh(SYSTEM, dtype=torch.float32)


def test_a_killed_and_continued_training_ends_as_an_unbroken_one_bit_for_bit(tmp_path: Path) -> None:
    through = run(begun(), SYSTEM, source(), SETTINGS)

    def kill_at_five(step: int) -> None:
        if step == 5:
            raise KeyboardInterrupt

    hooks = Hooks(checkpoint=lambda state: state.save(tmp_path / "state.pt"), seen=kill_at_five)
    with pytest.raises(KeyboardInterrupt):
        run(begun(), SYSTEM, source(), SETTINGS, rhythm=Rhythm(checkpoint=2), hooks=hooks)
    continued = fresh(SYSTEM, seed=8, dtype=torch.float32)
    continued.restore(tmp_path / "state.pt")
    assert continued.step == 4
    run(continued, SYSTEM, source(), SETTINGS)
    assert differing(through, continued) == []


def test_hooks_are_called_in_their_rhythm_and_at_the_end() -> None:
    called: dict[str, list[int]] = {"log": [], "checkpoint": [], "grid": [], "seen": []}
    values: list[Mapping[str, float]] = []

    def log(step: int, means: Mapping[str, float]) -> None:
        called["log"].append(step)
        values.append(means)

    hooks = Hooks(
        log=log,
        checkpoint=lambda state: called["checkpoint"].append(state.step),
        grid=lambda state: called["grid"].append(state.step),
        seen=called["seen"].append,
    )
    run(begun(), SYSTEM, source(), StepSettings(steps=5), rhythm=Rhythm(log=2, checkpoint=3, grid=4), hooks=hooks)
    assert called == {"log": [2, 4, 5], "checkpoint": [3, 5], "grid": [4, 5], "seen": [1, 2, 3, 4, 5]}
    assert {"lr", "s_per_step", "d_loss", "g_loss", "g_rec"} <= values[0].keys()


def test_nothing_is_reported_or_kept_of_a_step_that_broke(tmp_path: Path) -> None:
    state = begun()
    path = tmp_path / "state.pt"
    state.save(path)
    before = path.read_bytes()
    called: list[int] = []
    hooks = Hooks(checkpoint=lambda state: state.save(path), seen=called.append)
    broken = StarGANSystem(cls=float("inf"))
    with pytest.raises(TrainError, match="at step 1"):
        run(state, broken, source(), SETTINGS, rhythm=Rhythm(checkpoint=1), hooks=hooks)
    assert called == []
    assert path.read_bytes() == before


def test_the_batch_of_a_step_depends_on_seed_and_step_alone() -> None:
    asked_in_order = [source().batch(step) for step in range(3)]
    again = source().batch(2)
    assert all(torch.equal(again[name], tensor) for name, tensor in asked_in_order[2].items())
    assert not torch.equal(asked_in_order[0]["image"], asked_in_order[1]["image"])
    assert again["image"].dtype == torch.float32
    assert again["image"].abs().max() <= 1


def test_what_is_exported_loads_with_its_classes_and_size(tmp_path: Path) -> None:
    state = begun()
    (path,) = export("stargan", state.G_ema, tmp_path, size=64, blur=1.5)
    generator = load_generator("stargan", weights=path)
    assert generator.size == 64
    assert "Smiling" in generator.classes
    expected = state.G_ema.state_dict()["G.main.0.weight"]
    assert torch.allclose(generator.net.state_dict()["main.0.weight"], expected, atol=1e-3)


def test_the_nets_of_a_checkpoint_are_the_averaged_generator_and_the_discriminator(tmp_path: Path) -> None:
    state = run(begun(), SYSTEM, source(), StepSettings(steps=1))
    state.save(tmp_path / "state.pt")
    system, sizes, nets = load_nets(tmp_path / "state.pt")
    assert (system, sizes) == ("stargan", state.sizes)
    assert torch.equal(nets.G.state_dict()["G.main.0.weight"], state.G_ema.state_dict()["G.main.0.weight"])
    assert torch.equal(nets.D.state_dict()["D.main.0.weight"], state.nets.D.state_dict()["D.main.0.weight"])


def test_a_sample_grid_shows_each_photo_and_each_attribute_set_and_cleared() -> None:
    held = source().held_out()
    with torch.no_grad():
        columns = SYSTEMS["stargan"].show(SYSTEM, begun().G_ema, held)
    assert len(columns) == 1 + 2 * 5
    picture = grid(columns)
    assert picture.size == (11 * 64, 3 * 64)
    corner = ((held["image"][0, :, 0, 0] + 1) * 127.5).round().int().tolist()
    assert picture.getpixel((0, 0)) == tuple(corner)


def test_agreement_counts_only_what_was_asked() -> None:
    read = torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    asked = torch.tensor([[1.0, -1.0, 0.0], [-1.0, 0.0, 1.0]])
    assert agreement(read, asked) == pytest.approx(0.5)


def test_quality_of_a_generator_that_changes_nothing_is_perfect_but_for_the_edit() -> None:
    class Same(torch.nn.Module):
        def forward(self, x_BCHW: torch.Tensor, c_BK: torch.Tensor) -> torch.Tensor:
            return x_BCHW

    nets = Nets(torch.nn.ModuleDict({"G": Same()}), begun().nets.D)
    some = faces(4)
    x_BCHW = some.u8_NCHW / 127.5 - 1
    reading = READINGS["stargan"]
    assert reconstruction(reading, nets.G, x_BCHW, some.labels_NK) == 0
    for quality in per_class(reading, nets, x_BCHW, some.labels_NK, classes=SYSTEMS["stargan"].classes):
        assert quality.moved == quality.cycle == 0
        assert quality.before == quality.after
