"""Fine-tuning of an attacker: low-rank adapters that start as nothing, learn alone, and become plain weights."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from pipeline.generators.generator import Generator, unconditional
from pipeline.training.fine_tuning import LowRank, fine_tune
from pipeline.training.options import TrainError
from tests.fast import tiny


def pairs(count: int, *, size: int = 16) -> tuple[Tensor, Tensor]:
    """Photos, and the same with noise on them."""
    rng = torch.Generator().manual_seed(0)
    photo = torch.rand((count, 3, size, size), generator=rng) * 2 - 1
    return photo, (photo + 0.1 * torch.randn(photo.shape, generator=rng)).clamp(-1, 1)


def mixing() -> Generator:
    """A generator that mixes colours linearly: one 1 x 1 convolution, no bias."""
    net = nn.Conv2d(3, 3, 1, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.eye(3).view(3, 3, 1, 1))
    return Generator("mixing", net, {"same": ()}, 4, "mixing", translate=unconditional)


def test_an_adapter_changes_nothing_at_first_and_then_by_low_rank() -> None:
    weight = torch.rand(4, 3, 2, 2)
    adapter = LowRank(weight, 1, torch.Generator().manual_seed(0))
    assert torch.equal(adapter(weight), weight)
    with torch.no_grad():
        adapter.up.add_(0.1)
    assert int(torch.linalg.matrix_rank((adapter(weight) - weight).flatten(1))) == 1


def test_fine_tuning_changes_convolutions_by_low_rank_and_nothing_else_and_leaves_the_generator_as_it_was() -> None:
    generator = tiny.build()
    before = {name: weight.clone() for name, weight in generator.net.state_dict().items()}
    tuned, _ = fine_tune(generator, *pairs(12), rank=1, batch=2)
    after = tuned.net.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(weight, before[name]) for name, weight in generator.net.state_dict().items())
    for name, weight in after.items():
        change = (weight - before[name]).flatten(1) if weight.dim() == 4 else weight - before[name]
        if weight.dim() == 4:
            assert int(torch.linalg.matrix_rank(change, rtol=1e-4)) <= 1
        else:
            assert not change.any()
    assert any(not torch.equal(weight, before[name]) for name, weight in after.items())
    assert tuned.fingerprint != generator.fingerprint


def test_what_a_linear_net_can_unlearn_it_unlearns() -> None:
    """The photos have no red and the protection is nothing but red, so the best adapter removes the column of red: loss 0."""
    rng = torch.Generator().manual_seed(0)
    photo = torch.rand((1600, 3, 4, 4), generator=rng)
    photo[:, 0] = 0
    protected = photo.clone()
    protected[:, 0] = torch.randn((1600, 4, 4), generator=rng)
    tuned, losses = fine_tune(mixing(), photo, protected, rank=3, lr=2e-2)
    assert losses[0] == pytest.approx(1 / 3, rel=0.5)
    assert losses[-1] < 1e-3
    weight = tuned.net.state_dict()["weight"][:, :, 0, 0]
    assert torch.allclose(weight, torch.diag(torch.tensor([0.0, 1.0, 1.0])), atol=0.05)


def test_the_loss_is_the_mean_square_to_the_frozen_output() -> None:
    photo, protected = pairs(2, size=4)
    _, losses = fine_tune(mixing(), photo, protected, rank=4, batch=2)
    assert losses == pytest.approx([(photo - protected).square().mean().item()], rel=1e-5)


def test_one_pass_takes_each_pair_once_and_the_same_seed_gives_the_same_net() -> None:
    runs = [fine_tune(tiny.build(), *pairs(5), rank=4, batch=2, seed=3) for _ in range(2)]
    assert [len(losses) for _, losses in runs] == [3, 3]
    assert runs[0][0].fingerprint == runs[1][0].fingerprint


def test_a_net_without_convolutions_is_refused() -> None:
    with pytest.raises(TrainError, match="no convolutions"):
        fine_tune(dataclasses.replace(mixing(), net=nn.Identity()), *pairs(1), rank=4)
