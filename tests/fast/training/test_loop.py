"""The plain loop: it learns, it goes on where it stopped, and what it ships can be loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.generators.zoo import load_generator
from pipeline.training import export
from pipeline.training.augment import crop_flip_resize, for_discriminator
from pipeline.training.faces import Faces
from pipeline.training.loop import train
from pipeline.training.stargan import StarGANLosses, train_step, warm_up_step
from pipeline.training.state import TrainState


@pytest.fixture
def faces() -> Faces:
    rng = torch.Generator().manual_seed(1)
    coarse = torch.rand(6, 3, 4, 4, generator=rng)
    images = (torch.nn.functional.interpolate(coarse, size=(64, 64), mode="bilinear") * 255).to(torch.uint8)
    labels = torch.tensor([[1.0, 0, 0, 1, 0], [0, 1, 1, 0, 1], [0, 0, 1, 1, 0]] * 2)
    return Faces(tuple(f"{i}.png" for i in range(6)), images, labels, torch.ones(6, 5))


def fresh() -> TrainState:
    return TrainState.fresh(conv_dim=4, d_conv_dim=2, c_dim=5, size=64, lr=1e-3, seed=3)


def run(state: TrainState, faces: Faces, out: Path, steps: int) -> TrainState:
    losses = StarGANLosses(r1_every=2)
    return train(state, faces, size=64, batch=2, steps=steps, warm_up=2, lr=1e-3, losses=losses, out=out, every=2)


def test_a_killed_and_continued_training_ends_with_the_same_weights_bit_for_bit(
    faces: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    through = run(fresh(), faces, tmp_path / "a", 6)

    def killed_at_five(state: TrainState, *rest: Any) -> dict[str, float]:
        if state.step == 5:
            raise KeyboardInterrupt
        return train_step(state, *rest)

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.training.loop.train_step", killed_at_five)
        with pytest.raises(KeyboardInterrupt):
            run(fresh(), faces, tmp_path / "b", 6)
    continued = fresh()
    continued.restore(tmp_path / "b" / "state.pt")
    assert continued.step == 4
    run(continued, faces, tmp_path / "b", 6)
    for net in ("G", "G_ema", "D"):
        expected, got = (getattr(state, net).state_dict() for state in (through, continued))
        assert all(torch.equal(expected[name], got[name]) for name in expected), net


def test_the_warm_up_teaches_the_generator_to_give_photos_back(faces: Faces) -> None:
    state = fresh()
    x = crop_flip_resize(faces.u8_NCHW, 64, torch.Generator().manual_seed(0))
    losses = [warm_up_step(state, x, faces.labels_NK, faces.known_NK, StarGANLosses())["g_rec"] for _ in range(40)]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_a_training_step_moves_both_nets_and_reports_its_losses(faces: Faces) -> None:
    state = fresh()
    before = [p.clone() for p in (*state.G.parameters(), *state.D.parameters())]
    x = crop_flip_resize(faces.u8_NCHW[:2], 64, state.rng)
    parts = train_step(state, x, faces.labels_NK[:2], faces.known_NK[:2], StarGANLosses())
    assert {"d_adv", "d_cls", "r1", "g_adv", "g_cls", "g_rec", "g_keep"} == set(parts)
    assert all(not torch.equal(a, b) for a, b in zip(before, (*state.G.parameters(), *state.D.parameters()), strict=True))


def test_a_loss_that_is_not_a_number_stops_the_training(faces: Faces) -> None:
    state = fresh()
    x = crop_flip_resize(faces.u8_NCHW[:2], 64, state.rng)
    with pytest.raises(FloatingPointError, match="last checkpoint is unharmed"):
        train_step(state, x, faces.labels_NK[:2], faces.known_NK[:2], replace(StarGANLosses(), rec=float("nan")))


def test_what_is_exported_loads_with_its_classes_and_size(
    faces: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = run(fresh(), faces, tmp_path, 2)
    monkeypatch.setattr("sys.argv", ["export", str(tmp_path / "state.pt"), str(tmp_path / "w.safetensors"), "--size", "64"])
    export.main()
    generator = load_generator("stargan", weights=tmp_path / "w.safetensors")
    assert generator.size == 64
    assert "Smiling" in generator.classes
    expected = state.G_ema.state_dict()["main.0.weight"]
    assert torch.allclose(generator.net.state_dict()["main.0.weight"], expected, atol=1e-3)


def test_augmentations_keep_shape_and_range_and_let_gradients_through() -> None:
    rng = torch.Generator().manual_seed(0)
    x = crop_flip_resize(torch.randint(0, 256, (3, 3, 80, 80), dtype=torch.uint8, generator=rng), 64, rng)
    assert x.shape == (3, 3, 64, 64)
    assert x.abs().max() <= 1
    x.requires_grad_(True)
    for_discriminator(x, rng).sum().backward()
    assert x.grad is not None
    assert (x.grad != 0).any()
