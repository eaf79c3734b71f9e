"""What a step promises whatever the system: shares and parts of a batch change nothing, losses that break stop it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pipeline.training.adversarial import Adversarial
from pipeline.training.options import TrainError
from pipeline.training.state import TrainState
from pipeline.training.step import Share, StepSettings, learning_rate, split, train_step
from pipeline.training.systems.stargan import REGIMES, StarGANSystem
from tests.fast.training.small import batch_of, fresh

BOTH = Adversarial("both", steps=2)


class Meeting:
    """Two workers as two threads: each waits for the other and takes the mean."""

    def __init__(self) -> None:
        self._barrier = threading.Barrier(2, timeout=60)
        self._brought: list[Sequence[Tensor]] = [(), ()]

    def share(self, rank: int) -> Share:
        def average(tensors: Sequence[Tensor]) -> None:
            self._brought[rank] = [tensor.clone() for tensor in tensors]
            self._barrier.wait()
            for mine, first, second in zip(tensors, *self._brought, strict=True):
                mine.copy_((first + second) / 2)
            self._barrier.wait()

        return Share(rank, 2, average)


def shared_out(states: list[TrainState], system: StarGANSystem, settings: StepSettings, steps: int) -> list[list[dict[str, float]]]:
    meeting, told = Meeting(), [[], []]  # type: ignore[var-annotated]

    def work(rank: int) -> None:
        for _ in range(steps):
            told[rank].append(train_step(states[rank], system, batch_of(), settings, meeting.share(rank)))

    workers = [threading.Thread(target=work, args=(rank,)) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return told


def assert_same_weights(a: TrainState, b: TrainState) -> None:
    for part in ("nets.G", "nets.D", "G_ema"):
        one, other = (s.G_ema if part == "G_ema" else getattr(s.nets, part[-1]) for s in (a, b))
        for p, q in zip(one.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ("regime", "attack", "d_steps"),
    [("few-images", Adversarial(), 1), ("few-images", BOTH, 1), ("published", Adversarial(), 2)],
)
def test_two_workers_with_half_the_batch_each_end_with_the_weights_of_one(regime: str, attack: Adversarial, d_steps: int) -> None:
    system, settings = REGIMES[regime], StepSettings(lr=1e-4, d_steps=d_steps, adversarial=attack)
    alone, pair = fresh(system), [fresh(system), fresh(system)]
    expected = [train_step(alone, system, batch_of(), settings) for _ in range(2)]
    told = shared_out(pair, system, settings, 2)
    for state, parts in zip(pair, told, strict=True):
        assert_same_weights(alone, state)
        assert [step.keys() for step in parts] == [step.keys() for step in expected]
        for got, wanted in zip(parts, expected, strict=True):
            assert got == pytest.approx(wanted, rel=1e-8)


@pytest.mark.parametrize("attack", [Adversarial(), BOTH])
def test_accumulated_parts_of_a_batch_end_with_the_weights_of_the_whole(attack: Adversarial) -> None:
    states = [fresh(), fresh()]
    for state, parts in zip(states, (1, 4), strict=True):
        for _ in range(2):
            train_step(state, StarGANSystem(), batch_of(), StepSettings(lr=1e-4, accumulate=parts, adversarial=attack))
    assert_same_weights(*states)


def test_the_generator_moves_in_every_d_steps_th_step_only() -> None:
    state, system = fresh(REGIMES["published"]), REGIMES["published"]
    moved = []
    for _ in range(4):
        before = next(state.nets.G.parameters()).clone()
        parts = train_step(state, system, batch_of(), StepSettings(d_steps=2))
        moved.append(not torch.equal(before, next(state.nets.G.parameters())))
        assert ("g_loss" in parts) == moved[-1]
        assert "d_loss" in parts
    assert moved == [False, True, False, True]


def test_a_loss_that_is_not_a_number_stops_the_training_and_is_named() -> None:
    system = replace(StarGANSystem(), rec=float("nan"))
    with pytest.raises(TrainError, match="g_loss is not a finite number at step 1; the last checkpoint is unharmed"):
        train_step(fresh(system), system, batch_of(), StepSettings())


def test_bf16_changes_losses_a_little_and_penalties_by_nothing_but_the_images() -> None:
    system = StarGANSystem()
    full, half = (
        train_step(fresh(system, dtype=torch.float32), system, batch_of(dtype=torch.float32), StepSettings(precision=precision))
        for precision in ("fp32", "bf16")
    )
    assert half["g_loss"] == pytest.approx(full["g_loss"], rel=0.05)
    assert half["g_loss"] != full["g_loss"]
    assert half["d_r1"] == full["d_r1"]


def test_the_learning_rate_stays_then_falls_in_a_straight_line() -> None:
    settings = StepSettings(lr=1.0, steps=100)
    assert [learning_rate(step, settings) for step in (0, 50, 75, 100, 120)] == pytest.approx([1, 1, 0.525, 0.05, 0.05])


def test_a_batch_that_cannot_be_shared_evenly_is_refused() -> None:
    with pytest.raises(TrainError, match="a batch of 4 cannot be shared evenly by 3 workers"):
        split(batch_of(4), 3, what="workers")
