"""Compiled nets take the steps that plain ones take, penalties included, which cannot be compiled."""

from __future__ import annotations

import pytest

from pipeline.training.adversarial import Adversarial
from pipeline.training.job import compile_nets
from pipeline.training.step import StepSettings, train_step
from pipeline.training.systems.stargan import REGIMES
from tests.fast.training.small import batch_of, fresh


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.filterwarnings("default")  # the compiler warns about itself
def test_compiled_nets_train_like_plain_ones_under_the_same_names(regime: str) -> None:
    system, settings = REGIMES[regime], StepSettings(lr=1e-4, adversarial=Adversarial("both", steps=1))
    plain, compiled = fresh(system), fresh(system)
    compile_nets(compiled, backend="aot_eager")
    for _ in range(2):
        expected, got = (train_step(state, system, batch_of(), settings) for state in (plain, compiled))
        assert got == pytest.approx(expected, rel=1e-8)
    assert compiled.nets.G.state_dict().keys() == plain.nets.G.state_dict().keys()
