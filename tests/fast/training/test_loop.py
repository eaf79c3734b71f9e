"""The loop: killed and resumed equals unbroken, events come when they should, and what is written can be used."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline.generators.zoo import load_generator
from pipeline.training.adversarial import Adversarial
from pipeline.training.data.faces import FacesSource
from pipeline.training.export import export
from pipeline.training.loop import Losses, Picture, SaveDue, Schedule, Started, Stopped, grid, train
from pipeline.training.options import TrainError
from pipeline.training.state import TrainState
from pipeline.training.step import StepSettings
from pipeline.training.systems.stargan import REGIMES as STARGAN
from pipeline.training.systems.stargan import StarGANSystem
from pipeline.training.systems.system import Nets
from tests.bench.quality import agreement, load_nets, per_class, reconstruction, unchanged, way_back
from tests.fast.training.small import differing, faces, fresh

SYSTEM = StarGANSystem(r1_every=2)
SETTINGS = StepSettings(lr=1e-3, steps=6, adversarial=Adversarial("both", steps=1))


def source() -> FacesSource:
    return FacesSource(faces(9), faces(3), size=64, count=2, seed=7)


def begun() -> TrainState:
    return fresh(SYSTEM, dtype=torch.float32)


def trained(state: TrainState, system: StarGANSystem = SYSTEM, settings: StepSettings = SETTINGS) -> TrainState:
    """The state after all steps."""
    assert list(train(state, system, source(), settings))[-1] == Stopped(settings.steps, "done")
    return state


def test_a_killed_and_continued_training_ends_as_an_unbroken_one_bit_for_bit(tmp_path: Path) -> None:
    through, killed = trained(begun()), begun()
    for event in train(killed, SYSTEM, source(), SETTINGS, Schedule(losses=1, save=2)):
        if isinstance(event, SaveDue):
            killed.save(tmp_path / "state.pt")
        if event == Losses(5, getattr(event, "values", {})):
            break
    continued = fresh(SYSTEM, seed=8, dtype=torch.float32)
    continued.restore(tmp_path / "state.pt")
    assert continued.step == 4
    assert differing(through, trained(continued)) == []


def test_events_come_in_their_rhythm_and_after_the_last_step() -> None:
    settings, schedule = StepSettings(steps=5), Schedule(losses=2, save=3, picture=4)
    events = list(train(begun(), SYSTEM, source(), settings, schedule))
    steps = {kind: [event.step for event in events if isinstance(event, kind)] for kind in (Losses, SaveDue, Picture)}
    assert steps == {Losses: [2, 4, 5], SaveDue: [3, 5], Picture: [4, 5]}
    assert (events[0], events[-1]) == (Started(0), Stopped(5, "done"))
    first = next(event for event in events if isinstance(event, Losses))
    assert {"lr", "s_per_step", "pictures_per_s", "d_loss", "g_loss", "g_rec"} <= first.values.keys()


@pytest.mark.parametrize(
    ("minutes", "interrupted", "why"), [(0.0, False, "time"), (None, True, "interrupted"), (0.0, True, "interrupted")]
)
def test_a_training_that_is_stopped_saves_and_shows_its_last_step(minutes: float | None, interrupted: bool, why: str) -> None:
    schedule = Schedule(losses=100, save=100, picture=100, minutes=minutes)
    events = list(train(begun(), SYSTEM, source(), SETTINGS, schedule, is_interrupted=lambda: interrupted))
    assert [type(event) for event in events] == [Started, Losses, SaveDue, Picture, Stopped]
    assert events[-1] == Stopped(1, why)  # type: ignore[arg-type]


def test_a_training_that_has_all_its_steps_takes_none() -> None:
    state = trained(begun())
    assert list(train(state, SYSTEM, source(), SETTINGS)) == [Started(6), Stopped(6, "done")]


def test_nothing_is_yielded_of_a_step_that_broke() -> None:
    broken = StarGANSystem(cls=float("inf"))
    events = []
    with pytest.raises(TrainError, match="at step 1"):
        for event in train(begun(), broken, source(), SETTINGS, Schedule(losses=1, save=1)):
            events.append(event)
    assert events == [Started(0)]


def test_the_batch_of_a_step_depends_on_seed_and_step_alone() -> None:
    asked_in_order = [source().batch(step) for step in range(3)]
    again = source().batch(2)
    assert all(torch.equal(again[name], tensor) for name, tensor in asked_in_order[2].items())
    assert not torch.equal(asked_in_order[0]["image"], asked_in_order[1]["image"])
    assert again["image"].dtype == torch.float32
    assert again["image"].abs().max() <= 1


def test_the_published_draw_shows_each_face_once_an_epoch_as_it_is_or_mirrored() -> None:
    some = faces(9)
    uniform = FacesSource(some, faces(3), size=64, count=3, seed=7, balanced=False)
    images = torch.cat([uniform.batch(step)["image"] for step in range(6)])
    as_stored = some.in_memory / 127.5 - 1
    for epoch in images.chunk(2):
        plain, mirrored = ((epoch[:, None] - as_stored.flip(dims)).abs().amax((2, 3, 4)) < 1e-5 for dims in ((), (3,)))
        assert (plain | mirrored).sum(0).tolist() == [1] * 9
        assert plain.any()
        assert mirrored.any()


def test_what_is_exported_loads_with_its_classes_and_size(tmp_path: Path) -> None:
    state = begun()
    (path,) = export(SYSTEM, state.G_ema, tmp_path, size=64, blur=1.5)
    generator = load_generator("stargan", weights=path)
    assert generator.size == 64
    assert "Smiling" in generator.classes
    expected = state.G_ema.state_dict()["G.main.0.weight"]
    assert torch.allclose(generator.net.state_dict()["main.0.weight"], expected, atol=1e-3)


def test_the_nets_of_a_checkpoint_are_the_averaged_generator_and_the_discriminator(tmp_path: Path) -> None:
    state = trained(begun(), settings=StepSettings(steps=1))
    state.save(tmp_path / "state.pt")
    system, sizes, nets = load_nets(tmp_path / "state.pt")
    assert (system, sizes) == ("stargan", state.sizes)
    assert torch.equal(nets.G.state_dict()["G.main.0.weight"], state.G_ema.state_dict()["G.main.0.weight"])
    assert torch.equal(nets.D.state_dict()["D.main.0.weight"], state.nets.D.state_dict()["D.main.0.weight"])


def test_the_nets_of_a_checkpoint_have_the_layers_that_they_were_trained_with(tmp_path: Path) -> None:
    state = fresh(STARGAN["sharp"])
    state.save(tmp_path / "state.pt")
    _, _, nets = load_nets(tmp_path / "state.pt")
    assert nets.D.state_dict().keys() == state.nets.D.state_dict().keys()


def test_a_sample_grid_shows_each_photo_and_each_class() -> None:
    held = source().held_out()
    with torch.no_grad():
        columns = SYSTEM.samples(begun().G_ema, held)
    assert len(columns) == 1 + len(SYSTEM.classes())
    picture = grid(columns)
    assert picture.size == (9 * 64, 3 * 64)
    corner = ((held["image"][0, :, 0, 0] + 1) * 127.5).round().int().tolist()
    assert picture.getpixel((0, 0)) == tuple(corner)


def test_the_published_regime_is_exported_shown_and_judged_with_the_labels_that_it_trains_on(tmp_path: Path) -> None:
    system, state, held = STARGAN["published"], begun(), source().held_out()
    drawn = system.draw(held, 0, torch.Generator())
    classes = load_generator("stargan", weights=export(system, state.G_ema, tmp_path, size=64)[0]).classes
    assert {value for c in classes.values() for value in c} == set(drawn["c"].flatten().tolist()) == {0.0, 1.0}
    with torch.no_grad():
        columns = system.samples(state.G_ema, held)
        old = state.G_ema["G"](held["image"], torch.tensor(classes["Old"]).expand(3, -1))
    assert torch.equal(columns[1 + list(classes).index("Old")], old)
    labels = held["labels"]
    assert torch.equal(unchanged(system, labels), labels)
    assert torch.equal(way_back(system, labels, drawn["c"]), drawn["back"])
    assert agreement(system, 2 * labels - 1, labels) == 1
    assert agreement(system, 2 * labels - 1, 1 - labels) == 0


def test_agreement_counts_only_what_was_asked() -> None:
    read = torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    asked = torch.tensor([[1.0, -1.0, 0.0], [-1.0, 0.0, 1.0]])
    assert agreement(SYSTEM, 2 * read - 1, asked) == pytest.approx(0.5)


def test_quality_of_a_generator_that_changes_nothing_is_perfect_but_for_the_edit() -> None:
    class Same(torch.nn.Module):
        def forward(self, x_BCHW: torch.Tensor, c_BK: torch.Tensor) -> torch.Tensor:
            return x_BCHW

    nets = Nets(torch.nn.ModuleDict({"G": Same()}), begun().nets.D)
    some = faces(4)
    x_BCHW = some.in_memory / 127.5 - 1
    assert reconstruction(SYSTEM, nets, x_BCHW, some.labels_NK) == 0
    for quality in per_class(SYSTEM, nets, x_BCHW, some.labels_NK):
        assert quality.moved == quality.cycle == 0
        assert quality.before == quality.after
