"""Learning perturbations: they climb, stay in the ball, keep apart, and depend on nothing but their options."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.generators.generator import Generator
from pipeline.images.levels import level_to_unit, pixels_to_unit
from pipeline.images.resize import resize
from pipeline.universal.bundle import cosines
from pipeline.universal.learn import SIDES, Plan, State, advance, fresh, pairs_in_turn
from tests.fast.tiny import build, build_other, picture

PLAN = Plan(steps=12, batch=3)
SIDE = 16 * SIDES
FACES = torch.stack([torch.from_numpy(np.array(picture(SIDE, SIDE, seed=i))).permute(2, 0, 1) for i in range(6)])
OTHERS = torch.stack([torch.from_numpy(np.array(picture(SIDE, SIDE, seed=i))).permute(2, 0, 1) for i in range(90, 94)])


def learned(plan: Plan = PLAN, *, count: int = 1, nets: tuple[Generator, ...] = ()) -> State:
    state, pairs = fresh(count, SIDE, plan), pairs_in_turn(nets or (build(),), [])
    while not state.is_done:
        state, _ = advance(state, plan, pairs, FACES)
    return state


@torch.no_grad()
def l2(generator: Generator, name: str, eta_CHW: Tensor, *, grey: bool = False) -> float:
    """What a perturbation does to people that were not learned from."""
    x_BCHW = pixels_to_unit(OTHERS.float())
    x_BCHW = x_BCHW.mean(1, keepdim=True).expand(-1, 3, -1, -1) if grey else x_BCHW
    y_BCHW = (x_BCHW + level_to_unit((eta_CHW[3:] if grey else eta_CHW[:3]).round())).clamp(-1, 1)
    before, after = (generator(resize(z, (16, 16)), name) for z in (x_BCHW, y_BCHW))
    return float((after - before).square().mean())


@pytest.mark.parametrize("objective", ["visible", "l2", "local", "levelled", "edge"])
def test_a_learned_perturbation_breaks_people_it_never_saw_and_stays_in_the_ball(objective: str) -> None:
    plan = dataclasses.replace(PLAN, objective=objective)  # type: ignore[arg-type]
    (eta,) = learned(plan).perturbations_nCHW
    (start,) = fresh(1, SIDE, plan).perturbations_nCHW
    assert eta.abs().max() <= plan.epsilon
    for name in ("Smile", "Glasses"):
        assert l2(build(), name, eta) > 10 * l2(build(), name, start)
        assert l2(build(), name, eta, grey=True) > 3 * l2(build(), name, start, grey=True)


@pytest.mark.parametrize("classes", ["iterative", "joint", "weakest"])
def test_one_perturbation_breaks_several_networks(classes: str) -> None:
    nets = (build(), build_other())
    plan = dataclasses.replace(PLAN, classes=classes)  # type: ignore[arg-type]
    (eta,), (start,) = (state.perturbations_nCHW for state in (learned(plan, nets=nets), fresh(1, SIDE, plan)))
    for net in nets:
        assert min(l2(net, name, eta) / l2(net, name, start) for name in net.classes) > 10


def test_a_step_goes_along_the_sign_of_what_the_steps_before_went() -> None:
    pairs, start = pairs_in_turn([build()], []), fresh(1, SIDE, PLAN)
    before_CHW = 50 * torch.randn(4, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    (still, _), (moving, _) = (
        advance(dataclasses.replace(start, velocity_CHW=v), PLAN, pairs, FACES) for v in (0 * before_CHW, before_CHW)
    )
    assert torch.allclose((moving.velocity_CHW - still.velocity_CHW)[:3], 0.9 * before_CHW[:3], atol=1e-4)
    step = (start.perturbations_nCHW[0] + PLAN.step_size * moving.velocity_CHW.sign()).clamp(-PLAN.epsilon, PLAN.epsilon)
    assert torch.equal(moving.perturbations_nCHW[0, :3], step[:3])
    assert torch.equal(moving.perturbations_nCHW[0, 3], start.perturbations_nCHW[0, 3])


def test_networks_and_classes_take_turns() -> None:
    pairs = pairs_in_turn([build(), build_other()], [])
    assert [(generator.name, name) for generator, name in pairs] == [("tiny", "Smile"), ("other", "Old"), ("tiny", "Glasses")]
    assert [name for _, name in pairs_in_turn([build()], ["Glasses"])] == ["Glasses"]


@pytest.mark.parametrize(("apart", "low", "high"), [(0.0, 0.3, 1.0), (4.0, -0.5, 0.15)])
def test_a_perturbation_leaves_an_earlier_one_that_it_is_like(apart: float, low: float, high: float) -> None:
    plan, pairs = dataclasses.replace(PLAN, apart=apart), pairs_in_turn([build()], [])
    (first,), (start,) = (state.perturbations_nCHW for state in (learned(plan), fresh(1, SIDE, plan)))
    like = torch.where(torch.arange(SIDE) % 2 == 0, first, start)
    state = State(torch.stack([first, like]), torch.zeros_like(first), member=1)
    while not state.is_done:
        state, _ = advance(state, plan, pairs, FACES)
    assert low < cosines(state.perturbations_nCHW.numpy())[0, 1] < high
    assert torch.equal(state.perturbations_nCHW[0], first)
    assert l2(build(), "Smile", state.perturbations_nCHW[1]) > 0.02


def test_it_may_be_learned_to_survive_the_way_of_a_file() -> None:
    survives = dataclasses.replace(PLAN, robust_to=("jpeg", "resize"), steps=6)
    assert not torch.equal(learned(survives).perturbations_nCHW, learned(dataclasses.replace(PLAN, steps=6)).perturbations_nCHW)


def test_the_same_options_give_the_same_perturbations_from_any_state_on() -> None:
    plan, pairs = dataclasses.replace(PLAN, steps=4), pairs_in_turn([build()], [])
    whole = learned(plan, count=2).perturbations_nCHW
    assert torch.equal(whole, learned(plan, count=2).perturbations_nCHW)
    state = fresh(2, SIDE, plan)
    for _ in range(8):
        state, _ = advance(state, plan, pairs, FACES)
        torch.rand(3)  # whatever else draws random numbers
        state = State(state.perturbations_nCHW.clone(), state.velocity_CHW.clone(), state.member, state.step)
    assert (state.member, state.step) == (1, 2)
    while not state.is_done:
        state, _ = advance(state, plan, pairs, FACES)
    assert torch.equal(state.perturbations_nCHW, whole)
    assert torch.equal(learned(plan, count=1).perturbations_nCHW[0], whole[0])
    assert not torch.equal(learned(dataclasses.replace(plan, seed=1)).perturbations_nCHW[0], whole[0])
