"""Low-rank adapters: they start as nothing, learn alone, reach what can be computed by hand, and become plain weights."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from pipeline.evaluation.adapters import AdapterError, Views, fine_tuned, merged, with_adapters
from pipeline.generators.generator import Generator, unconditional
from tests.fast import tiny


def pairs(count: int, *, size: int = 16, seed: int = 0) -> list[Views]:
    """Photos, and the same with noise on them."""
    rng = torch.Generator().manual_seed(seed)
    photos = [torch.rand((1, 3, size, size), generator=rng) * 2 - 1 for _ in range(count)]
    return [Views(photo, (photo + 0.1 * torch.randn(photo.shape, generator=rng)).clamp(-1, 1)) for photo in photos]


def mixing() -> Generator:
    """A generator that mixes colours linearly: one 1 x 1 convolution, no bias."""
    net = nn.Conv2d(3, 3, 1, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.eye(3).view(3, 3, 1, 1))
    return Generator("mixing", net, {"same": ()}, 4, "mixing", translate=unconditional)


def test_adapters_change_no_output_at_first_and_are_all_that_learns() -> None:
    generator = tiny.build()
    net, adapters = with_adapters(generator.net, rank=4, seed=0)
    x, c = torch.rand(2, 3, 16, 16), torch.tensor([[1.0, 0.0]] * 2)
    assert torch.equal(net(x, c), generator.net(x, c))
    learning = {id(parameter) for parameter in net.parameters() if parameter.requires_grad}
    assert learning == {id(parameter) for parameter in adapters}
    convolutions = [module for module in generator.net.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(adapters) == 2 * len(convolutions)


def test_fine_tuning_changes_convolutions_by_low_rank_and_nothing_else_and_leaves_the_generator_as_it_was() -> None:
    generator = tiny.build()
    before = {name: weight.clone() for name, weight in generator.net.state_dict().items()}
    tuned = fine_tuned(generator, pairs(12), rank=1, batch=2).generator
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


def test_merged_weights_give_the_output_of_net_and_adapters() -> None:
    net, adapters = with_adapters(tiny.build().net, rank=2, seed=0)
    with torch.no_grad():
        for parameter in adapters:
            parameter.add_(0.1)
    x, c = torch.rand(1, 3, 16, 16), torch.tensor([[0.0, 1.0]])
    expected: Tensor = net(x, c)
    assert torch.allclose(merged(net)(x, c), expected, atol=1e-6)
    assert [name for name, _ in net.named_parameters()] == [name for name, _ in tiny.build().net.named_parameters()]


def test_what_a_linear_net_can_unlearn_it_unlearns() -> None:
    """The photos have no red and the protection is nothing but red, so the best adapter removes the column of red: loss 0."""
    rng = torch.Generator().manual_seed(0)
    views = []
    for _ in range(1600):
        photo = torch.rand((1, 3, 4, 4), generator=rng)
        photo[:, 0] = 0
        protected = photo.clone()
        protected[:, 0] = torch.randn((4, 4), generator=rng)
        views.append(Views(photo, protected))
    tuned = fine_tuned(mixing(), views, rank=3, batch=4, lr=2e-2)
    assert tuned.losses[0] == pytest.approx(1 / 3, rel=0.5)
    assert tuned.losses[-1] < 1e-3
    weight = tuned.generator.net.state_dict()["weight"][:, :, 0, 0]
    assert torch.allclose(weight, torch.diag(torch.tensor([0.0, 1.0, 1.0])), atol=0.05)


def test_the_loss_is_the_mean_square_to_the_frozen_output() -> None:
    views = pairs(2, size=4)
    losses = fine_tuned(mixing(), views, batch=2).losses
    expected = torch.cat([(one.photo - one.protected).square() for one in views]).mean()
    assert list(losses) == pytest.approx([expected.item()], rel=1e-5)


def test_one_pass_takes_each_pair_once_and_the_same_seed_gives_the_same_net() -> None:
    runs = [fine_tuned(tiny.build(), pairs(5), batch=2, seed=3) for _ in range(2)]
    assert [len(run.losses) for run in runs] == [3, 3]
    assert runs[0].generator.fingerprint == runs[1].generator.fingerprint


def test_too_little_to_learn_from_is_said() -> None:
    with pytest.raises(AdapterError, match="no protected photos"):
        fine_tuned(tiny.build(), [])
    flat = dataclasses.replace(mixing(), net=nn.Identity())
    with pytest.raises(AdapterError, match="no convolutions"):
        fine_tuned(flat, pairs(1))
